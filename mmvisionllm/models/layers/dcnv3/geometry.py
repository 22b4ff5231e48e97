# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Where DCNv3 samples: shapes and positions, shared by all implementations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride, padding and dilation, each (height, width); groups; offset scale; center removal.

    An output position (y, x) and a kernel point (j, i), j down and i right, are sampled at, in pixels of the input::

        x * stride - padding + reach + (i * dilation - reach + dx) * offset_scale,    reach = dilation * (kernel - 1) // 2

    and likewise for y. Points are counted column by column (i slow, j fast), as in the official weights.

    Raises:
        ValueError: if a size is not positive, or an even kernel has no center to remove.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    offset_scale: float
    remove_center: bool

    def __post_init__(self) -> None:
        sizes = (*self.kernel, *self.stride, *self.dilation, self.groups)
        if min(sizes) < 1 or min(self.padding) < 0:
            raise ValueError(
                'kernel_size, stride, dilation and groups must be at least 1 and padding at least 0, got '
                f'{self.kernel}, {self.stride}, {self.dilation}, {self.groups} and {self.padding}'
            )
        if self.remove_center and (self.kernel[0] % 2 == 0 or self.kernel[1] % 2 == 0):
            raise ValueError(f'remove_center needs an odd kernel: one of size {self.kernel} has no center')

    @property
    def num_points(self) -> int:
        """P, the kernel points of one output position."""
        return self.kernel[0] * self.kernel[1] - self.remove_center

    @property
    def reach(self) -> Pair:
        """From the first kernel point to the middle one, in pixels."""
        (kernel_h, kernel_w), (dilation_h, dilation_w) = self.kernel, self.dilation
        return dilation_h * (kernel_h - 1) // 2, dilation_w * (kernel_w - 1) // 2

    def output_size(self, height: int, width: int) -> Pair:
        """Output positions of an input of ``height`` x ``width`` pixels, as of a convolution."""
        return tuple(
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                (height, width), self.kernel, self.stride, self.padding, self.dilation
            )
        )

    def point_steps(self) -> list[Pair]:
        """Of each kernel point, (down, right) steps from the first one; without the center if it is removed."""
        kernel_h, kernel_w = self.kernel
        steps = [(j, i) for i in range(kernel_w) for j in range(kernel_h)]
        if self.remove_center:
            steps.remove((kernel_h // 2, kernel_w // 2))
        return steps

    def base_locations(self, out_h: int, out_w: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Locations without offsets, in pixels: y (out_h, P) and x (out_w, P), of ``like``'s type and device."""
        located = []
        for axis, length in enumerate((out_h, out_w)):
            first = self.reach[axis] - self.padding[axis]
            outputs = torch.arange(length, dtype=like.dtype, device=like.device)
            steps = [step[axis] * self.dilation[axis] for step in self.point_steps()]
            steps = torch.tensor(steps, dtype=like.dtype, device=like.device)
            points = (steps - self.reach[axis]) * self.offset_scale
            located.append((outputs * self.stride[axis] + first)[:, None] + points)
        return located[0], located[1]

    def check_inputs(self, value: Tensor, offset: Tensor, mask: Tensor) -> None:
        """Refuse tensors that do not belong together.

        Raises:
            ValueError: if shapes or devices do not fit; the message names the wanted shape.
            TypeError: if one is not floating-point.
        """
        if value.dim() != 4:
            raise ValueError(f'value must be (B, H, W, C), channels last, got shape {tuple(value.shape)}')
        for name, tensor in (('value', value), ('offset', offset), ('mask', mask)):
            if not tensor.is_floating_point():
                raise TypeError(f'{name} must be floating-point, got {tensor.dtype}')
            if tensor.device != value.device:
                raise ValueError(f'{name} is on {tensor.device}, value on {value.device}')
        batch, height, width, channels = value.shape
        if channels % self.groups:
            hint = ''
            if height % self.groups == 0:
                hint = '; value must be channels last, (B, H, W, C): is it (B, C, H, W)?'
            raise ValueError(f'channels must be divisible by groups, got C={channels} and groups={self.groups}{hint}')
        out_h, out_w = self.output_size(height, width)
        if min(out_h, out_w) < 1:
            raise ValueError(
                f'an input of {height}x{width} pixels with padding {self.padding} is smaller than the kernel '
                f'{self.kernel} with dilation {self.dilation}'
            )
        samples = self.groups * self.num_points
        for name, tensor, last in (('offset', offset, 2 * samples), ('mask', mask, samples)):
            wanted = (batch, out_h, out_w, last)
            if tuple(tensor.shape) != wanted:
                raise ValueError(
                    f'{name} must be (B, H_out, W_out, groups * points{" * 2" * (name == "offset")}) = {wanted} for a '
                    f'value of shape {tuple(value.shape)} (B, H, W, C), got {tuple(tensor.shape)}'
                )
