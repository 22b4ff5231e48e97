# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""DCNv3 as Triton kernels for CUDA, forward and backward.

A program takes some output positions of one group and loops over the kernel points; a group's channels lie side by side
in memory, so each corner of a sample is one contiguous read. Forward writes nothing but the output.
Backward recomputes the samples. Each offset and mask belongs to one program, so their gradients are plain writes; the
input's is added to atomically, in float32.

With ``TRITON_INTERPRET=1`` set before triton is imported, the same kernels run on the CPU, slowly: for tests.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from .geometry import Geometry

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "implementation='triton' needs the package triton, which comes with torch for CUDA (or: pip install triton); "
        "implementation='pytorch' does without"
    ) from error


def require(device: str) -> None:
    """Raise RuntimeError unless Triton's kernels can run on ``device``."""
    if device != 'cuda' and os.environ.get('TRITON_INTERPRET') != '1':
        raise RuntimeError(
            f"implementation='triton' runs on CUDA, and the inputs are on {device}; use implementation='pytorch'"
        )


@triton.jit
def _corner(value, start, y, x, inside, channels, height, width, stride_pixel, channel_mask, ACC: tl.constexpr):
    """Where one corner's channels are in ``value``, which of them exist, and what they are (0 outside the image)."""
    there = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    # Where there is nothing to read the address must still be one that can be computed.
    pixel = start + tl.where(there, y * width + x, 0).to(tl.int64) * stride_pixel
    places = pixel[:, None] + channels[None, :]
    there = there[:, None] & channel_mask[None, :]
    return places, there, tl.load(value + places, mask=there, other=0.0).to(ACC)


@triton.jit
def _place(
    offset, mask, sample, lanes, point, out_y, out_x, height, width,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    PADDING_H: tl.constexpr, PADDING_W: tl.constexpr, DILATION_H: tl.constexpr, DILATION_W: tl.constexpr,
    REMOVE_CENTER: tl.constexpr, SCALE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Where a point of each output position falls: first corner, fractions, mask, and whether it touches the image."""
    step = point
    if REMOVE_CENTER:
        step = point + tl.where(point >= (KERNEL_W // 2) * KERNEL_H + KERNEL_H // 2, 1, 0)
    reach_y: tl.constexpr = DILATION_H * (KERNEL_H - 1) // 2
    reach_x: tl.constexpr = DILATION_W * (KERNEL_W - 1) // 2
    off_x = tl.load(offset + sample * 2, mask=lanes, other=0.0).to(ACC)
    off_y = tl.load(offset + sample * 2 + 1, mask=lanes, other=0.0).to(ACC)
    weight = tl.load(mask + sample, mask=lanes, other=0.0).to(ACC)
    x = (out_x * STRIDE_W - PADDING_W + reach_x).to(ACC)
    y = (out_y * STRIDE_H - PADDING_H + reach_y).to(ACC)
    x += (((step // KERNEL_H) * DILATION_W - reach_x) + off_x) * SCALE
    y += (((step % KERNEL_H) * DILATION_H - reach_y) + off_y) * SCALE
    inside = lanes & (x > -1) & (x < width) & (y > -1) & (y < height)
    x, y = tl.where(inside, x, 0.0), tl.where(inside, y, 0.0)
    x0, y0 = tl.floor(x), tl.floor(y)
    return y0.to(tl.int32), x0.to(tl.int32), y - y0, x - x0, weight, inside


@triton.jit
def _forward_kernel(
    value, offset, mask, out, positions, height, width, out_h, out_w, groups, group_channels,
    POINTS: tl.constexpr, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr, PADDING_H: tl.constexpr, PADDING_W: tl.constexpr, DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr, REMOVE_CENTER: tl.constexpr, SCALE: tl.constexpr, ACC: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(1)
    position = tl.program_id(0).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    lanes = position < positions
    channels = tl.arange(0, BLOCK_C)
    channel_mask = channels < group_channels
    out_x = (position % out_w).to(tl.int32)
    out_y = ((position // out_w) % out_h).to(tl.int32)
    pixel = groups * group_channels
    image = (position // (out_w * out_h)) * height * width
    start = image * pixel + group * group_channels
    first = (position * groups + group) * POINTS
    total = tl.zeros((BLOCK_L, BLOCK_C), dtype=ACC)
    for point in range(POINTS):
        y, x, fy, fx, weight, inside = _place(
            offset, mask, first + point, lanes, point, out_y, out_x, height, width, KERNEL_H, KERNEL_W, STRIDE_H,
            STRIDE_W, PADDING_H, PADDING_W, DILATION_H, DILATION_W, REMOVE_CENTER, SCALE, ACC,
        )  # fmt: skip
        for corner in tl.static_range(4):
            _, _, values = _corner(
                value, start, y + corner // 2, x + corner % 2, inside, channels, height, width, pixel, channel_mask, ACC
            )  # fmt: skip
            along_y = fy if corner >= 2 else 1 - fy
            along_x = fx if corner % 2 == 1 else 1 - fx
            total += values * (along_y * along_x * weight)[:, None]
    target = out + (position * pixel + group * group_channels)[:, None] + channels[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=lanes[:, None] & channel_mask[None, :])


@triton.jit
def _backward_kernel(
    grad_out, value, offset, mask, grad_value, grad_offset, grad_mask, positions, height, width, out_h, out_w,
    groups, group_channels,
    POINTS: tl.constexpr, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr, PADDING_H: tl.constexpr, PADDING_W: tl.constexpr, DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr, REMOVE_CENTER: tl.constexpr, SCALE: tl.constexpr, ACC: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(1)
    position = tl.program_id(0).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    lanes = position < positions
    channels = tl.arange(0, BLOCK_C)
    channel_mask = channels < group_channels
    out_x = (position % out_w).to(tl.int32)
    out_y = ((position // out_w) % out_h).to(tl.int32)
    pixel = groups * group_channels
    image = (position // (out_w * out_h)) * height * width
    start = image * pixel + group * group_channels
    first = (position * groups + group) * POINTS
    source = grad_out + (position * pixel + group * group_channels)[:, None] + channels[None, :]
    gradient = tl.load(source, mask=lanes[:, None] & channel_mask[None, :], other=0.0).to(ACC)
    for point in range(POINTS):
        y, x, fy, fx, weight, inside = _place(
            offset, mask, first + point, lanes, point, out_y, out_x, height, width, KERNEL_H, KERNEL_W, STRIDE_H,
            STRIDE_W, PADDING_H, PADDING_W, DILATION_H, DILATION_W, REMOVE_CENTER, SCALE, ACC,
        )  # fmt: skip
        d_mask = tl.zeros((BLOCK_L,), dtype=ACC)
        d_x = tl.zeros((BLOCK_L,), dtype=ACC)
        d_y = tl.zeros((BLOCK_L,), dtype=ACC)
        for corner in tl.static_range(4):
            places, there, values = _corner(
                value, start, y + corner // 2, x + corner % 2, inside, channels, height, width, pixel, channel_mask, ACC
            )  # fmt: skip
            along_y = fy if corner >= 2 else 1 - fy
            along_x = fx if corner % 2 == 1 else 1 - fx
            dot = tl.sum(values * gradient, axis=1)
            d_mask += along_y * along_x * dot
            if corner % 2 == 1:
                d_x += along_y * dot
            else:
                d_x -= along_y * dot
            if corner >= 2:
                d_y += along_x * dot
            else:
                d_y -= along_x * dot
            share = gradient * (along_y * along_x * weight)[:, None]
            tl.atomic_add(grad_value + places, share, mask=there)
        sample = first + point
        # Outside the image all corners read 0, and so are these.
        tl.store(grad_mask + sample, d_mask.to(grad_mask.dtype.element_ty), mask=lanes)
        d_x = (d_x * weight * SCALE).to(grad_offset.dtype.element_ty)
        d_y = (d_y * weight * SCALE).to(grad_offset.dtype.element_ty)
        tl.store(grad_offset + sample * 2, d_x, mask=lanes)
        tl.store(grad_offset + sample * 2 + 1, d_y, mask=lanes)


def _launch(kernel: object, tensors: list[Tensor], value: Tensor, geometry: Geometry) -> None:
    batch, height, width, channels = value.shape
    out_h, out_w = geometry.output_size(height, width)
    group_channels = channels // geometry.groups
    block_c = triton.next_power_of_2(group_channels)
    # 1024 values in each of a program's blocks: eight per thread of four warps.
    block_l = max(1, 1024 // block_c)
    positions = batch * out_h * out_w
    sizes = (geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)
    grid = (triton.cdiv(positions, block_l), geometry.groups)
    numbers = [positions, height, width, out_h, out_w, geometry.groups, group_channels]
    constants = [geometry.num_points, *(number for pair in sizes for number in pair)]
    constants += [geometry.remove_center, geometry.offset_scale]
    acc = tl.float64 if value.dtype == torch.float64 else tl.float32
    with torch.cuda.device_of(value):
        kernel[grid](*tensors, *numbers, *constants, acc, block_l, block_c, num_warps=4)


def forward(value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry) -> Tensor:
    """DCNv3; shapes as in :func:`~mmvisionllm.models.layers.dcnv3.dcnv3`."""
    value, offset, mask = (tensor.contiguous() for tensor in (value, offset, mask))
    out_size = geometry.output_size(value.size(1), value.size(2))
    out = value.new_empty((value.size(0), *out_size, value.size(3)))
    _launch(_forward_kernel, [value, offset, mask, out], value, geometry)
    return out


def backward(
    grad_out: Tensor, value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offset and mask, each of its tensor's shape and type."""
    tensors = [tensor.contiguous() for tensor in (grad_out, value, offset, mask)]
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    grad_value = torch.zeros(value.shape, dtype=dtype, device=value.device)
    grads = [torch.empty_like(tensor) for tensor in tensors[2:]]
    _launch(_backward_kernel, [*tensors, grad_value, *grads], value, geometry)
    return grad_value.to(value.dtype), *grads
