"""What a tokenizer with outlines hands to the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmvisionllm.models.structures import ImageTokens


@dataclass
class OutlineTokens(ImageTokens):
    """Image tokens that tell their objects' outlines.

    Args:
        hidden_states: (L, B, M, D) outputs of every decoder layer.
        outlines: (B, M, 2, 1 + 2H) descriptors, see :class:`OutlineHead`.
        maps: Feature maps, (B, D, H_i, W_i) each, that :class:`OutlineRefiner` looks at, or None without one.
        map_ratios: (B, len(maps), 2) share of a map's width and height that its image fills, as in mmdet.
    """

    hidden_states: Tensor | None = None
    outlines: Tensor | None = None
    maps: list[Tensor] | None = None
    map_ratios: Tensor | None = None

    axes: ClassVar[dict[str, int]] = dict(ImageTokens.axes, hidden_states=1, outlines=0, maps=0, map_ratios=0)
