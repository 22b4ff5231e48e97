"""The tokens VisionLLM adds to a language model, and the coordinate <-> bin codec (paper, 3.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

MAX_CATEGORIES = 512
MAX_POINTS = 64
IMAGE_TOKEN = '<image>'
NONE_TOKEN = '<none>'
CLASS_QUERY = '<cls>'

# Every spelling that is a token of ours; used to keep user text from smuggling one in.
ADDED_TOKEN_PATTERN = re.compile(r'<(?:p-?\d+|c\d+|cls|none|image|[xy]\d+)>')


@dataclass(frozen=True)
class CoordinateCodec:
    """Offsets from an object's location <-> bin indices.

    ``num_bins`` is odd: the middle bin is offset 0, the outer bins are one whole image width or height away, so that
    token ``<p i>`` means ``i / (num_bins // 2)`` of the image's side (paper: 1025 bins, ``i / 512``).
    The arithmetic works alike on numpy arrays and torch tensors.
    """

    num_bins: int = 1025
    radius: int = field(init=False)  # bins per image side: bin `radius` is offset 0

    def __post_init__(self) -> None:
        if self.num_bins < 3 or self.num_bins % 2 == 0:
            raise ValueError(f'num_bins must be an odd number of at least 3 (one bin for offset 0), got {self.num_bins}')
        object.__setattr__(self, 'radius', self.num_bins // 2)

    def position(self, offsets: Any) -> Any:
        """Offsets in units of the image's side -> fractional bin positions, clipped to the bins."""
        return (offsets * self.radius + self.radius).clip(0, self.num_bins - 1)

    def encode(self, offsets: Any) -> Any:
        """Offsets in units of the image's side -> nearest bin index (a float array; cast as needed)."""
        return self.position(offsets).round()

    def decode(self, bins: Any) -> Any:
        """Bin indices (whole or expected) -> offsets in units of the image's side."""
        return (bins - self.radius) / self.radius


class Vocabulary:
    """The added tokens in a fixed order: locations, classes, ``<none>``, format queries, ``<image>``.

    Indices are relative to the first added token; the language model places them behind its own vocabulary.

    Args:
        num_bins: Location bins.

    Attributes:
        codec: Of the location tokens.
        location_slice: Where they are.
        class_slice: Where ``<c0>``, ``<c1>``, ... are.
        none_index: Where ``<none>`` is.
    """

    def __init__(self, num_bins: int = 1025) -> None:
        self.num_bins = num_bins
        self.codec = CoordinateCodec(num_bins)
        self.location_slice = slice(0, num_bins)
        self.class_slice = slice(num_bins, num_bins + MAX_CATEGORIES)
        self.none_index = num_bins + MAX_CATEGORIES
        radius = self.codec.radius
        self.location_tokens = tuple(f'<p{i}>' for i in range(-radius, radius + 1))
        self.class_tokens = tuple(f'<c{i}>' for i in range(MAX_CATEGORIES))
        points = (f'<{axis}{i}>' for i in range(1, MAX_POINTS + 1) for axis in 'xy')
        self.format_tokens = (CLASS_QUERY, *points)
        self.tokens = (*self.location_tokens, *self.class_tokens, NONE_TOKEN, *self.format_tokens, IMAGE_TOKEN)
        self._index = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def index(self, token: str) -> int:
        """Index of an added token.

        Raises:
            KeyError: if ``token`` is not one of the added tokens.
        """
        if token not in self._index:
            raise KeyError(f'{token!r} is not a VisionLLM token (num_bins={self.num_bins})')
        return self._index[token]

    def unknown(self, text: str) -> list[str]:
        """Spellings of added tokens in a text that this vocabulary does not have, such as ``<p512>`` of 257 bins."""
        return [token for token in ADDED_TOKEN_PATTERN.findall(text) if token not in self._index]
