# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Whether the Triton kernels are right on a card, before anything is computed with them."""

from __future__ import annotations

import functools
import warnings

import torch

from . import pytorch
from .geometry import Geometry

_GEOMETRY = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False)


@functools.cache
def triton_agrees(device: torch.device) -> bool:
    """Whether forward and backward of a small case are PyTorch's on ``device``; tried once in a process.

    Warns:
        UserWarning: if they are not, or do not run.
    """
    draw = torch.Generator().manual_seed(0)
    sizes = dict(value=8, offset=2 * 9 * 2, mask=2 * 9, grad=8)
    value, offset, mask, grad = (torch.randn(1, 6, 5, n, generator=draw).to(device) for n in sizes.values())
    try:
        from . import triton_kernels

        found, wanted = (
            (module.forward(value, offset, mask, _GEOMETRY), *module.backward(grad, value, offset, mask, _GEOMETRY))
            for module in (triton_kernels, pytorch)
        )
        for ours, theirs in zip(found, wanted):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    except Exception as error:  # whatever a compiler says of a card that it does not know
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f'the Triton kernels of DCNv3 are not right on {device} ({reason[0]}): PyTorch takes their place, slower and '
            "with more memory. Please report it with your card, torch and triton. core_op='pytorch' leaves them out",
            stacklevel=2,
        )
        return False
    return True
