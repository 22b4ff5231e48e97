"""Where an object's points are by what the tokenizer tells of it, before the language model answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvisionllm.instructions import Instruction

from .descriptors import ellipse_descriptors, outline_waves


def first_points(instructions: Sequence[Instruction], extents: Tensor, outlines: Tensor | None = None) -> Tensor:
    """Corners of boxes, and points of outlines, seen from the objects' locations.

    Args:
        instructions: B instructions that ask for sets of objects.
        extents: (B, P, 2) widths and heights of the objects, normalized.
        outlines: (B, P, 2, 1 + 2H) descriptors of their outlines, in units of half of that, see :class:`OutlineHead`; by
            default those of the ellipse in the box.

    Returns:
        (B, P, N, 2) offsets, normalized, N the largest number of points; those beyond an instruction's own mean nothing.
    """
    numbers = torch.tensor([i.output_format.num_points for i in instructions], device=extents.device)
    index = torch.arange(int(numbers.max()), device=extents.device)
    half = extents[:, :, None] / 2
    corners = torch.where(index == 0, -1.0, 1.0)[:, None] * half
    if len(index) == 2:
        return corners
    if outlines is None:
        outlines = ellipse_descriptors(1, extents.device).expand(*extents.shape, -1)
    waves = outline_waves(index / numbers[:, None], outlines.size(-1) // 2)
    points = torch.einsum('bnh,bpah->bpna', waves, outlines) * half
    return torch.where((numbers > 2)[:, None, None, None], points, corners)
