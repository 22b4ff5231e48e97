"""What a language model has computed of a prefix, and what of it is kept from one image to the next."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .shared_prefix import Prefix


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


class PrefixCache:
    """Keys and values of the head of the last prefix.

    The text before the image does not see the image. With the same instruction, image after image, all but the image
    tokens and what stands behind them is known.
    """

    def __init__(self) -> None:
        self.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> PrefixCache:
        """A copied model computes anew: its weights go their own way."""
        return PrefixCache()

    def clear(self) -> None:
        self.key: Hashable = None
        self.head: PrefixMemory | None = None

    def memory(self, model: nn.Module, prefix: Prefix) -> PrefixMemory:
        """Keys and values of a prefix, of which the head may be known.

        Args:
            model: The language model.
            prefix: Of B images.
        """
        # In training, dropout would be frozen into what is kept.
        key = self._key(model, prefix) if prefix.head and not model.training else None
        known = self.head if key is not None and key == self.key else None
        cached = 0 if known is None else len(prefix.head)
        memory = PrefixMemory(prefix.layout.prefix_length)
        model(prefix.embeddings[:, cached:], replace(prefix.layout, cached=cached), past=known, record=memory)
        if key is not None and known is None:
            self.key, self.head = key, PrefixMemory(len(prefix.head), rows=1)
            for layer, (keys, values) in memory.layers.items():
                self.head.record(layer, keys, values)
        return memory

    @staticmethod
    def _key(model: nn.Module, prefix: Prefix) -> Hashable:
        """The head's tokens, and what else its keys and values depend on: a weight that was written to is another."""
        device = prefix.embeddings.device
        amp = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        # Tensors made in inference mode are not versioned, nor can they be trained.
        weights = tuple((id(p), 0 if p.is_inference() else p._version) for p in model.parameters())
        return prefix.head, device, amp, weights
