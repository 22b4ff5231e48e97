"""What the parts of the model hand to one another."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

Match = tuple[Tensor, Tensor]
"""Tokens of an image and the objects that they are matched to, both (n,)."""


@dataclass
class ImageTokens:
    """The image as M tokens ``T = {(e_i, l_i)}`` (paper, 3.3).

    Args:
        embeddings: (B, M, D) embeddings e_i.
        locations: (B, M, 2) centre points l_i (x, y), normalised by the image's width and height.
        objectness: (B, M) logits: is there an object that the instruction asks for.
        extents: (B, M, 2) widths and heights, normalised, or None if the tokenizer regresses centres alone.
        layer_scores: (L, B, M, 1) objectness of every decoder layer, for the tokenizer's losses.
        layer_boxes: (L, B, M, 4) boxes (cx, cy, w, h) of every decoder layer, normalised.
        hidden_states: (L, B, M, D) outputs of every decoder layer, or None without :class:`OutlineHead`.
        outlines: (B, M, 2, 1 + 2H) descriptors, see :class:`OutlineHead`, or None without one.
        maps: Feature maps, (B, D, H_i, W_i) each, that :class:`OutlineRefiner` looks at, or None without one.
        map_ratios: (B, len(maps), 2) share of a map's width and height that its image fills, as in mmdet.
    """

    embeddings: Tensor
    locations: Tensor
    objectness: Tensor
    extents: Tensor | None = None
    layer_scores: Tensor | None = None
    layer_boxes: Tensor | None = None
    hidden_states: Tensor | None = None
    outlines: Tensor | None = None
    maps: list[Tensor] | None = None
    map_ratios: Tensor | None = None

    def select(self, images: list[int]) -> ImageTokens:
        """The tokens of some images of the batch."""
        if images == list(range(len(self.embeddings))):
            return self
        index = torch.tensor(images, device=self.embeddings.device)

        def pick(value: Tensor | list[Tensor] | None, axis: int = 0) -> Tensor | list[Tensor] | None:
            if isinstance(value, list):
                return [pick(part) for part in value]
            return None if value is None else value.index_select(axis, index)

        per_layer = ('layer_scores', 'layer_boxes', 'hidden_states')
        return ImageTokens(**{f.name: pick(getattr(self, f.name), int(f.name in per_layer)) for f in fields(self)})


@dataclass
class DecodedSet:
    """Raw answers for M objects per image.

    Args:
        class_logits: (B, M, C + 1) scores of ``<c0> ..`` and, last, of ``<none>``; -inf beyond an image's own C.
        point_logits: (B, M, N, 2, num_bins) scores of the location tokens.
        locations: (B, M, 2) points that offsets start from, normalised.
        point_mask: (B, N) bool, False for points beyond those that an image's own instruction asks for.
    """

    class_logits: Tensor
    point_logits: Tensor
    locations: Tensor
    point_mask: Tensor
