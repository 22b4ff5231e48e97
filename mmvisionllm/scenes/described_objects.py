"""Objects and expressions that mean some of them, all in words and drawn freely: a scene holds too few to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .palette import COLOR_NAMES, TEXTURE_WORDS
from .referring import Description
from .shapes import CATEGORIES

_VALUES = dict(category=CATEGORIES, color=COLOR_NAMES, texture=tuple(TEXTURE_WORDS.values()), size=('small', 'large'))
#: How often an expression names an attribute beside the category.
_ASKED = dict(color=0.6, texture=0.3, size=0.25)


def _draw(rng: np.random.Generator, name: str) -> str:
    values = _VALUES[name]
    return values[rng.integers(len(values))]


def _object(rng: np.random.Generator) -> Description:
    return Description(**{name: _draw(rng, name) for name in _VALUES})


def _clash(first: Description, second: Description) -> bool:
    """Whether no object fits both."""
    pairs = [(getattr(first, name), getattr(second, name)) for name in _VALUES]
    return any(a and b and a != b for a, b in pairs)


def _fits(asked: Description, obj: Description) -> bool:
    return all(getattr(asked, name) in ('', getattr(obj, name)) for name in _VALUES)


def _near(rng: np.random.Generator, asked: Description) -> Description:
    """An object that fits, or, one time in two, one that differs in a single attribute that is asked for."""
    obj = _object(rng)
    given = {name: getattr(asked, name) for name in _VALUES if getattr(asked, name)}
    if rng.random() < 0.5:
        del given[list(given)[rng.integers(len(given))]]
    return replace(obj, **given)


def described_objects(rng: np.random.Generator, number: int, most: int = 6) -> tuple[list[str], list[str], list[int]]:
    """Expressions, objects in full, and which expression means each of them.

    Args:
        rng: Draws everything.
        number: Number of objects.
        most: Largest number of expressions. No object fits two of them.

    Returns:
        Up to ``most`` expressions such as "the red star", ``number`` objects such as "large dotted red star", and their
        indices among the expressions, -1 for objects that none of them means.
    """
    asked: list[Description] = []
    for _ in range(int(rng.integers(1, most + 1))):
        left_out = {name: '' for name, share in _ASKED.items() if rng.random() >= share}
        description = replace(_object(rng), **left_out)
        if all(_clash(description, other) for other in asked):
            asked.append(description)
    objects = [_near(rng, asked[rng.integers(len(asked))]) for _ in range(number)]
    classes = [next((c for c, a in enumerate(asked) if _fits(a, obj)), -1) for obj in objects]
    return [f'the {a}' for a in asked], [str(obj) for obj in objects], classes
