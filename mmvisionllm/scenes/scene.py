# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A random scene as a layout: which objects are where, and what is seen of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from .palette import COLOR_NAMES, TEXTURES, jittered
from .shapes import CATEGORIES, MAX_ROTATION, outline

#: Object size (longer side) over image side: smallest and largest; drawn log-uniformly.
SIZE_RANGE = (0.2, 0.5)
#: Below / above these an object is called small / large; in between it has no size word.
SMALL_BELOW, LARGE_ABOVE = 0.21, 0.34
#: An object must keep this part of its area in view (a small one more, to stay recognizable), and
#: fill this part of the image.
MIN_VISIBLE, MIN_VISIBLE_SMALL, MIN_PIXELS = 0.8, 0.9, 0.003
#: Share of objects with a texture, with an outline drawn at random, and of images with a busy background: enough that
#: shape alone tells the category, little enough that a small model learns it in minutes.
TEXTURED, OUTLINED, BUSY = 0.15, 0.1, 0.15
BACKGROUNDS = ('plain', 'gradient', 'grainy', 'cluttered')
_SUBPIXEL_BITS = 4
_PLACING_TRIES = 12
_CONTRAST = 60  # least difference, in the most different channel, that needs no outline


@dataclass(frozen=True)
class SceneObject:
    """One object. Pixel units; ``box`` is (x1, y1, x2, y2) of what is seen, x2 and y2 exclusive."""

    category: str
    color: str
    texture: str
    size: float  # longer side over the image's side
    center: tuple[float, float]
    aspect: float
    rotation: float
    outlined: bool
    rgb: tuple[int, int, int]
    second_rgb: tuple[int, int, int]
    texture_angle: float
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    area: int = 0  # visible pixels
    visible: float = 1.0  # visible pixels over the outline's area, at most 1

    @property
    def size_word(self) -> str:
        """'small', 'large' or '' for what is neither."""
        return 'small' if self.size < SMALL_BELOW else 'large' if self.size > LARGE_ABOVE else ''

    @property
    def box_center(self) -> tuple[float, float]:
        """Center of the visible box, in pixels."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True)
class Background:
    """What lies behind the objects; ``seed`` fixes its noise and lines."""

    kind: str
    rgb: tuple[int, int, int]
    second_rgb: tuple[int, int, int]
    seed: int


@dataclass(frozen=True)
class Scene:
    """A layout. ``objects`` are in painter's order, the rearmost first.

    ``id_map`` (S, S) uint8 holds, per pixel, the position in ``objects`` plus 1 of what is seen
    there, 0 for the background.
    """

    image_size: int
    objects: tuple[SceneObject, ...]
    background: Background
    id_map: np.ndarray = field(repr=False, compare=False)

    def mask(self, index: int) -> np.ndarray:
        """Visible mask (S, S), bool, of object ``index``."""
        return self.id_map == index + 1


def coverage(obj: SceneObject, image_size: int) -> np.ndarray:
    """Anti-aliased coverage (S, S), uint8, of an object as if nothing stood before it."""
    side = obj.size * image_size
    points = outline(obj.category, obj.center, side, obj.aspect, obj.rotation)
    # OpenCV's integer coordinates name pixel centers, ours pixel corners: hence the half pixel.
    fixed = np.round((points - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    canvas = np.zeros((image_size, image_size), np.uint8)
    cv2.fillPoly(canvas, [fixed], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return canvas


def _pick(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    return items[rng.integers(len(items))]


def _random_background(rng: np.random.Generator) -> Background:
    # Muted mid-tones, so that every named color, black and white included, stands out.
    shades = rng.integers(95, 191, 2)[:, None] + rng.integers(-16, 17, (2, 3))
    kind = _pick(rng, BACKGROUNDS[2:] if rng.random() < BUSY else BACKGROUNDS[:2])
    return Background(kind, tuple(shades[0].tolist()), tuple(shades[1].tolist()), int(rng.integers(1 << 31)))


def _draw_object(rng: np.random.Generator, image_size: int, category: str) -> SceneObject:
    low, high = np.log(SIZE_RANGE)
    size = float(np.exp(rng.uniform(low, high)))
    inset = 0.38 * size * image_size
    x, y = rng.uniform(inset, image_size - inset, 2).tolist()
    limit = MAX_ROTATION[category]
    aspect, rotation, angle, edge, plain = rng.random(5).tolist()
    texture = 'plain' if plain >= TEXTURED else _pick(rng, TEXTURES[1:])
    return SceneObject(
        category,
        '',
        texture,
        size,
        (x, y),
        0.87 + 0.28 * aspect,
        (2 * rotation - 1) * limit,
        edge < OUTLINED,
        (0, 0, 0),
        (0, 0, 0),
        angle * np.pi,
    )


def _colored(obj: SceneObject, rng: np.random.Generator, taken: set[str], background: Background) -> SceneObject:
    """Give ``obj`` a color that nothing it touches has, and an outline where it needs one."""
    free = tuple(name for name in COLOR_NAMES if name not in taken)
    color = _pick(rng, free or COLOR_NAMES)
    main, second = jittered(color, rng)
    shades = [main] if obj.texture == 'plain' else [main, second]
    behind = (background.rgb, background.second_rgb)
    faint = any(np.abs(shade - other).max() < _CONTRAST for shade in shades for other in behind)
    return replace(
        obj,
        color=color,
        rgb=tuple(main.tolist()),
        second_rgb=tuple(second.tolist()),
        outlined=obj.outlined or faint or not free,
    )


def random_scene(rng: np.random.Generator, image_size: int = 128, max_objects: int = 8, min_objects: int = 1) -> Scene:
    """Draw a scene without rendering it.

    Between ``min_objects`` and ``max_objects`` objects are placed one before the other; a place
    that would hide too much of an earlier object is given up for another, and after some tries the
    object is left out.

    Args:
        rng: source of all randomness.
        image_size: side of the square image in pixels, at least 32.
        max_objects: most objects in a scene, at most 64.
        min_objects: fewest objects asked for.

    Returns:
        The layout, with visible boxes, areas and masks.

    Raises:
        ValueError: a size or number out of range.
    """
    check_layout(image_size, max_objects, min_objects)
    wanted = int(rng.integers(min_objects, max_objects + 1))
    background = _random_background(rng)
    id_map = np.zeros((image_size, image_size), np.uint8)
    objects: list[SceneObject] = []
    areas: list[int] = []  # pixels in view, per object
    needed: list[float] = []  # pixels that must stay in view
    full_areas: list[float] = []
    for _ in range(wanted):
        # Now and then the same category again: counting and referring need several of a kind.
        again = objects and rng.random() < 0.3
        category = objects[rng.integers(len(objects))].category if again else _pick(rng, CATEGORIES)
        for _ in range(_PLACING_TRIES):
            candidate = _draw_object(rng, image_size, category)
            covered = coverage(candidate, image_size) >= 128
            x1, y1, w, h = cv2.boundingRect(covered.view(np.uint8))
            around = id_map[max(y1 - 2, 0) : y1 + h + 2, max(x1 - 2, 0) : x1 + w + 2]
            touched = set(np.unique(around).tolist()) - {0}
            side = candidate.size * image_size
            area = cv2.contourArea(
                outline(category, candidate.center, side, candidate.aspect, candidate.rotation).astype(np.float32)
            )
            hidden = np.bincount(id_map[covered], minlength=len(objects) + 1)
            share = MIN_VISIBLE_SMALL if candidate.size_word == 'small' else MIN_VISIBLE
            need = max(share * area, MIN_PIXELS * id_map.size)
            in_view = np.array([*areas, hidden.sum()]) - [*hidden[1:], 0]
            if (in_view >= [*needed, need]).all():
                colors = {objects[i - 1].color for i in touched}
                objects.append(_colored(candidate, rng, colors, background))
                needed.append(need)
                full_areas.append(area)
                areas = in_view.tolist()
                id_map[covered] = len(objects)
                break
    return Scene(image_size, tuple(_with_view(objects, full_areas, id_map)), background, id_map)


def _with_view(objects: list[SceneObject], full_areas: list[float], id_map: np.ndarray) -> list[SceneObject]:
    """Fill in what is seen of each object once all of them are placed."""
    seen = []
    for index, (obj, full) in enumerate(zip(objects, full_areas)):
        mask = (id_map == index + 1).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        area = int(np.count_nonzero(mask))
        box = (x, y, x + w, y + h)
        seen.append(replace(obj, box=box, area=area, visible=min(area / full, 1.0)))
    return seen


def check_layout(image_size: int, max_objects: int, min_objects: int = 1) -> None:
    """Raise ValueError with the allowed range if a layout setting is out of it."""
    if not 32 <= image_size <= 4096:
        raise ValueError(f'image size must be 32 to 4096 pixels, not {image_size}')
    if not 1 <= max_objects <= 64:
        raise ValueError(f'max objects must be 1 to 64, not {max_objects}')
    if not 1 <= min_objects <= max_objects:
        raise ValueError(f'min objects must be 1 to {max_objects}, not {min_objects}')
