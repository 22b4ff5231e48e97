# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Words for objects, numbers and relations, shared by captions, expressions and questions."""

from __future__ import annotations

import numpy as np

from .palette import TEXTURE_WORDS
from .scene import SceneObject

_NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')

#: A relation holds if the centers of the visible boxes lie this part of the image's side apart.
MARGIN = 0.08

#: Relation -> (axis, sign): 'left of' means a smaller x, and so on.
RELATIONS: dict[str, tuple[int, int]] = {'left of': (0, -1), 'right of': (0, 1), 'above': (1, -1), 'below': (1, 1)}


def article(words: str) -> str:
    """'a' or 'an' before the words."""
    # Sounds, not letters, decide; of all our words only 'hourglass' differs from its first letter.
    vowel = words[0] in 'aeio' or words.startswith('hourglass')
    return f'{"an" if vowel else "a"} {words}'


def plural(name: str) -> str:
    """Plural of a category's name."""
    return name + ('es' if name.endswith('s') else 's')


def noun(name: str, number: int) -> str:
    """Singular or plural of a category's name."""
    return name if number == 1 else plural(name)


def count_word(number: int) -> str:
    """'three' for 3; digits from eleven on."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def join(parts: list[str]) -> str:
    """'a, b and c'."""
    return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'


def words_of(size: str, texture: str, color: str, category: str) -> str:
    """Put the words that are not empty in their usual order."""
    return ' '.join(word for word in (size, texture, color, category) if word)


def describe(obj: SceneObject, *, size: bool = True, texture: bool = True, color: bool = True) -> str:
    """An object with the wanted attributes, no article: 'small striped red circle'."""
    return words_of(
        obj.size_word if size else '',
        TEXTURE_WORDS[obj.texture] if texture else '',
        obj.color if color else '',
        obj.category,
    )


def offset(first: SceneObject, second: SceneObject, axis: int) -> float:
    """Center of ``first``'s visible box minus that of ``second``, along an axis, in pixels."""
    return first.box_center[axis] - second.box_center[axis]


def direction(first: SceneObject, second: SceneObject, image_size: int) -> str | None:
    """The main relation of ``first`` to ``second``, or None where none is clear.

    Clear is what one axis shows at least 1.5 times as strongly as the other, by :data:`MARGIN` or
    more.
    """
    steps = [offset(first, second, axis) for axis in (0, 1)]
    axis = int(abs(steps[1]) > abs(steps[0]))
    if abs(steps[axis]) < max(MARGIN * image_size, 1.5 * abs(steps[1 - axis])):
        return None
    names = (name for name, (a, sign) in RELATIONS.items() if a == axis and sign * steps[axis] > 0)
    return next(names)


def relation_words(first: SceneObject, second: SceneObject, image_size: int, rng: np.random.Generator) -> str:
    """How a caption relates two objects: a direction, nearness or only their being together."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = first.box, second.box
    gap = max(max(ax1, bx1) - min(ax2, bx2), max(ay1, by1) - min(ay2, by2))
    near = gap < 0.08 * image_size
    where = direction(first, second, image_size)
    if where and not (near and rng.random() < 0.5):
        return f'to the {where}' if where.endswith('of') else where
    return 'next to' if near else 'and'
