"""What makes a training survive being killed (hooks, samplers, checkpoint files), learning rates per layer, sharded training."""

from .hooks import AtomicCheckpointHook, ExactResumeHook
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
]
