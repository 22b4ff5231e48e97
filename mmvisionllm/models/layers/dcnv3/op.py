# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The DCNv3 operator: one function, several implementations, one gradient."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from . import pytorch
from .geometry import Geometry, Pair
from .self_check import triton_agrees

IMPLEMENTATIONS = ('auto', 'pytorch', 'triton', 'official')
_GEOMETRY = (
    'int[] kernel, int[] stride, int[] padding, int[] dilation, int groups, float offset_scale, '
    'bool remove_center, str implementation'
)


def dcnv3(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel_size: int | Pair = 3,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    implementation: str = 'auto',
) -> Tensor:
    """Deformable convolution v3 (InternImage, arXiv 2211.05778, section 3.1) without its projections.

    Each output position takes, per group, the sum of P bilinear samples of the input, each times its mask. P is the
    number of kernel points, ``kernel_size ** 2`` less the center if that is removed. Outside the image the input is zero.

    Args:
        value: (B, H, W, C), channels last; group g has the channels ``g * C / groups`` and following.
        offset: (B, H_out, W_out, groups * P * 2) pixels, x before y; points count down the kernel's columns.
        mask: (B, H_out, W_out, groups * P) weight of each sample.
        kernel_size: One number, or (height, width); so too the next three.
        stride: Pixels between output positions.
        padding: Zeros around the image.
        dilation: Pixels between kernel points.
        groups: Groups of channels, each with offsets and masks of its own.
        offset_scale: Factor of offsets and of the kernel's extent.
        remove_center: Leave out the kernel's center.
        implementation: ``'pytorch'`` runs everywhere. ``'triton'`` are this package's kernels for CUDA, compared with
            PyTorch's on a small case first, which takes their place if they differ. ``'official'`` is the extension DCNv3
            that the user has compiled. ``'auto'`` is triton on CUDA if installed, else pytorch.

    Returns:
        (B, H_out, W_out, C) in ``value``'s type; sums are taken in float32 at least. The three inputs may differ in type,
        as they do under autocast.

    Raises:
        ValueError: if shapes do not fit, channels are not divisible by groups, an even kernel has its center removed, or
            there is no such implementation.
        TypeError: if an input is not floating-point.
        ImportError: if triton or the official extension is asked for and is not installed.
        RuntimeError: if an implementation is asked for that the inputs' device does not run.
    """
    kernel, strides, paddings, dilations = (_pair(size) for size in (kernel_size, stride, padding, dilation))
    geometry = Geometry(kernel, strides, paddings, dilations, groups, float(offset_scale), remove_center)
    geometry.check_inputs(value, offset, mask)
    chosen = choose_implementation(implementation, value.device.type)
    return _dcnv3(
        value, offset, mask, kernel, strides, paddings, dilations, groups, geometry.offset_scale, remove_center, chosen
    )


def choose_implementation(implementation: str, device: str) -> str:
    """The implementation that ``implementation`` means on a type of device, after checking that it is there.

    Raises:
        ValueError: if there is no such implementation.
        ImportError: if what it needs is not installed.
        RuntimeError: if it does not run on the device.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f'implementation must be one of {IMPLEMENTATIONS}, got {implementation!r}')
    if implementation == 'auto':
        return 'triton' if device == 'cuda' and find_spec('triton') else 'pytorch'
    if implementation == 'triton':
        from .triton_kernels import require

        require(device)
    elif implementation == 'official':
        from .official import require

        require(device)
    return implementation


def _pair(size: int | Sequence[int]) -> Pair:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f'a size is one number or (height, width), got {size!r}')
    return pair


def _module(implementation: str, device: torch.device) -> Any:
    if implementation == 'triton' and triton_agrees(device):
        from . import triton_kernels as module
    elif implementation == 'official':
        from . import official as module
    else:
        module = pytorch
    return module


def _geometry(
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> Geometry:
    pairs = (tuple(size) for size in (kernel, stride, padding, dilation))
    return Geometry(*pairs, groups, offset_scale, remove_center)


# Opaque to torch.compile, which would otherwise trace the loops over blocks (and cannot trace an extension at all). The
# schema is spelled out, since torch 2.4 cannot infer it from annotations that are strings.
@torch.library.custom_op(
    'mmvisionllm::dcnv3', mutates_args=(), schema=f'(Tensor value, Tensor offset, Tensor mask, {_GEOMETRY}) -> Tensor'
)
def _dcnv3(value, offset, mask, *settings):  # noqa: ANN001
    *geometry, implementation = settings
    return _module(implementation, value.device).forward(value, offset, mask, _geometry(*geometry))


@_dcnv3.register_fake
def _(value, offset, mask, *settings):  # noqa: ANN001
    out_h, out_w = _geometry(*settings[:-1]).output_size(value.size(1), value.size(2))
    return value.new_empty((value.size(0), out_h, out_w, value.size(3)))


@torch.library.custom_op(
    'mmvisionllm::dcnv3_backward',
    mutates_args=(),
    schema=f'(Tensor grad, Tensor value, Tensor offset, Tensor mask, {_GEOMETRY}) -> (Tensor, Tensor, Tensor)',
)
def _dcnv3_backward(grad, value, offset, mask, *settings):  # noqa: ANN001
    *geometry, implementation = settings
    return _module(implementation, value.device).backward(grad, value, offset, mask, _geometry(*geometry))


@_dcnv3_backward.register_fake
def _(grad, value, offset, mask, *settings):  # noqa: ANN001
    return torch.empty_like(value), torch.empty_like(offset), torch.empty_like(mask)


def _save(ctx, inputs, output) -> None:  # noqa: ANN001
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _gradient(ctx, grad):  # noqa: ANN001
    return *_dcnv3_backward(grad, *ctx.saved_tensors, *ctx.settings), *[None] * len(ctx.settings)


_dcnv3.register_autograd(_gradient, setup_context=_save)
