"""Transforms inside of transforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def every_transform(step: Any) -> Iterator[Any]:
    """A pipeline or transform and all that it holds, as mmcv's ``TestTimeAug`` and ``RandomChoice`` do.

    A transform may come several times.
    """
    if isinstance(step, (list, tuple)):
        for inner in step:
            yield from every_transform(inner)
        return
    yield step
    for name in ('transforms', 'subroutines'):
        yield from every_transform(getattr(step, name, ()))
