# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""DCNv3 in PyTorch's own operators, forward and backward, for any device.

The sampled values, P times the size of the output, are never formed. A group's channels at one pixel are a row of a
table, and an output is a weighted sum of 4 P rows: what ``embedding_bag`` computes. Backward, in turn:

- mask and offsets need the dot product of the output's gradient with each of these rows, which is the gradient of
  ``embedding_bag`` with respect to its weights;
- the input needs the transposed sum: samples are sorted by the pixel that they fall on, and each pixel's bag holds the
  outputs that sampled it.

The table has a border of zeros one pixel wide, so that a sample's four corners are always in it, at the same distances
from the first: the four sums share their indices and differ in where the table begins.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Geometry

# Samples handled at a time: small enough for the processor's caches and for memory to stay small, large enough for the
# overhead of some tens of operators to vanish.
_SAMPLES_FORWARD = 200_000
_SAMPLES_BACKWARD = 100_000


def _compute_dtype(value: Tensor) -> torch.dtype:
    # Locations need more bits than half precision has, and the sums profit as well.
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _blocks(length: int, each: int, limit: int) -> Iterator[slice]:
    """Cut ``length`` things of ``each`` samples into slices of about ``limit`` samples."""
    step = max(1, limit // max(1, each))
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


class _Samples:
    """Where the samples of some output rows and groups of one image fall.

    Args:
        offset: (h, w, G', P, 2), the last axis x, y.
        mask: (h, w, G', P).
        base_y: (h, P) in pixels.
        base_x: (w, P) in pixels.
        scale: ``offset_scale``.
        height: Pixels of the image.
        width: Pixels of the image.
    """

    def __init__(
        self, offset: Tensor, mask: Tensor, base_y: Tensor, base_x: Tensor, scale: float, height: int, width: int
    ) -> None:
        groups = mask.size(2)
        x = torch.add(base_x[None, :, None], offset[..., 0], alpha=scale)
        y = torch.add(base_y[:, None, None], offset[..., 1], alpha=scale)
        inside = (x > -1) & (x < width) & (y > -1) & (y < height)
        x0, y0 = x.floor(), y.floor()
        # Outside, also for infinities: no weight, no gradient, and any pixel that exists.
        outside = ~inside
        self.inside = inside
        self.fx = x.sub_(x0).masked_fill_(outside, 0)
        self.fy = y.sub_(y0).masked_fill_(outside, 0)
        self.mask = mask.to(x.dtype) * inside
        # (h, w, G', P) rows of the table: pixels of the image with its border, then groups.
        column = x0.to(torch.int32).clamp_(-1, width - 1)
        index = y0.to(torch.int32).clamp_(-1, height - 1).add_(1).mul_(width + 2)
        index.add_(column).add_(1).mul_(groups)
        index += torch.arange(groups, dtype=torch.int32, device=x.device)[:, None]
        self.index = index

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bilinear weights times mask, of the corners (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)."""
        lower = self.mask * self.fy
        upper = self.mask - lower
        upper_right, lower_right = upper * self.fx, lower * self.fx
        return upper.sub_(upper_right), upper_right, lower.sub_(lower_right), lower_right


def _table(image: Tensor, dtype: torch.dtype) -> Tensor:
    """(H, W, G', C') -> ((H + 2) * (W + 2) * G', C') with a border of zeros."""
    height, width, groups, channels = image.shape
    table = image.new_zeros((height + 2, width + 2, groups, channels), dtype=dtype)
    table[1:-1, 1:-1] = image
    return table.view(-1, channels)


def _corners(width: int, groups: int) -> tuple[int, int, int, int]:
    """Rows of the table from a sample's first corner to each of the four."""
    return 0, groups, (width + 2) * groups, (width + 3) * groups


def forward(value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry) -> Tensor:
    """DCNv3; shapes as in :func:`~mmvisionllm.models.layers.dcnv3.dcnv3`."""
    batch, height, width, channels = value.shape
    out_h, out_w = geometry.output_size(height, width)
    groups, points, dtype = geometry.groups, geometry.num_points, _compute_dtype(value)
    value = value.unflatten(-1, (groups, -1))
    offset = offset.contiguous().unflatten(-1, (groups, points, 2))
    mask = mask.contiguous().unflatten(-1, (groups, points))
    base_y, base_x = geometry.base_locations(out_h, out_w, value.new_empty(0, dtype=dtype))
    out = value.new_empty((batch, out_h, out_w, channels))
    for image in range(batch):
        table = _table(value[image], dtype)
        for rows in _blocks(out_h, out_w * groups * points, _SAMPLES_FORWARD):
            samples = _Samples(
                offset[image, rows], mask[image, rows], base_y[rows], base_x, geometry.offset_scale, height, width
            )
            index = samples.index.view(-1, points)
            total = None
            for start, weight in zip(_corners(width, groups), samples.weights()):
                bag = F.embedding_bag(index, table[start:], mode='sum', per_sample_weights=weight.view(-1, points))
                total = bag if total is None else total.add_(bag)
            out[image, rows] = total.view(-1, out_w, channels)
    return out


def backward(
    grad_out: Tensor, value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offset and mask, each of its tensor's shape and type."""
    batch, height, width, channels = value.shape
    out_h, out_w = geometry.output_size(height, width)
    groups, points, dtype = geometry.groups, geometry.num_points, _compute_dtype(value)
    offset, mask = offset.contiguous(), mask.contiguous()
    grads = torch.empty_like(value), torch.empty_like(offset), torch.empty_like(mask)
    value, grad_value = (t.unflatten(-1, (groups, -1)) for t in (value, grads[0]))
    offset, grad_offset = (t.unflatten(-1, (groups, points, 2)) for t in (offset, grads[1]))
    mask, grad_mask = (t.unflatten(-1, (groups, points)) for t in (mask, grads[2]))
    grad_out = grad_out.unflatten(-1, (groups, -1))
    base_y, base_x = geometry.base_locations(out_h, out_w, value.new_empty(0, dtype=dtype))
    for image in range(batch):
        for part in _blocks(groups, out_h * out_w * points, _SAMPLES_BACKWARD):
            samples = _Samples(
                offset[image, :, :, part], mask[image, :, :, part], base_y, base_x, geometry.offset_scale, height, width
            )
            gradient = grad_out[image, :, :, part].to(dtype).flatten(0, 2).contiguous()
            table = _table(value[image, :, :, part], dtype)
            d_mask, d_x, d_y = _sample_gradients(samples, table, gradient, width)
            grad_mask[image, :, :, part] = d_mask
            grad_offset[image, :, :, part, :, 0] = d_x.mul_(geometry.offset_scale)
            grad_offset[image, :, :, part, :, 1] = d_y.mul_(geometry.offset_scale)
            del d_mask, d_x, d_y
            grad_value[image, :, :, part] = _table_gradient(samples, table, gradient, width)
    return grads


def _sample_gradients(samples: _Samples, table: Tensor, gradient: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the masks and of the samples' x and y, each (h, w, G', P)."""
    shape, points = samples.index.shape, samples.index.size(-1)
    index = samples.index.view(-1)
    bags = torch.arange(gradient.size(0), dtype=torch.int32, device=index.device)
    starts, bag_of = bags * points, bags.repeat_interleave(points)
    dots = []
    for start in _corners(width, shape[2]):
        # The gradient of embedding_bag with respect to per_sample_weights (mode 0: sum; no padding index).
        dot = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            gradient, table[start:], index, starts, bag_of, 0, -1
        )
        dots.append(dot.view(shape))
    upper_left, upper_right, lower_left, lower_right = dots
    # a + fx b + fy c + fx fy d, with a = upper_left, is the sampled value times the gradient.
    fx, fy = samples.fx, samples.fy
    b = upper_right.sub_(upper_left)
    d = lower_right.sub_(lower_left).sub_(b)
    c = lower_left.sub_(upper_left)
    d_x = torch.addcmul(b, fy, d)
    d_y = torch.addcmul(c, fx, d)
    d_mask = upper_left.addcmul_(fx, d_x).addcmul_(fy, c).mul_(samples.inside)
    return d_mask, d_x.mul_(samples.mask), d_y.mul_(samples.mask)


def _table_gradient(samples: _Samples, table: Tensor, gradient: Tensor, width: int) -> Tensor:
    """Gradient of the pixels, (H, W, G', C')."""
    points, groups = samples.index.size(-1), samples.index.size(2)
    corners = _corners(width, groups)
    pixel, order = samples.index.view(-1).sort()
    counts = torch.bincount(pixel, minlength=table.size(0) - corners[-1])
    starts = counts.cumsum(0).sub_(counts)
    source = order.div(points, rounding_mode='floor')
    total = torch.zeros_like(table)
    for start, weight in zip(corners, samples.weights()):
        weight = weight.view(-1)[order]
        bag = F.embedding_bag(source, gradient, starts, mode='sum', per_sample_weights=weight)
        total[start : start + bag.size(0)] += bag
    return total.view(-1, width + 2, groups, table.size(1))[1:-1, 1:-1]
