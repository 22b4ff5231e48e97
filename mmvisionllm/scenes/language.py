# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Seeded text about scenes: captions, questions and answers; expressions: :mod:`.referring`.

Everything here needs a layout only (:func:`random_scene`), no rendered pixels, so that text to
pretrain a small language model on comes fast.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .palette import COLOR_NAMES, TEXTURE_WORDS
from .referring import Expression, empty_expression, referring_expressions
from .scene import Scene, SceneObject, random_scene
from .shapes import CATEGORIES
from .wording import article, count_word, describe, direction, join, noun, plural, relation_words

__all__ = [
    'CATEGORIES',
    'Expression',
    'QuestionAnswer',
    'caption',
    'captions',
    'describe',
    'empty_expression',
    'questions',
    'question_answers',
    'random_scene',
    'referring_expressions',
]

_BACKGROUND_WORDS = {
    'plain': 'a plain background',
    'gradient': 'a shaded background',
    'grainy': 'a grainy background',
    'cluttered': 'a background full of lines',
}


@dataclass(frozen=True)
class QuestionAnswer:
    """One question, its answer and their kinds in the terms of VQA v2."""

    question: str
    answer: str
    question_type: str
    answer_type: str  # 'yes/no', 'number' or 'other'


def _some(scene: Scene, rng: np.random.Generator, number: int) -> list[SceneObject]:
    order = rng.permutation(len(scene.objects))[:number]
    return [scene.objects[i] for i in order]


def _detail(obj: SceneObject, rng: np.random.Generator) -> str:
    """An object with a random choice of its attributes, the color nearly always among them."""
    size, texture, color = rng.random(3) < (0.5, 0.5, 0.9)
    return describe(obj, size=size, texture=texture, color=color)


def _inventory(scene: Scene, rng: np.random.Generator) -> str:
    """Everything there is, counted: 'two red circles and a star'."""
    with_color = rng.random() < 0.7
    counts = Counter((obj.color if with_color else '', obj.category) for obj in scene.objects)
    parts = []
    for (color, category), number in counts.items():
        words = f'{color} {noun(category, number)}'.strip()
        parts.append(article(words) if number == 1 else f'{count_word(number)} {words}')
    return join([parts[i] for i in rng.permutation(len(parts))])


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence about the scene, without a full stop.

    Args:
        scene: any layout, an empty one included.
        rng: draws the form of the sentence and what it mentions.
    """
    where = _BACKGROUND_WORDS[scene.background.kind]
    number = len(scene.objects)
    if number == 0:
        return f'nothing but {where}'
    form = rng.integers(5)
    if form == 0 and number <= 5:
        return _inventory(scene, rng)
    if form == 1 and number > 1:
        first, second = _some(scene, rng, 2)
        how = relation_words(first, second, scene.image_size, rng)
        return f'{article(_detail(first, rng))} {how} {article(_detail(second, rng))}'
    first = article(_detail(_some(scene, rng, 1)[0], rng))
    if form == 2:
        return f'{first} on {where}'
    if form == 3 and number > 1:
        return f'a picture of {count_word(number)} shapes, one of them {first}'
    if number > 2:
        names = [article(_detail(obj, rng)) for obj in _some(scene, rng, 3)]
        if number == 3:
            return f'there are {join(names)} on {where}'
        return f'{join(names)} among other shapes'
    return f'there is {first}' + (f' on {where}' if number == 1 else ' and another shape')


def captions(scene: Scene, rng: np.random.Generator, number: int = 5) -> list[str]:
    """``number`` captions; in a scene that offers enough to say, no two are the same."""
    found: list[str] = []
    for attempt in range(4 * number):
        text = caption(scene, rng)
        if text not in found or attempt >= 3 * number:
            found.append(text)
        if len(found) == number:
            break
    return found


def _ask_count(scene: Scene, rng: np.random.Generator) -> QuestionAnswer:
    if rng.random() < 0.25:
        total = str(len(scene.objects))
        return QuestionAnswer('how many shapes are there?', total, 'how many', 'number')
    category = _known_or_any(scene, rng)
    color = COLOR_NAMES[rng.integers(len(COLOR_NAMES))] if rng.random() < 0.15 else ''
    number = sum(o.category == category and color in ('', o.color) for o in scene.objects)
    words = f'{color} {plural(category)}'.strip()
    return QuestionAnswer(f'how many {words} are there?', str(number), 'how many', 'number')


def _known_or_any(scene: Scene, rng: np.random.Generator) -> str:
    """A category of the scene three times in four, any category otherwise."""
    if scene.objects and rng.random() < 0.75:
        return scene.objects[rng.integers(len(scene.objects))].category
    return CATEGORIES[rng.integers(len(CATEGORIES))]


def _ask_existence(scene: Scene, rng: np.random.Generator) -> QuestionAnswer:
    category, color = CATEGORIES[rng.integers(len(CATEGORIES))], ''
    if scene.objects and rng.random() < 0.5:
        category = scene.objects[rng.integers(len(scene.objects))].category
        if rng.random() < 0.7:
            color = scene.objects[rng.integers(len(scene.objects))].color
    here = any(o.category == category and color in ('', o.color) for o in scene.objects)
    words = article(f'{color} {category}'.strip())
    return QuestionAnswer(f'is there {words}?', 'yes' if here else 'no', 'is there', 'yes/no')


def _single(scene: Scene, rng: np.random.Generator) -> SceneObject | None:
    """A random object whose category occurs once, so that 'the star' is clear."""
    counts = Counter(obj.category for obj in scene.objects)
    single = [obj for obj in scene.objects if counts[obj.category] == 1]
    return single[rng.integers(len(single))] if single else None


def _ask_color(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    obj = _single(scene, rng)
    return obj and QuestionAnswer(f'what color is the {obj.category}?', obj.color, 'what color is the', 'other')


def _ask_texture(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    obj = _single(scene, rng)
    return obj and QuestionAnswer(
        f'what pattern does the {obj.category} have?', TEXTURE_WORDS[obj.texture] or 'plain', 'what', 'other'
    )


def _ask_category(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    counts = Counter(obj.color for obj in scene.objects)
    single = [obj for obj in scene.objects if counts[obj.color] == 1]
    if not single:
        return None
    obj = single[rng.integers(len(single))]
    return QuestionAnswer(f'which shape is {obj.color}?', obj.category, 'which', 'other')


def _ask_position(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    first, second = _single(scene, rng), _single(scene, rng)
    if first is None or second is None or first is second:
        return None
    where = direction(first, second, scene.image_size)
    if where is None:
        return None
    asked = (
        where
        if rng.random() < 0.5
        else {'left of': 'right of', 'right of': 'left of', 'above': 'below', 'below': 'above'}[where]
    )
    words = f'to the {asked}' if asked.endswith('of') else asked
    return QuestionAnswer(
        f'is the {first.category} {words} the {second.category}?', 'yes' if asked == where else 'no', 'is the', 'yes/no'
    )


def _ask_half(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    obj = _single(scene, rng)
    if obj is None:
        return None
    side = scene.image_size
    axis = int(rng.integers(2))
    offset = obj.box_center[axis] / side - 0.5
    if abs(offset) < 0.08:  # too near the middle to call
        return None
    names = (('left', 'right'), ('top', 'bottom'))[axis]
    question = f'is the {obj.category} in the {names[0]} or the {names[1]} half?'
    return QuestionAnswer(question, names[int(offset > 0)], 'is the', 'other')


_ASKERS = (_ask_count, _ask_existence, _ask_color, _ask_category, _ask_position, _ask_half, _ask_texture)


def question_answers(scene: Scene, rng: np.random.Generator) -> list[QuestionAnswer]:
    """At most one question of every kind the scene can answer clearly, in random order."""
    asked = (asker(scene, rng) for asker in _ASKERS)
    found = [qa for qa in asked if qa is not None]
    return [found[i] for i in rng.permutation(len(found))]


def questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """:func:`question_answers` as plain (question, answer) pairs."""
    return [(qa.question, qa.answer) for qa in question_answers(scene, rng)]
