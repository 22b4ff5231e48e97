"""Output formats as queries, and passes of the language model over a prefix and the objects behind it (paper, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

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
        longest = max(formats, key=lambda f: f.num_points)
        rows = [language_model.vocabulary.index(token) for token in longest.queries]
        queries = language_model.added.input[rows].expand(len(formats), 1, -1, -1)
        numbers = torch.tensor([f.num_points for f in formats], device=queries.device)
        return queries, torch.arange(longest.num_points, device=queries.device) < numbers[:, None]


def object_positions(objects: Tensor, queries: Tensor) -> Tensor:
    """What stands at an object's positions, ``[object] [<cls>] [<x1>] ...``.

    First its own token, where its category's name stands in ``{"star":<c0>}``, then the format's queries, to each of
    which the token is added as well. A pretrained language model looks the class up as it continues any repeated
    pattern; one from scratch needs the token at the query.

    Args:
        objects: (B, n, D).
        queries: (B, n, K, D).

    Returns:
        (B, n, 1 + K, D).
    """
    token = objects[:, :, None]
    return torch.cat([token, token + queries], 2)


def decode_objects(
    model: LanguageModel, prefix: Prefix, objects: Tensor, queries: Tensor, tokens_per_pass: int | None = None
) -> Iterator[Tensor]:
    """Hidden states of the objects' queries, some objects at a time.

    With gradients, prefix and objects are one pass. Otherwise, the prefix is computed once, and what stands in it before
    the image once for all images of the same instruction, see :class:`PrefixCache`. The results are the same.

    Args:
        model: The language model.
        prefix: Of B images.
        objects: (B, M, D) tokens to answer for.
        queries: (B, M or 1, K, D) what each of them is asked with.
        tokens_per_pass: Most tokens of a pass without gradients, B * objects * (1 + K); the prefix, or one object of
            every image, may be more. None for all objects in one pass.

    Yields:
        (B, n, K, D) of the queries of the next n objects.
    """
    (batch, num, _), size, dtype = objects.shape, 1 + queries.size(2), prefix.embeddings.dtype
    asked = object_positions(objects, queries.expand(-1, num, -1, -1).to(objects.dtype)).to(dtype)
    if torch.is_grad_enabled():
        layout = replace(prefix.layout, num_objects=num, object_size=size)
        hidden = model(torch.cat([prefix.embeddings, asked.flatten(1, 2)], 1), layout)
        yield hidden[:, layout.prefix_length :].unflatten(1, (num, size))[:, :, 1:]
        return
    memory = model.prefix_cache.memory(model, prefix)
    step = num if tokens_per_pass is None else max(1, tokens_per_pass // (batch * size))
    for part in asked.split(step, 1):
        layout = replace(prefix.layout, num_objects=part.size(1), object_size=size, cached=prefix.layout.prefix_length)
        hidden = model(part.flatten(1, 2), layout, past=memory)
        yield hidden.unflatten(1, (-1, size))[:, :, 1:]
