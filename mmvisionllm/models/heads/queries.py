"""Output formats as queries, and passes of the language model over a prefix and the objects behind it (paper, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel, Prefix
from ..structures import ImageTokens


@MODELS.register_module()
class FormatQueries(nn.Module):
    """Embeddings of the format tokens ``<cls> <x1> <y1> ...`` that an instruction asks with."""

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        tokens: ImageTokens | None = None,
        indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Queries of a batch; instructions may ask for different numbers of points.

        Args:
            language_model: For its embeddings.
            instructions: B instructions that ask for sets of objects.
            tokens: Image tokens, where what they tell enters the queries.
            indices: (B, P) those that are asked; all M by default.

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
        numbers = [f.num_points for f in formats]
        longest = formats[numbers.index(max(numbers))]
        rows = [language_model.vocabulary.index(token) for token in longest.queries]
        queries = language_model.added.input[rows].expand(len(formats), 1, -1, -1)
        asked = torch.arange(longest.num_points) < torch.tensor(numbers)[:, None]
        return queries, asked.to(queries.device)


def object_positions(objects: Tensor, queries: Tensor) -> Tensor:
    """What stands at an object's positions, ``[object] [<cls>] [<x1>] ...``.

    First its own token, where its category's name stands in ``{"star":<c0>}``, then the format's queries, to each of
    which the token is added as well. A pretrained language model looks the class up as it continues any repeated
    pattern; one from scratch needs the token at the query.

    Args:
        objects: (B, n, D).
        queries: (B, n or 1, K, D).

    Returns:
        (B, n, 1 + K, D).
    """
    token = objects[:, :, None]
    return torch.cat([token, token + queries.to(objects.dtype)], 2)


def decode_objects(
    model: LanguageModel,
    prefix: Prefix,
    positions: Tensor,
    cache: DynamicCache | None = None,
    tokens_per_pass: int | None = None,
) -> Iterator[Tensor]:
    """Hidden states of the objects' queries.

    Args:
        model: The language model.
        prefix: Of B images.
        positions: (B, M, 1 + K, D) of :func:`object_positions`.
        cache: Keys and values of the prefix, behind which some objects at a time are decoded; without it, prefix and all
            objects are one pass. The results are the same.
        tokens_per_pass: Most tokens of a pass behind a cache, B * objects * (1 + K); one object of every image may be
            more. None for all objects in one pass.

    Yields:
        (B, n, K, D) of the queries of the next n objects.
    """
    batch, num, size = positions.shape[:3]
    positions = positions.to(prefix.embeddings.dtype)
    step = max(1, tokens_per_pass // (batch * size)) if cache is not None and tokens_per_pass else num
    for part in positions.split(step, 1):
        layout = replace(prefix.layout, num_objects=part.size(1), object_size=size)
        embeddings = part.flatten(1, 2)
        if cache is None:
            embeddings = torch.cat([prefix.embeddings, embeddings], 1)
        else:
            layout = replace(layout, cached=layout.prefix_length)
        hidden = model(embeddings, layout, cache)
        if cache is not None:
            cache.crop(-part.size(1) * size)
        yield hidden[:, -part.size(1) * size :].unflatten(1, (-1, size))[:, :, 1:]
