"""Who sees whom when all objects are decoded at once, and an attention that computes just that.

A sequence is ``[prefix | object 0's queries | object 1's queries | ...]``, padded between prefix and objects. With an
instruction ``a <image> b`` of one image token pair ``i j`` and two objects of two queries each, ``x`` may attend:

====  =  =  =  =  ==  ==  ==  ==
from  a  i  j  b  p0  p1  q0  q1
====  =  =  =  =  ==  ==  ==  ==
a     x
i     x  x  x
j     x  x  x
b     x  x  x  x
p0    x  x  x  x  x
p1    x  x  x  x  x   x
q0    x  x  x  x          x
q1    x  x  x  x          x   x
====  =  =  =  =  ==  ==  ==  ==

The text is causal, as the LLM was pretrained. Image tokens are a set: they see one another, and they share one
position, so that their order means nothing. An object's queries are causal among themselves, see the whole prefix and
never another object; all objects start at the same position. The cost is therefore linear in the number of objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMPLEMENTATION = 'mmvisionllm_shared_prefix'


@dataclass
class SharedPrefixLayout:
    """Shape of a batch of sequences with a shared prefix.

    Args:
        valid: (B, L) bool, prefix positions that are not padding.
        is_image: (B, L) bool, prefix positions that hold image tokens.
        num_objects: M, objects per image.
        object_size: K, queries per object.
    """

    valid: Tensor
    is_image: Tensor
    num_objects: int = 0
    object_size: int = 0

    @property
    def prefix_length(self) -> int:
        return self.valid.size(1)

    def position_ids(self) -> Tensor:
        """(B, L + M * K) positions: image tokens of an image share one, as do the k-th queries of all objects."""
        repeats = self.is_image & F.pad(self.is_image[:, :-1], (1, 0))
        steps = self.valid & ~repeats
        prefix = (steps.cumsum(1) - 1).clamp(min=0)
        start = steps.sum(1, keepdim=True)
        own = torch.arange(self.object_size, device=self.valid.device).repeat(self.num_objects)
        return torch.cat([prefix, start + own], 1)

    def prefix_mask(self) -> Tensor:
        """(B, 1, L, L) bool, True where a prefix position may attend. Padding sees itself, to stay finite."""
        length = self.prefix_length
        causal = torch.ones(length, length, dtype=torch.bool, device=self.valid.device).tril()
        among_image = self.is_image[:, :, None] & self.is_image[:, None, :]
        mask = (causal | among_image) & self.valid[:, None, :]
        return (mask | torch.eye(length, dtype=torch.bool, device=mask.device))[:, None]

    def dense_mask(self) -> Tensor:
        """(B, 1, S, S) bool over the whole sequence, S = L + M * K: the table above, written out.

        The reference for :func:`shared_prefix_attention`; its size grows with the square of the number of objects.
        """
        batch, length = self.valid.shape
        own_size = self.num_objects * self.object_size
        mask = self.valid.new_zeros(batch, 1, length + own_size, length + own_size)
        mask[:, :, :length, :length] = self.prefix_mask()
        mask[:, :, length:, :length] = self.valid[:, None, None, :]
        own = torch.ones(self.object_size, self.object_size, device=mask.device).tril()
        mask[:, :, length:, length:] = torch.block_diag(*[own] * self.num_objects).bool()
        return mask


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: SharedPrefixLayout | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention function in transformers' interface, equal to a dense mask's result at linear cost.

    Args:
        query: (B, H, S, d).
        key: (B, H_kv, S, d), with H a multiple of H_kv.
        value: (B, H_kv, S, d).
        attention_mask: (B, 1, L, L) bool, the prefix's own mask; without a layout, whatever SDPA takes.
        layout: The sequence's shape. None for ordinary text, which goes to transformers' SDPA.

    Returns:
        (B, S, H, d) and None in place of the weights.

    Raises:
        NotImplementedError: for models whose attention is more than a softmax over scaled products.
    """
    if layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    extras = [
        name for name in ('softcap', 's_aux', 'position_bias') if kwargs.get(name) is not None
    ]
    if extras:
        raise NotImplementedError(
            f'{type(module).__name__} uses {", ".join(extras)} in its attention, which decoding in parallel does not '
            'know; use a model of the LLaMA kind'
        )
    length = layout.prefix_length
    batch, heads, _, dim = query.shape
    kv_heads = key.size(1)
    groups = heads // kv_heads
    scaling = dim**-0.5 if scaling is None else scaling
    prefix_out = F.scaled_dot_product_attention(
        query[:, :, :length],
        key[:, :, :length].repeat_interleave(groups, 1),
        value[:, :, :length].repeat_interleave(groups, 1),
        attn_mask=attention_mask,
        dropout_p=dropout,
        scale=scaling,
    )
    num, size = layout.num_objects, layout.object_size
    if num * size == 0:
        return prefix_out.transpose(1, 2), None
    # Objects' queries: scores against the prefix and against the own object side by side under one softmax.
    # In mixed precision, products come out in another type than the queries: rotary embeddings are in float32.
    q = query[:, :, length:].reshape(batch, kv_heads, groups, num, size, dim) * scaling
    own_k = key[:, :, length:].reshape(batch, kv_heads, 1, num, size, dim)
    own_v = value[:, :, length:].reshape(batch, kv_heads, 1, num, size, dim)
    prefix_k = key[:, :, :length].transpose(-1, -2)
    to_prefix = (q.reshape(batch, kv_heads, -1, dim) @ prefix_k).view(*q.shape[:-1], length)
    to_prefix = to_prefix.masked_fill(
        ~layout.valid[:, None, None, None, None, :], torch.finfo(to_prefix.dtype).min
    )
    to_own = q @ own_k.transpose(-1, -2)
    causal = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    to_own = to_own.masked_fill(~causal, torch.finfo(to_own.dtype).min)
    weights = torch.cat([to_prefix, to_own], -1).float().softmax(-1).to(q.dtype)
    weights = F.dropout(weights, dropout, training=dropout > 0)
    to_prefix, to_own = weights.split([length, size], -1)
    out = to_prefix.reshape(batch, kv_heads, -1, length) @ value[:, :, :length]
    out = out.view_as(q) + to_own @ own_v
    out = out.reshape(batch, heads, num * size, dim)
    return torch.cat([prefix_out, out], 2).transpose(1, 2), None
