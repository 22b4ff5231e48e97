"""Masks <-> N points along the boundary, which is how a VisionLLM says them (paper, 3.2)."""

from __future__ import annotations

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmvisionllm.instructions.formats import MIN_POINTS
from mmvisionllm.instructions.vocabulary import MAX_POINTS

from .outline import mask_outline
from .sampling import SAMPLINGS, sample_outline


def boundary_points(mask: np.ndarray, num_points: int, sampling: str = 'fitted') -> np.ndarray:
    """Points along an object's boundary, whose polygon stands for the mask.

    They run clockwise as seen in the image; the first is the highest point straight above the center of the bounding box,
    or near it, see :func:`~mmvisionllm.structures.sampling.sample_outline`. For several pieces and holes see
    :func:`~mmvisionllm.structures.outline.mask_outline`. Two points are the box's top-left and bottom-right corner, as in
    an instruction's output format.

    Args:
        mask: bool or uint8 (H, W).
        num_points: N, 2 to 64.
        sampling: ``'uniform'``, ``'balanced'`` or ``'fitted'``.

    Returns:
        float32 (N, 2), x and y in pixels, where the image is 0..W wide.

    Raises:
        ValueError: if the mask is empty, has another shape or dtype, or for an unknown number of points or sampling.
    """
    _check(num_points, sampling)
    mask = _as_uint8(mask)
    if not mask.any():
        raise ValueError('an empty mask has no boundary; leave such objects out')
    if num_points == MIN_POINTS:
        x, y, w, h = cv2.boundingRect(mask)
        return np.array([(x, y), (x + w, y + h)], np.float32)
    return sample_outline(mask_outline(mask), num_points, sampling).astype(np.float32)


def instance_points(
    masks: BitmapMasks | PolygonMasks, num_points: int, sampling: str = 'fitted'
) -> tuple[np.ndarray, np.ndarray]:
    """Boundary points of all objects of a sample, see :func:`boundary_points`.

    Polygons are rasterised first, as COCO does: the evaluated masks lie a fraction of a pixel beside the polygons.

    Args:
        masks: Masks of n objects.
        num_points: N, 2 to 64.
        sampling: ``'uniform'``, ``'balanced'`` or ``'fitted'``.

    Returns:
        float32 (n, N, 2) in pixels, and bool (n,): False for empty masks, whose points are 0.

    Raises:
        TypeError: if ``masks`` are neither kind of mmdet's masks.
        ValueError: for an unknown number of points or sampling.
    """
    _check(num_points, sampling)
    if not isinstance(masks, (BitmapMasks, PolygonMasks)):
        raise TypeError(f'masks must be BitmapMasks or PolygonMasks, got {type(masks).__name__}')
    points = np.zeros((len(masks), num_points, 2), np.float32)
    valid = np.zeros(len(masks), bool)
    for i, mask in enumerate(masks.masks):
        if isinstance(masks, PolygonMasks):
            mask = _rasterise(mask, masks.height, masks.width)
        if mask.any():
            points[i] = boundary_points(mask, num_points, sampling)
            valid[i] = True
    return points, valid


def points_to_rles(points: np.ndarray, height: int, width: int) -> list[dict]:
    """Polygons -> COCO's run-length encoded masks, as mmdet's ``CocoMetric`` takes them.

    A polygon may cross itself or have no area. Points further away than one image's side are moved there. A polygon with
    a point that is not finite has an empty mask. Two points are a box.

    Args:
        points: (n, N, 2), x and y in pixels, N at least 2.
        height: Of the image.
        width: Of the image.

    Raises:
        ValueError: if ``points`` has another shape.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1] < MIN_POINTS or points.shape[2] != 2:
        raise ValueError(f'points must have the shape (n, N, 2) with N of at least {MIN_POINTS}, got {points.shape}')
    if not len(points):
        return []
    finite = np.isfinite(points).all((1, 2))
    points = np.where(finite[:, None, None], points, 0.0)
    size = np.array([width, height])
    points = points.clip(-size, 2 * size)
    if points.shape[1] == MIN_POINTS:
        (x1, y1), (x2, y2) = points[:, 0].T, points[:, 1].T
        points = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], 1)
    return coco_mask.frPyObjects(points.reshape(len(points), -1).tolist(), height, width)


def points_to_masks(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Polygons -> masks bool (n, H, W), rasterised as COCO does, see :func:`points_to_rles`."""
    rles = points_to_rles(points, height, width)
    if not rles:
        return np.zeros((0, height, width), bool)
    return np.ascontiguousarray(coco_mask.decode(rles).transpose(2, 0, 1), dtype=bool)


def _rasterise(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    # pycocotools takes four numbers for a box, and walks along every side in fifths of a pixel.
    polygons = [p.tolist() for p in polygons if len(p) >= 6 and (np.abs(p) < 1e6).all()]
    if not polygons:
        return np.zeros((height, width), np.uint8)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def _as_uint8(mask: np.ndarray) -> np.ndarray:
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype not in (bool, np.uint8):
        got = (mask.shape, mask.dtype) if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f'a mask must be a bool or uint8 array of shape (H, W), got {got}')
    return np.ascontiguousarray(mask).view(np.uint8)


def _check(num_points: int, sampling: str) -> None:
    if not MIN_POINTS <= num_points <= MAX_POINTS:
        raise ValueError(f'an outline has {MIN_POINTS} (a box) to {MAX_POINTS} points, got {num_points}')
    if sampling not in SAMPLINGS:
        raise ValueError(f'sampling must be one of {SAMPLINGS}, got {sampling!r}')
