"""Passes of the language model over a prefix and the objects behind it (paper, 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..language_models import LanguageModel, PrefixMemory
from .prefix import Prefix


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
    model: LanguageModel,
    prefix: Prefix,
    objects: Tensor,
    queries: Tensor,
    tokens_per_pass: int | None = None,
) -> Iterator[Tensor]:
    """Hidden states of the objects' queries, some objects at a time.

    With gradients, all of it is one pass. Otherwise, the prefix is computed once, and
    what stands in it before the image once for all images of the same instruction, see :class:`PrefixCache`. The
    results are the same.

    Args:
        model: The language model.
        prefix: Of B images.
        objects: (B, M, D) tokens to answer for.
        queries: (B, M or 1, K, D) what each of them is asked with.
        tokens_per_pass: Most tokens of a pass without gradients, B * (new tokens of the prefix + objects * (1 + K)); a
            prefix alone, or one object of every image, may be more. None for all in one pass.

    Yields:
        (B, n, K, D) of the queries of the next n objects.
    """
    num, size = objects.size(1), 1 + queries.size(2)
    layout, batch = prefix.layout, len(objects)
    length = layout.prefix_length
    in_passes = not torch.is_grad_enabled()
    cache, key, head = model.prefix_cache, None, None
    if in_passes and not model.training and prefix.head and cache.max_bytes:
        cache.check(model)
        key = cache.key(prefix.head, objects.device)
        head = cache.get(key)
    cached = 0 if head is None else len(prefix.head)

    def own(part: slice) -> Tensor:
        asked = queries.expand(-1, num, -1, -1)[:, part].to(objects.dtype)
        return object_positions(objects[:, part], asked).flatten(1, 2).to(prefix.embeddings.dtype)

    first, step = num, num
    if tokens_per_pass is not None and in_passes:
        first = (tokens_per_pass - batch * (length - cached)) // (batch * size)
        first = min(num, max(0, first))
        step = max(1, tokens_per_pass // (batch * size))
    record = None
    if first < num:
        record = PrefixMemory(length)
    elif key is not None and head is None:
        record = PrefixMemory(len(prefix.head), rows=1)
    here = replace(layout, num_objects=first, object_size=size, cached=cached)
    sequence = torch.cat([prefix.embeddings[:, cached:], own(slice(first))], 1)
    hidden = model(sequence, here, past=head, record=record)
    if key is not None and head is None:
        cache.put(key, record.head(len(prefix.head)))
    if first or not num:
        yield hidden[:, here.num_new :].unflatten(1, (first, size))[:, :, 1:]
    del hidden, sequence
    for start in range(first, num, step):
        part = slice(start, min(num, start + step))
        here = replace(here, num_objects=part.stop - start, cached=length)
        hidden = model(own(part), here, past=record)
        yield hidden.unflatten(1, (-1, size))[:, :, 1:]


def join(passes: Iterable[tuple[Tensor, ...]], num_objects: int) -> tuple[Tensor, ...]:
    """Answers of passes, (B, n, ...) each, one behind the other; never held twice, as logits are large.

    Args:
        passes: The same number of answers from each.
        num_objects: The sum of all n.
    """
    whole: tuple[Tensor, ...] = ()
    done = 0
    for part in passes:
        if part[0].size(1) == num_objects:
            return part
        if not whole:
            whole = tuple(p.new_empty(len(p), num_objects, *p.shape[2:]) for p in part)
        for target, p in zip(whole, part):
            target[:, done : done + p.size(1)] = p
        done += part[0].size(1)
    return whole
