"""What is used of other libraries beyond their public names, each with its reason: where to look when they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# mmengine keeps strategies, without which FSDP and DeepSpeed do not work, in a package that begins with an underscore.
from mmengine._strategy import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from mmengine._strategy.base import BaseStrategy
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

__all__ = [
    'BaseStrategy',
    'DDPStrategy',
    'DeepSpeedStrategy',
    'SingleDeviceStrategy',
    'forget_peft',
    'registered_loaders_stay',
    'resume_request',
    'validation_is_due',
]


# mmengine reads `_base_ = 'package::...'` of the packages in this list alone.
MODULE2PACKAGE['mmvisionllm'] = 'mmvisionllm'


def resume_request(runner: Runner) -> tuple[bool, str | None]:
    """Whether a runner is to resume, and from which checkpoint; mmengine has no public names for what it was told."""
    return runner._resume, runner._load_from


def validation_is_due(loop: BaseLoop) -> bool:
    """Whether a training loop would validate after the step that is just done.

    mmengine decides it inside of its loops, with an interval that may change with the iterations.
    """
    loop._decide_current_val_interval()
    if isinstance(loop, IterBasedTrainLoop):
        done, last = loop.iter, loop.max_iters
    else:
        done, last = loop.epoch, loop.max_epochs
        if loop.iter > done * len(loop.dataloader):  # saved within an epoch
            return False
    return done > 0 and done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


@contextmanager
def registered_loaders_stay() -> Iterator[None]:
    """Inside, mmengine's checkpoint loaders may be replaced; it can register them, and not take them back."""
    before = CheckpointLoader._schemes.copy()
    try:
        yield
    finally:
        CheckpointLoader._schemes = before


def forget_peft(lm: nn.Module) -> None:
    """Let a transformers model whose adapters are merged be saved as a plain one: it remembers that it had some."""
    if hasattr(lm, 'peft_config'):
        del lm.peft_config
        lm._hf_peft_config_loaded = False
