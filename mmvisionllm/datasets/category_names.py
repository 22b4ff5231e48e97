"""Names of a data set's categories, as they stand in an instruction."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.evaluation import get_classes


def category_names(categories: Sequence[str] | str) -> tuple[str, ...]:
    """The categories' names.

    Args:
        categories: The names themselves, or a data set that mmdet's ``get_classes`` knows, such as ``'coco'``; where
            its names have underscores, as ``traffic_light``, they become spaces, as in the data set's own files.

    Raises:
        ValueError: for a data set that mmdet does not know.
    """
    if isinstance(categories, str):
        return tuple(name.replace('_', ' ') for name in get_classes(categories))
    return tuple(categories)
