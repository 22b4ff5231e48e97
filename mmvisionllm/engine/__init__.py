"""What makes a training survive being killed: hooks, samplers, checkpoint files."""

from .hooks import AtomicCheckpointHook, ExactResumeHook
from .seeded_data import SeededDataset, SeededDefaultSampler, SeededInfiniteSampler

__all__ = [
    'AtomicCheckpointHook',
    'ExactResumeHook',
    'SeededDataset',
    'SeededDefaultSampler',
    'SeededInfiniteSampler',
]
