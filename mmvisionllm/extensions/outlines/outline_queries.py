"""Queries of a polygon's points that hold a first outline."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads.queries import FormatQueries
from mmvisionllm.models.language_models import LanguageModel
from mmvisionllm.models.structures import ImageTokens

from .first_points import first_points


@MODELS.register_module()
class OutlineQueries(FormatQueries):
    """:class:`FormatQueries` that hold where a polygon's points lie at first.

    Where the tokenizer tells an object's box, a polygon's queries also hold the location tokens of a first outline: the
    one that the tokenizer tells, see :class:`OutlineHead`, or else the ellipse in the box. The language model has to say
    how the true outline differs, and need not learn to multiply a shape by a size. A box has nothing of the kind: its
    corners are no outline, although they share the tokens of a polygon's first two points.
    """

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        tokens: ImageTokens | None = None,
        indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`FormatQueries`."""
        queries, asked = super().forward(language_model, instructions)
        if asked.size(1) == 2 or tokens is None or tokens.extents is None:
            return queries, asked
        extents, outlines = tokens.extents, getattr(tokens, 'outlines', None)
        if indices is not None:
            extents = extents.take_along_dim(indices[..., None], 1)
            outlines = None if outlines is None else outlines.take_along_dim(indices[..., None, None], 1)
        points = first_points(instructions, extents, outlines).detach()
        bins = language_model.vocabulary.codec.encode(points).long()
        places = language_model.added.input[language_model.vocabulary.location_slice][bins]
        polygon = asked.sum(1) > 2
        places = (places * polygon[:, None, None, None, None]).flatten(2, 3)
        return queries + nn.functional.pad(places, (0, 0, 1, 0)), asked
