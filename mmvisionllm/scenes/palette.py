# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Named colors and textures of the rendered scenes."""

from __future__ import annotations

import numpy as np

#: Color name -> (main RGB, second RGB for textures). The second keeps the color's name true.
COLORS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    'red': ((215, 35, 40), (250, 150, 150)),
    'orange': ((245, 135, 20), (255, 205, 140)),
    'yellow': ((245, 220, 40), (165, 140, 10)),
    'green': ((40, 155, 60), (160, 225, 160)),
    'blue': ((35, 80, 210), (155, 190, 255)),
    'purple': ((130, 45, 165), (215, 165, 235)),
    'black': ((25, 25, 28), (125, 125, 125)),
    'white': ((244, 244, 242), (165, 165, 165)),
}
COLOR_NAMES = tuple(COLORS)

#: Texture names as stored; ``TEXTURE_WORDS`` gives the adjective ('' when there is nothing to say).
TEXTURES = ('plain', 'stripes', 'dots', 'checks')
TEXTURE_WORDS = {'plain': '', 'stripes': 'striped', 'dots': 'dotted', 'checks': 'checked'}

_JITTER = 14  # per channel, small enough that no color reaches its neighbor's name


def jittered(color: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Main and second RGB of a named color with the same small random shift.

    Args:
        color: a key of :data:`COLORS`.
        rng: source of randomness; three numbers are drawn.

    Returns:
        Two int64 arrays of shape (3,), values 0..255.
    """
    shift = rng.integers(-_JITTER, _JITTER + 1, 3)
    main, second = COLORS[color]
    return np.clip(np.array(main) + shift, 0, 255), np.clip(np.array(second) + shift, 0, 255)


def texture_mask(texture: str, xs: np.ndarray, ys: np.ndarray, period: float, angle: float) -> np.ndarray:
    """Where a texture shows the second color.

    Args:
        texture: one of :data:`TEXTURES` but ``plain``.
        xs: pixel columns relative to the object's center, shape (1, W).
        ys: pixel rows relative to the object's center, shape (H, 1).
        period: distance between repeats in pixels.
        angle: direction of the pattern in radians.

    Returns:
        Boolean array (H, W).
    """
    c, s = np.cos(angle), np.sin(angle)
    u = (xs * c + ys * s) / period
    if texture == 'stripes':
        return (u % 1.0) < 0.45
    v = (ys * c - xs * s) / period
    if texture == 'checks':
        return (np.floor(2 * u) + np.floor(2 * v)) % 2 == 1
    if texture == 'dots':
        return ((u % 1.0) - 0.5) ** 2 + ((v % 1.0) - 0.5) ** 2 < 0.09
    raise ValueError(f'unknown texture {texture!r}; known: {TEXTURES[1:]}')
