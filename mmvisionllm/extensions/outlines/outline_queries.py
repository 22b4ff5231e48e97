"""Queries of a polygon's points: where along the outline they lie, and a first outline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.parallel_decoding import FormatQueries
from mmvisionllm.models.language_models import LanguageModel
from mmvisionllm.models.structures import ImageTokens

from .descriptors import outline_waves
from .first_points import first_points


@MODELS.register_module()
class OutlineQueries(FormatQueries):
    """:class:`FormatQueries` that tell a polygon's points their places.

    A polygon's queries hold how far along the outline their point lies, ``(i - 1) / N``: the i-th of 8 points is
    another place than the i-th of 24, and an object's queries do not see how many come after them. A box has nothing of
    the kind: its corners are no outline, although they share the tokens of a polygon's first two points.

    Where the tokenizer tells an object's box, a polygon's queries also hold the location tokens of a first outline: the
    one that the tokenizer tells, see :class:`OutlineHead`, or else the ellipse in the box. The language model has to say
    how the true outline differs, and need not learn to multiply a shape by a size.

    Args:
        dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings, the scale of what tells the place.
        num_harmonics: Waves around the outline that tell the place, the shortest ``1 / num_harmonics`` of it.
    """

    def __init__(self, dims: int, std: float, num_harmonics: int = 16) -> None:
        super().__init__(dims, std)
        self.num_harmonics = num_harmonics
        # Of the waves' squares, half add up. From a generator of its own: boxes must not depend on polygons being there.
        generator = torch.Generator().manual_seed(0)
        phase = torch.randn(2 * num_harmonics, dims, generator=generator, device='cpu')
        self.phase = nn.Parameter(phase * std / math.sqrt(num_harmonics))

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        tokens: ImageTokens | None = None,
        indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`FormatQueries`."""
        queries, asked = super().forward(language_model, instructions)
        if asked.size(1) == 2:
            return queries, asked
        numbers = asked.sum(1)
        polygon = numbers > 2
        places = torch.arange(asked.size(1), device=queries.device) / numbers[:, None]
        waves = outline_waves(places, self.num_harmonics)[..., 1:] * polygon[:, None, None]
        along = (waves @ self.phase).repeat_interleave(2, 1)  # x and y of a point share its place
        queries = queries + nn.functional.pad(along, (0, 0, 1, 0))[:, None]
        if tokens is None or tokens.extents is None:
            return queries, asked
        told = (tokens.extents, getattr(tokens, 'outlines', None))
        told = (None if part is None else tokens.gather(part, indices) for part in told)
        points = first_points(instructions, *told).detach()
        bins = language_model.vocabulary.codec.encode(points).long()
        places = language_model.added.input[language_model.vocabulary.location_slice][bins]
        places = (places * polygon[:, None, None, None, None]).flatten(2, 3)
        return queries + nn.functional.pad(places, (0, 0, 1, 0)), asked
