"""The shared-prefix pattern by FlashAttention 2 (package ``flash-attn``, GPUs alone)."""

from __future__ import annotations

import torch
from torch import Tensor

from .shared_prefix import SharedPrefixLayout, prefix_attention


def flash_kernel(
    query: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """See :func:`sdpa_kernel`. The prefix itself goes to torch: FlashAttention has no mask for its image tokens.

    Without gradients, prefix and own object are attended to in two calls, which are joined by their normalisers. As
    FlashAttention passes no gradient through these, in training each object gets a copy of the prefix's keys.

    Raises:
        NotImplementedError: if a sliding window hides a part of the prefix.
        ValueError: for other types than float16 and bfloat16.
    """
    if window is not None:
        raise NotImplementedError(
            f"attn_implementation='flash_attention_2' cannot look over a sliding window of {window} positions where "
            "image tokens share one: use 'sdpa' or 'flex_attention'"
        )
    value = prefix[1]
    if value.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"attn_implementation='flash_attention_2' needs float16 or bfloat16, but got {value.dtype}: set "
            "torch_dtype='bfloat16' or train with AmpOptimWrapper"
        )
    query = query.to(value.dtype)
    prefix, own = (tuple(t.to(value.dtype) for t in pair) for pair in (prefix, own))
    new, parts = layout.num_new, []
    if new:
        parts.append(prefix_attention(query[:, :, :new], *prefix, layout, scaling, dropout, window))
    if layout.num_own:
        q = query[:, :, new:].transpose(1, 2)
        prefix, own = (tuple(t.transpose(1, 2) for t in pair) for pair in (prefix, own))
        attend = _joined if not torch.is_grad_enabled() else _copied
        parts.append(attend(q, prefix, own, layout, scaling, dropout).transpose(1, 2))
    return torch.cat(parts, 2)


def _bounds(lengths: Tensor) -> Tensor:
    """Lengths -> where each sequence of a packed batch begins and ends, as FlashAttention wants them."""
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()


def _joined(
    q: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
) -> Tensor:
    """(B, M * K, H, d) queries over prefix and own object apart, then joined."""
    from flash_attn import flash_attn_func, flash_attn_varlen_func

    batch, total, heads, _ = q.shape
    lengths = layout.valid.sum(1)
    shared = dict(dropout_p=dropout, softmax_scale=scaling, return_attn_probs=True)
    whole, whole_norm, _ = flash_attn_varlen_func(
        q.flatten(0, 1),
        *(t[layout.valid] for t in prefix),
        cu_seqlens_q=_bounds(torch.full_like(lengths, total)),
        cu_seqlens_k=_bounds(lengths),
        max_seqlen_q=total,
        max_seqlen_k=layout.prefix_length,
        **shared,
    )  # (B * M * K, H, d) and (H, B * M * K)
    objects = (t.reshape(-1, layout.object_size, *t.shape[2:]) for t in (q, *own))
    part, part_norm, _ = flash_attn_func(*objects, causal=True, **shared)
    # (B * M, K, H, d) and (B * M, H, K)
    whole_norm = whole_norm.T.reshape(batch, total, heads)
    part_norm = part_norm.transpose(1, 2).reshape(batch, total, heads)
    share = torch.sigmoid(whole_norm - part_norm)[..., None].to(q.dtype)
    return whole.view_as(q) * share + part.reshape(q.shape) * (1 - share)


def _copied(
    q: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
) -> Tensor:
    """The same with [prefix | object] as each object's keys: causal, as FlashAttention aligns the ends."""
    from flash_attn import flash_attn_varlen_func

    num, size = layout.num_objects, layout.object_size
    valid = torch.nn.functional.pad(layout.valid, (0, size), value=True)
    valid = valid.repeat_interleave(num, 0)
    keys = (
        torch.cat([p.repeat_interleave(num, 0), o.reshape(-1, size, *o.shape[2:])], 1)[valid] for p, o in zip(prefix, own)
    )
    lengths = valid.sum(1)
    out = flash_attn_varlen_func(
        q.flatten(0, 1),
        *keys,
        cu_seqlens_q=_bounds(torch.full_like(lengths, size)),
        cu_seqlens_k=_bounds(lengths),
        max_seqlen_q=size,
        max_seqlen_k=layout.prefix_length + size,
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
    )
    return out.view_as(q)
