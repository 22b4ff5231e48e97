"""The outline of a mask: one closed contour, whose start and direction are the same for similar shapes."""

from __future__ import annotations

import cv2
import numpy as np

# Smaller pieces are dropped. A bridge costs vertices, so a speck does more harm than good.
MIN_PIECE_SHARE = 0.02
# The shortest bridge is searched among about that many points of either piece.
_BRIDGE_CANDIDATES = 200


def signed_area(outline: np.ndarray) -> float:
    """Area within a closed contour (K, 2), positive if it runs clockwise in the image, where y points down."""
    x, y = outline.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def mask_outline(mask: np.ndarray) -> np.ndarray:
    """Outline of a mask as one closed contour.

    It runs clockwise as seen in the image and starts at its highest point straight above the center of its bounding box.
    Pieces that touch, be it at a corner, are one. Other pieces, from 2% of the area on, are joined to the larger ones
    over the shortest bridge, which is passed there and back and so adds no area. Holes are filled.

    Args:
        mask: uint8 (H, W), with at least one pixel that is not 0.

    Returns:
        float64 (K, 2), x and y in pixels, where the image is 0..W wide: the midpoints of the pixel edges between mask and
        background. (The edges themselves are stairs, on which slanted sides are 1.4 times as long as they look.)
    """
    pieces = sorted(_pieces(mask), key=signed_area, reverse=True)
    least = MIN_PIECE_SHARE * sum(map(signed_area, pieces))
    outline = pieces[0]
    for piece in pieces[1:]:
        if signed_area(piece) >= least:
            outline = _bridge(outline, piece)
    return _start_above_center(outline)


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Clockwise outlines of the connected pieces."""
    x, y, w, h = cv2.boundingRect(mask)
    crop = mask[y : y + h, x : x + w]
    # OpenCV's contours run through pixel centers; those of a mask twice as large can be told to the pixels' edges.
    large = cv2.resize(crop, (2 * w, 2 * h), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for contour in contours:
        corners = (contour[:, 0] + 1) // 2 + (x, y)
        corners = corners[np.any(corners != np.roll(corners, 1, 0), 1)]
        middles = (corners + np.roll(corners, -1, 0)) / 2
        pieces.append(middles if signed_area(middles) > 0 else middles[::-1])
    return pieces


def _bridge(outline: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Walk along ``outline``, over to ``piece`` where it is nearest, around it, and back."""
    steps = [max(1, len(points) // _BRIDGE_CANDIDATES) for points in (outline, piece)]
    offsets = outline[:: steps[0], None] - piece[None, :: steps[1]]
    squares = np.einsum('ijk,ijk->ij', offsets, offsets)
    i, j = np.unravel_index(squares.argmin(), squares.shape) * np.array(steps)
    around = np.roll(piece, -j, 0)
    return np.concatenate([outline[: i + 1], around, around[:1], outline[i:]])


def _start_above_center(outline: np.ndarray) -> np.ndarray:
    following = np.roll(outline, -1, 0)
    center = (outline[:, 0].min() + outline[:, 0].max()) / 2
    here, there = outline[:, 0] - center, following[:, 0] - center
    # Clockwise, the upper side runs to the right. That also tells a bridge's two ways apart.
    (crossing,) = np.nonzero((here <= 0) & (there >= 0) & (here < there))
    share = here[crossing] / (here[crossing] - there[crossing])
    heights = outline[crossing, 1] + share * (following[crossing, 1] - outline[crossing, 1])
    highest = heights.argmin()
    start = [[center, heights[highest]]]
    return np.concatenate([start, np.roll(outline, -crossing[highest] - 1, 0)])
