# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Referring expressions that one object of the scene fits clearly, or that none fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .palette import COLOR_NAMES, TEXTURE_WORDS
from .scene import Scene, SceneObject
from .shapes import CATEGORIES
from .wording import MARGIN, RELATIONS, offset, words_of

T = TypeVar('T')

#: 'Largest' must be larger than the next by this factor, in size and in visible area.
_SIZE_FACTOR = 1.3

#: Superlative of place -> (axis, sign).
_PLACES = {'leftmost': (0, -1), 'rightmost': (0, 1), 'topmost': (1, -1), 'lowest': (1, 1)}


@dataclass(frozen=True)
class Expression:
    """An expression and its object's position in ``scene.objects``, None if no object fits."""

    text: str
    index: int | None
    kind: str  # 'attribute', 'size', 'place', 'relation'


@dataclass(frozen=True)
class Description:
    """Attributes of an object, or those that are asked for; an empty one is not asked for."""

    category: str
    color: str = ''
    texture: str = ''
    size: str = ''

    def possible(self, obj: SceneObject) -> bool:
        """Whether ``obj`` may be meant; a size is wrong only if it is the opposite one."""
        opposite = {'small': 'large', 'large': 'small', '': None}[self.size]
        return (
            self.category == obj.category
            and self.color in ('', obj.color)
            and self.texture in ('', TEXTURE_WORDS[obj.texture])
            and obj.size_word != opposite
        )

    def matches(self, scene: Scene) -> list[int]:
        """Positions of all objects that may be meant."""
        return [i for i, obj in enumerate(scene.objects) if self.possible(obj)]

    def __str__(self) -> str:
        return words_of(self.size, self.texture, self.color, self.category)


def _descriptions(obj: SceneObject) -> list[Description]:
    """All descriptions of an object, from its name alone to all its attributes."""
    found = {
        Description(obj.category, color, texture, size): None
        for size in ('', obj.size_word)
        for texture in ('', TEXTURE_WORDS[obj.texture])
        for color in ('', obj.color)
    }
    return list(found)


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[rng.integers(len(items))]


def _by_attributes(scene: Scene, index: int, rng: np.random.Generator) -> Description | None:
    """A description that fits this object only."""
    fitting = [q for q in _descriptions(scene.objects[index]) if q.matches(scene) == [index]]
    return _pick(rng, fitting) if fitting else None


def _group(scene: Scene, index: int, rng: np.random.Generator) -> tuple[Description, list[SceneObject]] | None:
    """A description without size that fits this object and others, and those others."""
    queries = [q for q in _descriptions(scene.objects[index]) if not q.size and len(q.matches(scene)) > 1]
    if not queries:
        return None
    query = _pick(rng, queries)
    return query, [scene.objects[i] for i in query.matches(scene) if i != index]


def _by_size(scene: Scene, index: int, rng: np.random.Generator) -> str | None:
    found = _group(scene, index, rng)
    if found is None:
        return None
    query, others = found
    obj = scene.objects[index]
    for word, larger in (('largest', True), ('smallest', False)):
        pairs = [(obj, other) if larger else (other, obj) for other in others]
        if all(a.size > _SIZE_FACTOR * b.size and a.area > _SIZE_FACTOR * b.area for a, b in pairs):
            return f'the {word} {query}'
    return None


def _by_place(scene: Scene, index: int, rng: np.random.Generator) -> str | None:
    found = _group(scene, index, rng)
    if found is None:
        return None
    query, others = found
    margin = MARGIN * scene.image_size
    obj = scene.objects[index]
    fitting = [
        word
        for word, (axis, sign) in _PLACES.items()
        if all(sign * offset(obj, other, axis) > margin for other in others)
    ]
    return f'the {_pick(rng, fitting)} {query}' if fitting else None


def _by_relation(scene: Scene, index: int, rng: np.random.Generator) -> str | None:
    obj = scene.objects[index]
    anchor_index = int(rng.integers(len(scene.objects)))
    anchor = _by_attributes(scene, anchor_index, rng)
    query = _pick(rng, [q for q in _descriptions(obj) if not q.size])
    # An anchor that the description fits as well would make a puzzle of it.
    if anchor_index == index or anchor is None or query.possible(scene.objects[anchor_index]):
        return None
    margin = MARGIN * scene.image_size
    place = scene.objects[anchor_index]
    rivals = [scene.objects[i] for i in query.matches(scene) if i != index]
    fitting = [
        name
        for name, (axis, sign) in RELATIONS.items()
        if sign * offset(obj, place, axis) > margin
        and all(sign * offset(rival, place, axis) < -margin for rival in rivals)
    ]
    return f'the {query} {_pick(rng, fitting)} the {anchor}' if fitting else None


def referring_expressions(scene: Scene, rng: np.random.Generator, most: int = 4) -> list[Expression]:
    """Unambiguous expressions for objects of a scene, at most one of every kind for every object.

    Args:
        scene: any layout.
        rng: draws objects, kinds and wording.
        most: largest number of expressions.

    Returns:
        Up to ``most`` expressions with different texts; fewer where the scene does not allow more.
    """
    found: dict[str, Expression] = {}
    for index in rng.permutation(len(scene.objects)).tolist():
        texts = (
            ('size', _by_size(scene, index, rng)),
            ('place', _by_place(scene, index, rng)),
            ('relation', _by_relation(scene, index, rng)),
        )
        simple = _by_attributes(scene, index, rng)
        options = [Expression(text, index, kind) for kind, text in texts if text]
        # The plain description is nearly always at hand; leave room for the others.
        if simple and (not options or rng.random() < 0.4):
            options.append(Expression(f'the {simple}', index, 'attribute'))
        if options:
            chosen = _pick(rng, options)
            found.setdefault(chosen.text, chosen)
        if len(found) >= most:
            break
    return list(found.values())


def empty_expression(scene: Scene, rng: np.random.Generator) -> Expression | None:
    """An expression that no object fits, by preference close to an object that is there.

    None if eight tries find no such expression, as in a very full scene.
    """
    for _ in range(8):
        category = _pick(rng, CATEGORIES)
        color = _pick(rng, COLOR_NAMES)
        if scene.objects and rng.random() < 0.7:
            obj = _pick(rng, scene.objects)
            # Keep one attribute of a real object: the other makes the difference.
            if rng.random() < 0.5:
                category = obj.category
            else:
                color = obj.color
        query = Description(category, color if rng.random() < 0.8 else '')
        if not query.matches(scene):
            return Expression(f'the {query}', None, 'attribute')
    return None
