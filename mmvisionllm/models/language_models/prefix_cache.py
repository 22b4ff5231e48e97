"""What a language model has computed of an instruction, kept from one image to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .shared_prefix import Prefix, PrefixMemory


class PrefixCache:
    """Keys and values of heads of prefixes, the least recently used dropped first.

    The text before the image does not see the image. With the same instruction, image after image, all but the image
    tokens and what stands behind them is known.

    Args:
        max_mb: Most memory in MB; 0 keeps nothing.
    """

    def __init__(self, max_mb: float) -> None:
        self.max_bytes = max_mb * 1e6
        self.heads: OrderedDict[Hashable, PrefixMemory] = OrderedDict()
        self._weights: Hashable = None

    def __deepcopy__(self, memo: dict[int, Any]) -> PrefixCache:
        """A copied model computes anew: its weights go their own way."""
        return PrefixCache(self.max_bytes / 1e6)

    def clear(self) -> None:
        self.heads.clear()

    @property
    def nbytes(self) -> int:
        return sum(head.nbytes for head in self.heads.values())

    def memory(self, model: nn.Module, prefix: Prefix) -> PrefixMemory:
        """Keys and values of a prefix, of which the head may be known.

        Args:
            model: The language model.
            prefix: Of B images.
        """
        key = head = None
        # In training, dropout would be frozen into what is kept.
        if prefix.head and self.max_bytes and not model.training:
            self.check(model)
            key = self.key(prefix.head, prefix.embeddings.device)
            head = self.get(key)
        cached = 0 if head is None else len(prefix.head)
        memory = PrefixMemory(prefix.layout.prefix_length)
        model(prefix.embeddings[:, cached:], replace(prefix.layout, cached=cached), past=head, record=memory)
        if key is not None and head is None:
            self.put(key, memory.head(len(prefix.head)))
        return memory

    def check(self, model: nn.Module) -> None:
        """Drop everything if a weight has been written to since."""
        # Tensors made in inference mode are not versioned, nor can they be trained.
        weights = tuple((id(p), 0 if p.is_inference() else p._version) for p in model.parameters())
        if weights != self._weights:
            self.clear()
            self._weights = weights

    @staticmethod
    def key(ids: tuple[int, ...], device: torch.device) -> Hashable:
        """Of a head's tokens and what else its values depend on."""
        amp = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        return ids, device, amp

    def get(self, key: Hashable) -> PrefixMemory | None:
        head = self.heads.get(key)
        if head is not None:
            self.heads.move_to_end(key)
        return head

    def put(self, key: Hashable, head: PrefixMemory) -> None:
        """Keep a head, unless it alone is larger than all that may be kept."""
        if head.nbytes > self.max_bytes:
            return
        self.heads[key] = head
        while self.nbytes > self.max_bytes:
            self.heads.popitem(last=False)
