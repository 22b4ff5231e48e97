"""Attention of a sequence whose objects share a prefix, in transformers' interface.

Two kernels compute it, named as transformers names its own: ``'sdpa'`` (plain torch, everywhere) and
``'flex_attention'``. Both equal :meth:`SharedPrefixLayout.dense_mask` at a cost linear in the objects.
"""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .flex_kernel import flex_kernel
from .prefix_cache import PrefixMemory
from .shared_prefix import SharedPrefixLayout


def _attend_objects(
    query: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Scaled queries of all objects, (B, H, M * K, d), over prefix and own object, side by side under one softmax."""
    objects = layout.num_objects, layout.object_size
    q = query.unflatten(2, objects).unflatten(1, (prefix[0].size(1), -1))  # (B, H_kv, G, M, K, d)
    own_key, own_value = (t.unflatten(2, objects)[:, :, None] for t in own)
    seen, causal = layout.object_masks(window)
    # In mixed precision, products come out in another type than the queries: rotary embeddings are in float32.
    to_prefix = q.flatten(2, 4) @ prefix[0].transpose(-1, -2)
    to_prefix = to_prefix.view(*q.shape[:-1], -1)
    if seen is not None:
        to_prefix = to_prefix.masked_fill(~seen[:, None, None, None], torch.finfo(to_prefix.dtype).min)
    to_own = q @ own_key.transpose(-1, -2)
    to_own = to_own.masked_fill(~causal, torch.finfo(to_own.dtype).min)
    scores = torch.cat([to_prefix, to_own], -1)
    # Sums are in float32 in any type; autocast hands float32 back.
    weights = F.dropout(scores.softmax(-1).to(to_own.dtype), dropout, training=dropout > 0)
    # Split, not sliced: the gradient of slices is as many tensors of zeros with a slice filled in, and their sum.
    of_prefix, of_own = weights.split((to_prefix.size(-1), to_own.size(-1)), -1)
    out = of_prefix.flatten(2, 4) @ prefix[1]
    out = out.view(*q.shape[:-1], -1) + of_own @ own_value
    return out.flatten(1, 2).flatten(2, 3)


def sdpa_kernel(
    query: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Plain torch.

    Args:
        query: (B, H, L - cached + M * K, d).
        prefix: Keys and values, (B, H_kv, L, d).
        own: The objects' keys and values, (B, H_kv, M * K, d).
        layout: The sequence's shape.
        scaling: Factor of the scores.
        dropout: Probability of a weight to be dropped.
        window: Sliding window in positions, where it hides anything.

    Returns:
        (B, H, L - cached + M * K, d).
    """
    of_prefix, of_objects = query.split((layout.prefix_length - layout.cached, layout.num_own), 2)
    parts = []
    if of_prefix.size(2):
        key, value = (t.repeat_interleave(query.size(1) // t.size(1), 1) for t in prefix)
        mask = layout.prefix_mask(window)
        parts.append(
            F.scaled_dot_product_attention(of_prefix, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
        )
    if layout.num_own:
        parts.append(_attend_objects(of_objects * scaling, prefix, own, layout, dropout, window))
    return torch.cat(parts, 2)


KERNELS = dict(sdpa=sdpa_kernel, flex_attention=flex_kernel)


def check_kernel(name: str) -> str:
    """The name of a kernel that can run here.

    Raises:
        ValueError: for an unknown name.
        ImportError: if torch is too old for it.
    """
    if name not in KERNELS:
        raise ValueError(f'attn_implementation must be one of {", ".join(KERNELS)}, got {name!r}')
    if name == 'flex_attention' and importlib.util.find_spec('torch.nn.attention.flex_attention') is None:
        raise ImportError("attn_implementation='flex_attention' needs torch 2.5 or newer; 'sdpa' needs nothing")
    return name


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: SharedPrefixLayout | None = None,
    kernel: str = 'sdpa',
    past: PrefixMemory | None = None,
    record: PrefixMemory | None = None,
    sliding_window: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention function in transformers' interface, equal to a dense mask's result at linear cost.

    Args:
        module: The attention layer, for its ``layer_idx``.
        query: (B, H, S, d), of the positions of this pass.
        key: (B, H_kv, S, d), with H a multiple of H_kv.
        value: (B, H_kv, S, d).
        attention_mask: Ordinary text's mask; with a layout, the layout says who sees whom.
        layout: The sequence's shape. None for ordinary text, which goes to transformers' SDPA.
        kernel: One of ``KERNELS``.
        past: Keys and values of the prefix's first ``layout.cached`` positions.
        record: Takes the prefix's keys and values.
        sliding_window: The layer's, in positions.

    Returns:
        (B, S, H, d) and None in place of the weights.

    Raises:
        NotImplementedError: for models whose attention is more than a softmax over scaled products, and for what the
            kernel does not know.
    """
    if layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    extras = [name for name in ('softcap', 's_aux', 'position_bias') if kwargs.get(name) is not None]
    if extras:
        raise NotImplementedError(
            f'{type(module).__name__} uses {", ".join(extras)} in its attention, which decoding in parallel does not '
            'know; use a model of the LLaMA kind'
        )
    new = layout.prefix_length - layout.cached
    prefix, own = zip(*(t.split((new, t.size(2) - new), 2) for t in (key, value)))
    if past is not None:
        prefix = past.extend(module.layer_idx, *prefix)
    if record is not None:
        record.record(module.layer_idx, *prefix)
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    window = layout.window(sliding_window)
    out = KERNELS[kernel](query, prefix, own, layout, scaling, dropout, window)
    return out.transpose(1, 2), None
