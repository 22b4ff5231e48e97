# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The InternImage authors' compiled extension, if the user has it: https://github.com/OpenGVLab/InternImage."""

from __future__ import annotations

import importlib
import importlib.metadata
from types import ModuleType

import torch
from torch import Tensor

from .geometry import Geometry


def require(device: str) -> ModuleType:
    """The extension.

    Raises:
        ImportError: if it cannot be imported.
        RuntimeError: if ``device`` is not CUDA.
    """
    try:
        module = importlib.import_module('DCNv3')
    except ImportError as error:
        raise ImportError(
            "implementation='official' needs the extension DCNv3 of the InternImage repository (ops_dcnv3), compiled for "
            f"this torch ({torch.__version__}); importing it failed: {error}. implementation='auto' needs nothing "
            'compiled and gives the same results'
        ) from error
    if device != 'cuda':
        raise RuntimeError(
            f"implementation='official' runs on CUDA alone, and the inputs are on {device}; use implementation='pytorch'"
        )
    return module


def _arguments(
    value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry
) -> tuple[list[Tensor], list[object], list[object]]:
    """Tensors in one type that the extension takes, what describes the kernel, and what only its later versions take."""
    # No bfloat16 kernel.
    dtype = torch.float32 if value.dtype == torch.bfloat16 else value.dtype
    tensors = [tensor.to(dtype).contiguous() for tensor in (value, offset, mask)]
    sizes = (geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)
    numbers = [number for pair in sizes for number in pair]
    numbers += [geometry.groups, value.size(-1) // geometry.groups, geometry.offset_scale]
    version = importlib.metadata.version('DCNv3')
    if float('.'.join(version.split('.')[:2])) > 1.0:
        return tensors, numbers, [geometry.remove_center]
    if geometry.remove_center:
        raise RuntimeError(f'DCNv3 {version} cannot remove the center; 1.1 can')
    return tensors, numbers, []


def forward(value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry) -> Tensor:
    """DCNv3; shapes as in :func:`~mmvisionllm.models.layers.dcnv3.dcnv3`."""
    module = require(value.device.type)
    tensors, numbers, later = _arguments(value, offset, mask, geometry)
    # All images in one step: the extension wants a batch that is a multiple of the step.
    return module.dcnv3_forward(*tensors, *numbers, value.size(0), *later).to(value.dtype)


def backward(
    grad_out: Tensor, value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offset and mask, each of its tensor's shape and type."""
    module = require(value.device.type)
    tensors, numbers, later = _arguments(value, offset, mask, geometry)
    grad = grad_out.to(tensors[0].dtype).contiguous()
    grads = module.dcnv3_backward(*tensors, *numbers, grad, value.size(0), *later)
    return tuple(g.to(t.dtype) for g, t in zip(grads, (value, offset, mask)))
