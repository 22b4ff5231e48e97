# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""TF32 on GPUs that have it."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet.registry import HOOKS


@HOOKS.register_module()
class MatmulPrecisionHook(Hook):
    """Let products of float32 matrices on a GPU take TF32, as PyTorch's convolutions do.

    PyTorch leaves it off: all linear layers of tokenizer, text encoder and backbone then run at a fraction of the speed
    that Ampere and later cards have. For a run on the CPU nothing changes.

    Args:
        precision: Of :func:`torch.set_float32_matmul_precision`: ``'highest'`` is float32, ``'high'`` TF32.
    """

    priority = 'VERY_HIGH'

    def __init__(self, precision: str = 'high') -> None:
        self.precision = precision

    def before_run(self, runner: Runner) -> None:
        """Set it for the process."""
        if torch.cuda.is_available():
            torch.set_float32_matmul_precision(self.precision)
            runner.logger.info(f'Products of float32 matrices: precision {self.precision!r}')
