"""What the parts of the model hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class ImageTokens:
    """The image as M tokens ``T = {(e_i, l_i)}`` (paper, 3.3).

    Args:
        embeddings: (B, M, D) embeddings e_i.
        locations: (B, M, 2) centre points l_i (x, y), normalised by the image's width and height.
        objectness: (B, M) logits: is there an object that the instruction asks for.
        hidden_states: (L, B, G M, D) outputs of every decoder layer, for the deep supervision of the tokenizer; in
            training of all G groups of queries, the image tokens first.
        references: L + 1 reference points of mmdet's decoder, (B, G M, 2) or (B, G M, 4).
        extents: (B, M, 2) widths and heights, normalised, or None if the tokenizer regresses centres alone.
        outlines: (B, M, 2, 1 + 2H) descriptors, see :class:`OutlineHead`, or None without one.
        maps: Feature maps, (B, D, H_i, W_i) each, that :class:`OutlineRefiner` looks at, or None without one.
        map_ratios: (B, len(maps), 2) share of a map's width and height that its image fills, as in mmdet.
    """

    embeddings: Tensor
    locations: Tensor
    objectness: Tensor
    hidden_states: Tensor | None = None
    references: list[Tensor] | None = None
    extents: Tensor | None = None
    outlines: Tensor | None = None
    maps: list[Tensor] | None = None
    map_ratios: Tensor | None = None

    def select(self, images: list[int]) -> ImageTokens:
        """The tokens of some images of the batch."""
        if images == list(range(len(self.embeddings))):
            return self

        def pick(value: Tensor | None, axis: int = 0) -> Tensor | None:
            return None if value is None else value.index_select(axis, index)

        index = torch.tensor(images, device=self.embeddings.device)
        references = self.references and [pick(reference) for reference in self.references]
        maps = self.maps and [pick(m) for m in self.maps]
        return ImageTokens(
            pick(self.embeddings),
            pick(self.locations),
            pick(self.objectness),
            pick(self.hidden_states, 1),
            references,
            pick(self.extents),
            pick(self.outlines),
            maps,
            pick(self.map_ratios),
        )


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
