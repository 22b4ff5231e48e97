# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Layout -> RGB image. Blending is done in integers: bytes must not depend on the float unit."""

from __future__ import annotations

import cv2
import numpy as np

from .palette import texture_mask
from .scene import Background, Scene, SceneObject, coverage


def _background(background: Background, size: int) -> np.ndarray:
    """Background image (S, S, 3), uint8."""
    rng = np.random.Generator(np.random.PCG64(background.seed))
    first, second = np.array(background.rgb), np.array(background.second_rgb)
    image = np.broadcast_to(first, (size, size, 3)).astype(np.int16)
    if background.kind == 'gradient':
        ramp = np.arange(size, dtype=np.int64)[:, None]
        image = (first * (size - 1 - ramp) + second * ramp) // (size - 1)
        image = np.broadcast_to(image[:, None], (size, size, 3))
        if rng.integers(2):
            image = image.transpose(1, 0, 2)
        image = image.astype(np.int16)
    elif background.kind == 'grainy':
        image = image + rng.integers(-22, 23, (size, size, 1), dtype=np.int16)
    image = np.ascontiguousarray(image.clip(0, 255), dtype=np.uint8)
    if background.kind == 'cluttered':
        thickness = max(1, size // 128)
        for _ in range(int(rng.integers(6, 15))):
            ends = rng.integers(0, size, 4).tolist()
            color = (second + rng.integers(-15, 16, 3)).clip(0, 255).tolist()
            cv2.line(image, ends[:2], ends[2:], color, thickness, cv2.LINE_AA)
    return image


def _fill(obj: SceneObject, alpha: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Surface (H, W, 3), int32, of an object in a window; ``alpha`` (S, S) is its coverage."""
    image_size, top, left = len(alpha), window[0].start, window[1].start
    height, width = window[0].stop - top, window[1].stop - left
    surface = np.empty((height, width, 3), np.int32)
    surface[:] = obj.rgb
    side = obj.size * image_size
    if obj.texture != 'plain':
        xs = np.arange(left, left + width)[None] + 0.5 - obj.center[0]
        ys = np.arange(top, top + height)[:, None] + 0.5 - obj.center[1]
        period = max(5.0, (0.27 if obj.texture == 'checks' else 0.22) * side)
        surface[texture_mask(obj.texture, xs, ys, period, obj.texture_angle)] = obj.second_rgb
    if obj.outlined:
        # The ring lies inside the shape: an outline must not change the mask.
        width_px = max(1, round(side / 24))
        inner = cv2.erode(alpha, np.ones((2 * width_px + 1,) * 2, np.uint8), borderType=cv2.BORDER_REPLICATE)
        surface[inner[window] < 128] = 25 if sum(obj.rgb) > 150 else 235
    return surface


def render(scene: Scene) -> np.ndarray:
    """Paint a scene, the rearmost object first.

    Returns:
        RGB image (S, S, 3), uint8, a function of the scene alone.
    """
    size = scene.image_size
    image = _background(scene.background, size)
    for obj in scene.objects:
        alpha = coverage(obj, size)
        x, y, w, h = cv2.boundingRect(alpha)
        window = slice(y, y + h), slice(x, x + w)
        surface = _fill(obj, alpha, window)
        weight = alpha[window][..., None].astype(np.int32)
        under = image[window]
        image[window] = (surface * weight + under * (255 - weight) + 127) // 255
    return image
