"""What makes a training survive being killed (hooks, samplers, checkpoint files), and learning rates per layer."""

from .hooks import AtomicCheckpointHook, ExactResumeHook, TrainedWeightsHook, TrainingReportHook
from .optimizers import LayerDecayOptimWrapperConstructor
from .seeded_data import SeededDataset, SeededDefaultSampler, SeededInfiniteSampler
from .task_sampler import TaskSampler

__all__ = [
    'AtomicCheckpointHook',
    'ExactResumeHook',
    'LayerDecayOptimWrapperConstructor',
    'SeededDataset',
    'SeededDefaultSampler',
    'SeededInfiniteSampler',
    'TaskSampler',
    'TrainedWeightsHook',
    'TrainingReportHook',
]
