"""What is wrong with an annotation's segmentation, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# pycocotools walks along every side of a polygon in fifths of a pixel.
_FARTHEST = 1e6
_UNREADABLE = 'with a segmentation that cannot be read'


def why_not_a_mask(segmentation: Any, height: int, width: int) -> str | None:
    """Why a segmentation gives no mask, or None if it gives one.

    A polygon of less than three points is no obstacle if the object has others: mmdet drops it.

    Args:
        segmentation: What the annotation file says: polygons ``[[x1, y1, x2, y2, ...], ...]``, or a dict with ``size``
            and ``counts``, which are run lengths or their compressed text.
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    if not segmentation:
        return 'without segmentation'
    if isinstance(segmentation, dict):
        return _why_not_runs(segmentation, height, width)
    try:
        pieces = [np.asarray(piece, dtype=float) for piece in segmentation]
    except (TypeError, ValueError):
        return _UNREADABLE
    if any(piece.ndim != 1 for piece in pieces):
        return _UNREADABLE
    pieces = [piece for piece in pieces if len(piece) >= 6 and len(piece) % 2 == 0]
    if not pieces:
        return 'with polygons of less than three points'
    points = np.concatenate(pieces).reshape(-1, 2)
    if not (np.abs(points) < _FARTHEST).all():
        return 'with polygons whose coordinates are no pixels'
    # Of each polygon: one may be left of the image, one right of it.
    inside = (points > 0) & (points < (width, height))
    if inside.all(1).any():
        return None
    boxes = [(p[0::2].min(), p[0::2].max(), p[1::2].min(), p[1::2].max()) for p in pieces]
    if all(x2 <= 0 or x1 >= width or y2 <= 0 or y1 >= height for x1, x2, y1, y2 in boxes):
        return 'with polygons outside of their image'
    return None


def _why_not_runs(segmentation: dict, height: int, width: int) -> str | None:
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if size != [height, width]:
        return 'with a mask of another size than their image'
    if not isinstance(counts, (list, str)):
        return _UNREADABLE
    try:
        if isinstance(counts, list):
            if sum(counts) != height * width:
                return _UNREADABLE
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        # Of runs that are too short, the rest of the decoded mask is what was in memory.
        area = coco_mask.decode(segmentation).sum()
        if area != coco_mask.area(segmentation):
            return _UNREADABLE
    except (TypeError, ValueError, OverflowError):
        return _UNREADABLE
    return None if area else 'with an empty mask'
