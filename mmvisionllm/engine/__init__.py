"""Trainings that survive being killed (hooks, samplers, checkpoints), learning rates per layer, sharded weights."""

from .building import build_runner
from .hooks import AtomicCheckpointHook, ExactResumeHook, TrainedWeightsHook, TrainingReportHook
from .optimizers import LayerDecayOptimWrapperConstructor
from .seeded_data import SeededDataset, SeededDefaultSampler, SeededInfiniteSampler
from .strategies import DeepSpeedZeROStrategy, FullyShardedStrategy
from .task_sampler import TaskSampler

__all__ = [
    'AtomicCheckpointHook',
    'DeepSpeedZeROStrategy',
    'ExactResumeHook',
    'FullyShardedStrategy',
    'LayerDecayOptimWrapperConstructor',
    'SeededDataset',
    'SeededDefaultSampler',
    'SeededInfiniteSampler',
    'TaskSampler',
    'TrainedWeightsHook',
    'TrainingReportHook',
    'build_runner',
]
