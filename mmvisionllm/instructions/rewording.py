"""Templates in words and in an order that no template has, for what has only the templates to learn language from."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from .tasks import TASKS, get_task
from .templates import load_templates

_SENTENCE_END = re.compile(r'(?<=[.:?!]) (?=[A-Z<])')


def reword(template: str, rng: np.random.Generator, share: float = 0.5) -> str:
    """A template with its sentences in random order and some words drawn at random.

    The templates of a task are few, and a language model that has read nothing else knows placeholders by the words and
    the order around them. People put the image first, or ask for a format before they name categories.

    Args:
        template: As :func:`load_templates` gives it; placeholders stay.
        rng: Generator of everything random.
        share: Most words that are replaced; each template has a share of its own below that.
    """
    sentences = _sentences(template)
    words = ' '.join(sentences[i] for i in rng.permutation(len(sentences))).split()
    others = plain_words()
    replaced = rng.random(len(words)) < share * rng.random()
    return ' '.join(
        str(rng.choice(others)) if change and '<' not in word else word for word, change in zip(words, replaced)
    )


def _sentences(template: str) -> list[str]:
    """Parts that can stand in any order: sentences, but for ``Categories: <class>`` and the like, which stay whole."""
    parts = []
    for part in _SENTENCE_END.split(template):
        if parts and parts[-1].endswith(':'):
            parts[-1] += f' {part}'
        else:
            parts.append(part)
    parts[-1] = parts[-1] if parts[-1].endswith(('.', '?', '!')) else f'{parts[-1]}.'
    return parts


@cache
def plain_words() -> tuple[str, ...]:
    """The words of all tasks' templates, in alphabetical order, without placeholders."""
    tasks = [task for task in TASKS if get_task(task).placeholders]
    words = {word for task in tasks for template in load_templates(task) for word in template.split()}
    return tuple(sorted(word for word in words if '<' not in word))
