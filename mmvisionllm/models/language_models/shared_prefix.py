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

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward


@dataclass(eq=False)
class SharedPrefixLayout:
    """Shape of a batch of sequences with a shared prefix; not to be changed once it is made.

    Args:
        valid: (B, L) bool, prefix positions that are not padding.
        is_image: (B, L) bool, prefix positions that hold image tokens.
        num_objects: M, objects per image.
        object_size: K, queries per object.
        cached: The prefix's first positions whose keys and values are known already: a pass begins behind them.

    Attributes:
        prefix_length: L.
        num_own: Queries of all objects of an image, M * K.
        start: (B, 1) position where every object starts.
        position_ids: (B, L - cached + M * K) positions of a pass: the image tokens of an image share one, and so do the
            k-th queries of all objects.
    """

    valid: Tensor
    is_image: Tensor
    num_objects: int = 0
    object_size: int = 0
    cached: int = 0

    def __post_init__(self) -> None:
        self.prefix_length = self.valid.size(1)
        self.num_own = self.num_objects * self.object_size
        repeats = self.is_image & F.pad(self.is_image[:, :-1], (1, 0))
        steps = self.valid & ~repeats
        self.start = steps.sum(1, keepdim=True)
        own = torch.arange(self.object_size, device=self.valid.device).repeat(self.num_objects)
        # Of the whole sequence, (B, L + M * K) each.
        self._positions = torch.cat([(steps.cumsum(1) - 1).clamp(min=0), self.start + own], 1)
        self._valid = F.pad(self.valid, (0, self.num_own), value=True)
        self._is_image = F.pad(self.is_image, (0, self.num_own))
        self._masks: dict = {}
        self.position_ids = self._positions[:, self.cached :]

    def sees(self, b: Tensor, q: Tensor, k: Tensor, window: int | None = None) -> Tensor:
        """The rule, the table above: may position ``q`` of sequence ``b`` attend to position ``k``?

        Args:
            b: Indices of sequences.
            q: Indices of positions in the whole sequence, 0 to L + M * K - 1. The three broadcast.
            k: Likewise.
            window: Positions, the own one included, that a layer with a sliding window looks back over.

        Returns:
            Bool. Every position sees itself, padding too, so that no softmax is empty.
        """
        length, size = self.prefix_length, max(self.object_size, 1)
        causal = k <= q
        text = (k < length) & self._valid[b, k] & (causal | (self._is_image[b, q] & self._is_image[b, k]))
        own = (k >= length) & causal & ((q - length) // size == (k - length) // size)
        seen = text | own
        if window is not None:
            seen = seen & (self._positions[b, q] - self._positions[b, k] < window)
        return seen | (q == k)

    def mask(self, q: tuple[int, int], k: tuple[int, int], window: int | None = None) -> Tensor | None:
        """(B, Q, K) bool, the rule on a grid of the positions from ``q[0]`` to ``q[1] - 1`` and those of ``k``.

        None where all of them may. It is computed once for all layers.
        """
        key = q, k, window
        if key not in self._masks:
            device = self.valid.device
            batch = torch.arange(len(self.valid), device=device)[:, None, None]
            seen = self.sees(batch, torch.arange(*q, device=device)[:, None], torch.arange(*k, device=device), window)
            self._masks[key] = None if bool(seen.all()) else seen
        return self._masks[key]

    def dense_mask(self, window: int | None = None) -> Tensor:
        """(B, 1, S, S) bool over the whole sequence, S = L + M * K: the rule, written out.

        The reference for :func:`shared_prefix_attention`; its size grows with the square of the number of objects.
        """
        size = self.prefix_length + self.num_own
        seen = self.mask((0, size), (0, size), window)
        return torch.ones_like(self._valid)[:, None, None].expand(-1, -1, size, -1) if seen is None else seen[:, None]


@dataclass
class Prefix:
    """The part of a sequence that all objects share.

    Args:
        embeddings: (B, L, D), padded on the right.
        layout: Of a sequence without objects.
        head: Ids of the tokens before the image where all sequences have the same; else empty.
    """

    embeddings: Tensor
    layout: SharedPrefixLayout
    head: tuple[int, ...] = ()


def sdpa_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Plain torch, everywhere: transformers' ``'sdpa'``.

    Args:
        query: (B, H, L - cached + M * K, d).
        key: (B, H_kv, L + M * K, d), with H a multiple of H_kv.
        value: As ``key``.
        layout: The sequence's shape.
        scaling: Factor of the scores.
        dropout: Probability of a weight to be dropped.
        window: Sliding window in positions.

    Returns:
        (B, H, L - cached + M * K, d).
    """
    length = layout.prefix_length
    of_prefix, of_objects = query.split((length - layout.cached, layout.num_own), 2)
    keys, values = (t.split((length, layout.num_own), 2) for t in (key, value))
    parts = []
    if of_prefix.size(2):
        whole = (t.repeat_interleave(query.size(1) // t.size(1), 1) for t in (keys[0], values[0]))
        mask = layout.mask((layout.cached, length), (0, length), window)
        mask = mask if mask is None else mask[:, None]
        parts.append(F.scaled_dot_product_attention(of_prefix, *whole, attn_mask=mask, dropout_p=dropout, scale=scaling))
    if layout.num_own:
        parts.append(_attend_objects(of_objects * scaling, keys, values, layout, dropout, window))
    return torch.cat(parts, 2)


def _attend_objects(
    query: Tensor,
    keys: tuple[Tensor, Tensor],
    values: tuple[Tensor, Tensor],
    layout: SharedPrefixLayout,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Scaled queries of all objects, (B, H, M * K, d), over prefix and own object, side by side under one softmax."""
    objects = layout.num_objects, layout.object_size
    q = query.unflatten(2, objects).unflatten(1, (keys[0].size(1), -1))  # (B, H_kv, G, M, K, d)
    own_key, own_value = (t.unflatten(2, objects)[:, :, None] for t in (keys[1], values[1]))
    own = layout.prefix_length, layout.prefix_length + layout.object_size  # of the first object, as of any other
    # In mixed precision, products come out in another type than the queries: rotary embeddings are in float32.
    to_prefix = q.flatten(2, 4) @ keys[0].transpose(-1, -2)
    to_prefix = to_prefix.view(*q.shape[:-1], -1)
    seen = layout.mask(own, (0, layout.prefix_length), window)
    if seen is not None:
        to_prefix = to_prefix.masked_fill(~seen[:, None, None, None], torch.finfo(to_prefix.dtype).min)
    to_own = q @ own_key.transpose(-1, -2)
    seen = layout.mask(own, own, window)
    if seen is not None:
        to_own = to_own.masked_fill(~seen[0], torch.finfo(to_own.dtype).min)
    scores = torch.cat([to_prefix, to_own], -1)
    # Sums are in float32 in any type; autocast hands float32 back.
    weights = F.dropout(scores.softmax(-1).to(to_own.dtype), dropout, training=dropout > 0)
    # Split, not sliced: the gradient of slices is as many tensors of zeros with a slice filled in, and their sum.
    of_prefix, of_own = weights.split((to_prefix.size(-1), to_own.size(-1)), -1)
    out = of_prefix.flatten(2, 4) @ values[0]
    out = out.view(*q.shape[:-1], -1) + of_own @ own_value
    return out.flatten(1, 2).flatten(2, 3)


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: SharedPrefixLayout | None = None,
    kernel: Callable[..., Tensor] = sdpa_kernel,
    sliding_window: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention function in transformers' interface, equal to a dense mask's result at linear cost.

    Args:
        module: The attention layer.
        query: (B, H, S, d), of the positions of this pass.
        key: (B, H_kv, cached + S, d), with H a multiple of H_kv.
        value: As ``key``.
        attention_mask: Ordinary text's mask; with a layout, the layout says who sees whom.
        layout: The sequence's shape. None for ordinary text, which goes to transformers' SDPA.
        kernel: What computes it, :func:`sdpa_kernel` or another one with the same arguments.
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
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    return kernel(query, key, value, layout, scaling, dropout, sliding_window).transpose(1, 2), None
