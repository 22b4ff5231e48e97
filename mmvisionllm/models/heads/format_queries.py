"""Output formats as queries (paper, 3.4): what each object is asked with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel


class FormatQueries(nn.Module):
    """Embeddings of the format tokens ``<cls> <x1> <y1> ...`` that an instruction asks with.

    A polygon's queries are told how far along the outline their point lies, ``(i - 1) / N``: the i-th of 8 points is
    another place than the i-th of 24, and an object's queries do not see how many come after them. A box has nothing of
    the kind: its corners are no outline, although they share the tokens of a polygon's first two points.

    Where the tokenizer tells an object's box, a polygon's queries also hold the location tokens of a first outline, our
    addition: the ellipse in the box, changed by elliptic Fourier descriptors (Kuhl and Giardina, 1982) that a linear
    layer reads off the object's token. The language model says how the true outline differs. It need not learn what it is
    slow at, to multiply a shape by a size and a class by a place along the outline, and the first outline's own loss
    teaches the token what it has to hold (docs/measurements.md).

    Args:
        dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings, the scale of what tells the place.
        outline_token_grad: Times the gradient of first outlines by which they teach the tokens. With 1, it is a hundredth
            of what else a token learns from (measured), and tokens do not get to hold how objects are turned.
        num_harmonics: Waves around the outline that tell the place, the shortest ``1 / num_harmonics`` of it.
    """

    def __init__(
        self, dims: int, std: float, outline_token_grad: float = 1.0, num_harmonics: int = 16
    ) -> None:
        super().__init__()
        self.outline_token_grad = outline_token_grad
        self.num_harmonics = num_harmonics
        # Of the waves' squares, half add up. From a generator of its own: boxes shall not depend on polygons being there.
        generator = torch.Generator().manual_seed(0)
        phase = torch.randn(2 * num_harmonics, dims, generator=generator, device='cpu')
        self.phase = nn.Parameter(phase * std / math.sqrt(num_harmonics))
        self.std = std
        self.descriptors = nn.utils.skip_init(nn.Linear, dims, 4 * num_harmonics)  # draws nothing
        nn.init.zeros_(self.descriptors.weight)
        nn.init.zeros_(self.descriptors.bias)

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        objects: Tensor | None = None,
        extents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Queries of a batch; instructions may ask for different numbers of points.

        Args:
            language_model: For its embeddings.
            instructions: B instructions that ask for sets of objects.
            objects: (B, P, D) tokens that are asked, in the language model's space; needed with extents.
            extents: (B, P, 2) their widths and heights, normalised.

        Returns:
            (B, P, K, D) embeddings for K = 1 + 2N, N the largest number of points, with P = 1 where they are the same
            for all objects; (B, N) bool, which points are asked for. Those beyond are answered all the same, and change
            nothing: queries see only those before them. (B, P, N, 2) points of the first outlines around the objects'
            locations, normalised, 0 where a box is asked for, or None without polygons or extents.

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
            return queries[:, None], asked, None
        harmonics = torch.arange(1, self.num_harmonics + 1, device=queries.device)
        angles = 2 * math.pi * (index / numbers[:, None])[..., None] * harmonics
        waves = torch.cat([angles.sin(), angles.cos()], -1) * (numbers > 2)[:, None, None]
        along = (waves @ self.phase).repeat_interleave(2, 1)  # x and y of a point share its place
        queries = (queries + nn.functional.pad(along, (0, 0, 1, 0)))[:, None]
        if extents is None:
            return queries, asked, None
        vocabulary = language_model.vocabulary
        outlines = self._first_outlines(waves, objects) * extents[:, :, None] / 2
        bins = vocabulary.codec.encode(outlines.detach()).long()
        places = added.input[vocabulary.location_slice][bins]
        places = places * (numbers > 2)[:, None, None, None, None]
        return queries + nn.functional.pad(places.flatten(2, 3), (0, 0, 1, 0)), asked, outlines

    def _first_outlines(self, waves: Tensor, objects: Tensor) -> Tensor:
        """(B, N, 2H) waves, (B, P, D) tokens -> (B, P, N, 2) points, in units of half the objects' extents."""
        # The first wave runs as outlines do (structures/outline.py): from the top, clockwise.
        ellipse = torch.stack([waves[..., 0], -waves[..., self.num_harmonics]], -1)
        # In a step of Adam all channels of a token add up. A quarter of the root lets outlines follow within some hundred
        # steps of a learning rate that is right for the language model, without a jump by a tenth of an object in each.
        tokens = objects.detach().lerp(objects, self.outline_token_grad)
        tokens = tokens * (4 / (self.std * math.sqrt(tokens.size(-1))))
        with torch.autocast(objects.device.type, enabled=False):
            descriptors = self.descriptors(tokens.float()).unflatten(-1, (2, -1))
            return ellipse[:, None] + torch.einsum('bnh,bpah->bpna', waves, descriptors)
