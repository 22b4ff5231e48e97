"""What the parts of the model hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ImageTokens:
    """The image as M tokens ``T = {(e_i, l_i)}`` (paper, 3.3).

    Args:
        embeddings: (B, M, D) embeddings e_i.
        locations: (B, M, 2) centre points l_i (x, y), normalised by the image's width and height.
        objectness: (B, M) logits: is there an object that the instruction asks for.
        hidden_states: (L, B, M, D) outputs of every decoder layer, for the deep supervision of the tokenizer.
        references: L + 1 reference points of mmdet's decoder, (B, M, 2) or (B, M, 4).
        extents: (B, M, 2) widths and heights, normalised, or None if the tokenizer regresses centres alone.
    """

    embeddings: Tensor
    locations: Tensor
    objectness: Tensor
    hidden_states: Tensor | None = None
    references: list[Tensor] | None = None
    extents: Tensor | None = None


@dataclass
class DecodedSet:
    """Raw answers for M objects per image.

    Args:
        class_logits: (B, M, C + 1) scores of ``<c0> ..`` and, last, of ``<none>``; -inf beyond an image's own C.
        point_logits: (B, M, N, 2, num_bins) scores of the location tokens.
        locations: (B, M, 2) points that offsets start from, normalised.
    """

    class_logits: Tensor
    point_logits: Tensor
    locations: Tensor

    def split(self, num_objects: int) -> tuple[DecodedSet, DecodedSet]:
        """The first ``num_objects`` and the rest."""
        n = num_objects
        return (
            DecodedSet(self.class_logits[:, :n], self.point_logits[:, :n], self.locations[:, :n]),
            DecodedSet(self.class_logits[:, n:], self.point_logits[:, n:], self.locations[:, n:]),
        )
