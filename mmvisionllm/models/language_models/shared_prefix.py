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

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SharedPrefixLayout:
    """Shape of a batch of sequences with a shared prefix.

    Args:
        valid: (B, L) bool, prefix positions that are not padding.
        is_image: (B, L) bool, prefix positions that hold image tokens.
        num_objects: M, objects per image.
        object_size: K, queries per object.
        cached: The prefix's first positions whose keys and values are known already: a pass begins behind them.
    """

    valid: Tensor
    is_image: Tensor
    num_objects: int = 0
    object_size: int = 0
    cached: int = 0
    _masks: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def prefix_length(self) -> int:
        return self.valid.size(1)

    @property
    def num_new(self) -> int:
        """Prefix positions of this pass."""
        return self.prefix_length - self.cached

    @property
    def num_own(self) -> int:
        """Queries of all objects of an image, M * K."""
        return self.num_objects * self.object_size

    def prefix_positions(self) -> tuple[Tensor, Tensor]:
        """(B, L) positions, the image tokens of an image sharing one, and (B, 1) where every object starts."""
        repeats = self.is_image & F.pad(self.is_image[:, :-1], (1, 0))
        steps = self.valid & ~repeats
        return (steps.cumsum(1) - 1).clamp(min=0), steps.sum(1, keepdim=True)

    def position_ids(self) -> Tensor:
        """(B, L - cached + M * K) positions of a pass; the k-th queries of all objects share one."""
        prefix, start = self.prefix_positions()
        own = torch.arange(self.object_size, device=self.valid.device).repeat(self.num_objects)
        return torch.cat([prefix[:, self.cached :], start + own], 1)

    def window(self, sliding_window: int | None) -> int | None:
        """A layer's sliding window, or None where everything is inside of it."""
        inside = sliding_window is None or self.prefix_length + self.object_size <= sliding_window
        return None if inside else sliding_window

    def prefix_mask(self, window: int | None = None) -> Tensor:
        """(B, 1, L - cached, L) bool, True where a prefix position may attend. Padding sees itself, to stay finite.

        Args:
            window: Positions, the own one included, that a layer with a sliding window looks back over.
        """
        key = 'prefix', window
        if key not in self._masks:
            length = self.prefix_length
            causal = torch.ones(length, length, dtype=torch.bool, device=self.valid.device).tril()
            among_image = self.is_image[:, :, None] & self.is_image[:, None, :]
            mask = (causal | among_image) & self.valid[:, None, :]
            if window is not None:
                positions, _ = self.prefix_positions()
                mask = mask & (positions[:, :, None] - positions[:, None, :] < window)
            mask = mask | torch.eye(length, dtype=torch.bool, device=mask.device)
            self._masks[key] = mask[:, None, self.cached :]
        return self._masks[key]

    def object_mask(self, window: int | None = None) -> Tensor | None:
        """(B, K or 1, L) bool, the prefix positions that each of an object's queries sees; None for all of them."""
        key = 'object', window
        if key not in self._masks:
            mask = self.valid[:, None, :]
            if window is not None:
                positions, start = self.prefix_positions()
                own = start + torch.arange(self.object_size, device=mask.device)
                mask = mask & (own[:, :, None] - positions[:, None, :] < window)
            elif bool(mask.all()):
                mask = None
            self._masks[key] = mask
        return self._masks[key]

    def own_mask(self, window: int | None = None) -> Tensor:
        """(K, K) bool, which of an object's queries each of them sees."""
        ones = torch.ones(self.object_size, self.object_size, device=self.valid.device)
        mask = ones.tril()
        return (mask if window is None else mask - ones.tril(-window)).bool()

    def dense_mask(self, window: int | None = None) -> Tensor:
        """(B, 1, S, S) bool over the whole sequence, S = L + M * K: the table above, written out.

        The reference for :func:`shared_prefix_attention`; its size grows with the square of the number of objects.
        """
        batch, length = self.valid.shape
        mask = self.valid.new_zeros(batch, 1, length + self.num_own, length + self.num_own)
        mask[:, :, :length, :length] = self.prefix_mask(window)
        seen = self.object_mask(window)
        if seen is None:
            mask[:, :, length:, :length] = True
        else:
            seen = seen.expand(-1, self.object_size, -1).repeat(1, self.num_objects, 1)
            mask[:, 0, length:, :length] = seen
        own = [self.own_mask(window)] * self.num_objects
        mask[:, :, length:, length:] = torch.block_diag(*own).bool()
        return mask


class PrefixMemory:
    """Keys and values of a prefix, layer by layer.

    Args:
        length: Positions to keep of what is recorded.
        rows: Sequences of the batch to keep; all by default.
    """

    def __init__(self, length: int, rows: int | None = None) -> None:
        self.length, self.rows = length, rows
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def record(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep the beginning of (B, H, L, d) keys and values."""
        keep = slice(self.rows), slice(None), slice(self.length)
        # A copy: a view would hold the keys of all objects.
        self.layers[layer] = key[keep].clone(), value[keep].clone()

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept with the keys and values of the positions behind it."""
        known = (t.expand(key.size(0), -1, -1, -1) for t in self.layers[layer])
        return tuple(torch.cat([k, new], 2) if new.size(2) else k for k, new in zip(known, (key, value)))

    def head(self, length: int) -> PrefixMemory:
        """A copy of the first positions of the first sequence."""
        memory = PrefixMemory(length, rows=1)
        for layer, (key, value) in self.layers.items():
            memory.record(layer, key, value)
        return memory

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for pair in self.layers.values() for t in pair)


def prefix_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SharedPrefixLayout,
    scaling: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """The prefix's own part: (B, H, L - cached, d) queries over (B, H_kv, L, d) keys."""
    groups = query.size(1) // key.size(1)
    return F.scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, 1),
        value.repeat_interleave(groups, 1),
        attn_mask=layout.prefix_mask(window),
        dropout_p=dropout,
        scale=scaling,
    )
