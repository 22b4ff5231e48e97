# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""One outline per category: what an object is, is decided by its shape alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def _circle() -> np.ndarray:
    t = np.arange(40) * (2 * math.pi / 40)
    return np.stack([np.cos(t), np.sin(t)], 1)


def _square() -> np.ndarray:
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)


def _triangle() -> np.ndarray:
    return np.array([(0, -1), (1, 0.8), (-1, 0.8)], float)


def _star() -> np.ndarray:
    t = np.arange(10) * (math.pi / 5) - math.pi / 2
    r = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return np.stack([r * np.cos(t), r * np.sin(t)], 1)


def _heart() -> np.ndarray:
    t = np.arange(40) * (2 * math.pi / 40)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], 1)


def _arrow() -> np.ndarray:
    return np.array([(-1, -0.28), (0.1, -0.28), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.28), (-1, 0.28)])


def _hourglass() -> np.ndarray:
    return np.array([(-0.8, -1), (0.8, -1), (0.13, 0), (0.8, 1), (-0.8, 1), (-0.13, 0)])


def _plus() -> np.ndarray:
    a = 0.33
    return np.array(
        [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]
    )


def _crescent() -> np.ndarray:
    # Outer arc of the unit circle, then back along a smaller circle shifted to the right.
    d, r = 0.48, 0.78
    x = (1 - r * r + d * d) / (2 * d)  # where both circles meet
    y = math.sqrt(1 - x * x)
    a, b = math.atan2(y, x), math.atan2(y, x - d)
    outer = np.linspace(a, 2 * math.pi - a, 28)
    inner = np.linspace(2 * math.pi - b, b, 22)[1:-1]
    return np.concatenate(
        [np.stack([np.cos(outer), np.sin(outer)], 1), np.stack([d + r * np.cos(inner), r * np.sin(inner)], 1)]
    )


def _bolt() -> np.ndarray:
    return np.array([(0.2, -1), (-0.65, 0.15), (-0.08, 0.15), (-0.3, 1), (0.68, -0.25), (0.1, -0.25), (0.68, -1)])


#: Category name -> (maker of its outline, largest rotation either way in degrees). The rotation is
#: limited where a turned shape would no longer deserve its name.
_SHAPES: dict[str, tuple[Callable[[], np.ndarray], float]] = {
    'circle': (_circle, 180),
    'square': (_square, 20),
    'triangle': (_triangle, 20),
    'star': (_star, 20),
    'heart': (_heart, 20),
    'arrow': (_arrow, 20),
    'hourglass': (_hourglass, 20),
    'plus sign': (_plus, 20),
    'crescent moon': (_crescent, 20),
    'lightning bolt': (_bolt, 20),
}

#: Category names in the order of their COCO ids (1..10).
CATEGORIES: tuple[str, ...] = tuple(_SHAPES)


def _unit(points: np.ndarray) -> np.ndarray:
    """Center the bounding box on the origin and scale its longer side to 1."""
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) / (high - low).max()


OUTLINES: dict[str, np.ndarray] = {name: _unit(make()) for name, (make, _) in _SHAPES.items()}
MAX_ROTATION: dict[str, float] = {name: limit for name, (_, limit) in _SHAPES.items()}


def outline(category: str, center: tuple[float, float], size: float, aspect: float, rotation: float) -> np.ndarray:
    """Outline of one object in pixels.

    Args:
        category: one of :data:`CATEGORIES`.
        center: (x, y) in pixels.
        size: longer side of the unrotated shape in pixels.
        aspect: width is scaled by sqrt(aspect), height by its inverse.
        rotation: degrees, clockwise in image coordinates.

    Returns:
        Points (K, 2), float64.
    """
    stretch = math.sqrt(aspect)
    points = OUTLINES[category] * (size * stretch, size / stretch)
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    return points @ np.array([[c, s], [-s, c]]) + center
