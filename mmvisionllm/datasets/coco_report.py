"""What a COCO file was found to hold: how much of it is used, repaired and left out, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any


class AnnotationFileError(ValueError):
    """An annotation file that cannot be used. The message names the file, the place in it and what to do."""


class CocoReport:
    """Counts of what was done to a file's records.

    Attributes:
        path: The file.
        num_annotations: Annotations in the file; each is used as it is, repaired, or left out.
        num_repaired: Annotations that were repaired.
        repaired: Repairs by what they are, annotations' and others'.
        left_out: What is left out, by reason.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.num_annotations = 0
        self.num_repaired = 0
        self.num_left_out = 0
        self.repaired: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._examples: dict[str, Any] = {}

    @property
    def num_used(self) -> int:
        """Annotations that are used as they stand in the file."""
        return self.num_annotations - self.num_repaired - self.num_left_out

    def repair(self, what: str, example: Any, count: int = 1) -> None:
        """Note a repair."""
        self.repaired[what] += count
        self._examples.setdefault(what, example)

    def leave_out(self, what: str, example: Any, count: int = 1) -> None:
        """Note something that is left out."""
        self.left_out[what] += count
        self._examples.setdefault(what, example)

    def _list(self, counts: Counter[str]) -> str:
        parts = []
        for what, count in counts.most_common():
            number = f'{count} ' if count else ''
            parts.append(f'{number}{what} (such as {self._examples[what]!r:.80})')
        return ', '.join(parts)

    def __str__(self) -> str:
        parts = []
        if self.left_out:
            parts.append(f'left out: {self._list(self.left_out)}')
        if self.repaired:
            parts.append(f'repaired: {self._list(self.repaired)}')
        return f'{self.path}: {"; ".join(parts) or "nothing to repair"}'
