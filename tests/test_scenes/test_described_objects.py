import numpy as np
import pytest

from mmvisionllm.scenes import CATEGORIES
from mmvisionllm.scenes.described_objects import described_objects
from mmvisionllm.scenes.palette import COLOR_NAMES


def draw(seed, number=24, **kwargs):
    return described_objects(np.random.default_rng(seed), number, **kwargs)


def category(words):
    return next(name for name in CATEGORIES if words.endswith(name))


def adjectives(words):
    return set(words.removesuffix(category(words)).split()) - {'the'}


@pytest.mark.parametrize('seed', range(50))
def test_an_expression_means_the_objects_that_have_all_its_words(seed):
    expressions, objects, classes = draw(seed)
    assert len(objects) == len(classes) == 24 and 1 <= len(set(expressions)) == len(expressions) <= 6
    for obj, meant in zip(objects, classes):
        fitting = [
            c for c, e in enumerate(expressions) if category(e) == category(obj) and adjectives(e) <= adjectives(obj)
        ]
        assert fitting == ([] if meant < 0 else [meant])  # never two


def test_many_objects_are_meant_and_many_others_nearly():
    """Of those that no expression means, most share the category of one: another word makes the difference."""
    meant, near, all_others = 0, 0, 0
    for seed in range(100):
        expressions, objects, classes = draw(seed)
        meant += sum(c >= 0 for c in classes)
        others = [obj for obj, c in zip(objects, classes) if c < 0]
        near += sum(category(obj) in set(map(category, expressions)) for obj in others)
        all_others += len(others)
    assert 0.4 < meant / 2400 < 0.7
    assert 0.3 < near / all_others < 0.8


def test_objects_are_told_in_full():
    words = {word for seed in range(30) for obj in draw(seed)[1] for word in obj.split()}
    assert words >= {'small', 'large', 'striped', 'dotted', 'checked', *COLOR_NAMES}


def test_one_expression_alone():
    assert all(len(draw(seed, most=1)[0]) == 1 for seed in range(5))


def test_what_is_drawn_depends_on_the_generator_alone():
    np.random.seed(3)
    first = draw(7)
    np.random.seed(4)
    assert draw(7) == first != draw(8)
