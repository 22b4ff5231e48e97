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
from torch import Tensor


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

    def window(self, sliding_window: int | None) -> int | None:
        """A layer's sliding window, or None where everything is inside of it."""
        inside = sliding_window is None or self.prefix_length + self.object_size <= sliding_window
        return None if inside else sliding_window

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

    def mask(self, q: tuple[int, int], k: tuple[int, int], window: int | None = None) -> Tensor:
        """(B, Q, K) bool, the rule on a grid of the positions from ``q[0]`` to ``q[1] - 1`` and those of ``k``."""
        key = q, k, window
        if key not in self._masks:
            device = self.valid.device
            batch = torch.arange(len(self.valid), device=device)[:, None, None]
            rows, columns = torch.arange(*q, device=device)[:, None], torch.arange(*k, device=device)
            self._masks[key] = self.sees(batch, rows, columns, window)
        return self._masks[key]

    def prefix_mask(self, window: int | None = None) -> Tensor:
        """(B, 1, L - cached, L) bool, where the prefix's positions of this pass may attend."""
        length = self.prefix_length
        return self.mask((self.cached, length), (0, length), window)[:, None]

    def object_masks(self, window: int | None = None) -> tuple[Tensor | None, Tensor]:
        """What any object's queries see of the prefix, (B, K, L) or None for all, and of one another, (K, K); bool."""
        key = 'object', window
        if key not in self._masks:
            length = self.prefix_length
            own = length, length + self.object_size
            of_prefix = self.mask(own, (0, length), window)
            self._masks[key] = None if bool(of_prefix.all()) else of_prefix, self.mask(own, own, window)[0]
        return self._masks[key]

    def dense_mask(self, window: int | None = None) -> Tensor:
        """(B, 1, S, S) bool over the whole sequence, S = L + M * K: the rule, written out.

        The reference for :func:`shared_prefix_attention`; its size grows with the square of the number of objects.
        """
        whole = 0, self.prefix_length + self.num_own
        return self.mask(whole, whole, window)[:, None]


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
