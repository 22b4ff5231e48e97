"""Output formats as queries (paper, 3.4): what each object is asked with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel
from ..layers import outline_waves
from .first_points import first_points


class FormatQueries(nn.Module):
    """Embeddings of the format tokens ``<cls> <x1> <y1> ...`` that an instruction asks with.

    A polygon's queries are told how far along the outline their point lies, ``(i - 1) / N``: the i-th of 8 points is
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
        super().__init__()
        self.num_harmonics = num_harmonics
        # Of the waves' squares, half add up. From a generator of its own: boxes shall not depend on polygons being there.
        generator = torch.Generator().manual_seed(0)
        phase = torch.randn(2 * num_harmonics, dims, generator=generator, device='cpu')
        self.phase = nn.Parameter(phase * std / math.sqrt(num_harmonics))

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        extents: Tensor | None = None,
        outlines: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Queries of a batch; instructions may ask for different numbers of points.

        Args:
            language_model: For its embeddings.
            instructions: B instructions that ask for sets of objects.
            extents: (B, P, 2) widths and heights of the objects, normalised.
            outlines: (B, P, 2, 1 + 2H) descriptors of their outlines, see :func:`first_points`.

        Returns:
            (B, P, K, D) embeddings for K = 1 + 2N, N the largest number of points, with P = 1 where they are the same
            for all objects; (B, N) bool, which points are asked for. Those beyond are answered all the same, and change
            nothing: queries see only those before them.

        Raises:
            ValueError: if an instruction asks for text.
        """
        formats = [instruction.output_format for instruction in instructions]
        if any(f.is_text for f in formats):
            raise ValueError('the instructions ask for text, which is not decoded in parallel')
        longest = max(formats, key=lambda f: f.num_points)
        added = language_model.added
        rows = [language_model.vocabulary.index(token) for token in longest.queries]
        queries = added.input[rows].expand(len(formats), -1, -1)
        numbers = torch.tensor([f.num_points for f in formats], device=queries.device)
        index = torch.arange(longest.num_points, device=queries.device)
        asked = index < numbers[:, None]
        if longest.num_points == 2:
            return queries[:, None], asked
        polygon = numbers > 2
        places = index / numbers[:, None]
        waves = outline_waves(places, self.num_harmonics)[..., 1:] * polygon[:, None, None]
        along = (waves @ self.phase).repeat_interleave(2, 1)  # x and y of a point share its place
        queries = (queries + nn.functional.pad(along, (0, 0, 1, 0)))[:, None]
        if extents is None:
            return queries, asked
        points = first_points(instructions, extents, outlines).detach()
        bins = language_model.vocabulary.codec.encode(points).long()
        places = added.input[language_model.vocabulary.location_slice][bins]
        places = (places * polygon[:, None, None, None, None]).flatten(2, 3)
        return queries + nn.functional.pad(places, (0, 0, 1, 0)), asked
