"""Ways to train with many processes that mmengine lacks."""

from .deepspeed_zero import DeepSpeedZeROStrategy
from .fully_sharded import FullyShardedStrategy

__all__ = ['DeepSpeedZeROStrategy', 'FullyShardedStrategy']
