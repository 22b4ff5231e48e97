"""What is said about a scene is read back by an independent reader and held against the scene."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mmvisionllm.scenes import language
from mmvisionllm.scenes.palette import COLOR_NAMES, TEXTURE_WORDS
from mmvisionllm.scenes.scene import random_scene
from mmvisionllm.scenes.wording import article, count_word, join, plural

_CATEGORY = '|'.join(language.CATEGORIES)
_NOUNS = re.compile(
    rf'^(?:(?P<size>small|large) )?(?:(?P<texture>striped|dotted|checked) )?'
    rf'(?:(?P<color>{"|".join(COLOR_NAMES)}) )?(?P<category>{_CATEGORY})$'
)
_PLURALS = {plural(name): name for name in language.CATEGORIES}


def _scenes(number=150):
    for i in range(number):
        rng = np.random.default_rng([3, i])
        yield random_scene(rng), rng


def _find(scene, words):
    """Objects that fit 'small striped red circle'."""
    match = _NOUNS.match(words)
    assert match, words
    wanted = match.groupdict()
    return [
        obj
        for obj in scene.objects
        if obj.category == wanted['category']
        and wanted['color'] in (None, obj.color)
        and wanted['texture'] in (None, TEXTURE_WORDS[obj.texture])
        and wanted['size'] in (None, obj.size_word)
    ]


def _center(obj):
    x1, y1, x2, y2 = obj.box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2])


_BEYOND = {'left of': (-1, 0), 'right of': (1, 0), 'above': (0, -1), 'below': (0, 1)}
_MOST = {
    'largest': lambda o: o.area,
    'smallest': lambda o: -o.area,
    'leftmost': lambda o: -_center(o)[0],
    'rightmost': lambda o: _center(o)[0],
    'topmost': lambda o: -_center(o)[1],
    'lowest': lambda o: _center(o)[1],
}


def _resolve(scene, text):
    """All objects an expression may mean."""
    assert text.startswith('the '), text
    text = text[4:]
    for relation, direction in _BEYOND.items():
        if f' {relation} the ' in text:
            target, anchor = text.split(f' {relation} the ')
            anchors = _find(scene, anchor)
            assert len(anchors) == 1, text
            return [
                obj
                for obj in _find(scene, target)
                if obj is not anchors[0] and np.dot(_center(obj) - _center(anchors[0]), direction) > 0
            ]
    first, _, rest = text.partition(' ')
    if first in _MOST:
        candidates = _find(scene, rest)
        assert len(candidates) > 1, text
        best = max(map(_MOST[first], candidates))
        return [obj for obj in candidates if _MOST[first](obj) == best]
    return _find(scene, text)


def test_every_referring_expression_means_exactly_its_object():
    kinds = set()
    for scene, rng in _scenes(300):
        expressions = language.referring_expressions(scene, rng)
        assert len({e.text for e in expressions}) == len(expressions) <= 4
        for expression in expressions:
            kinds.add(expression.kind)
            assert _resolve(scene, expression.text) == [scene.objects[expression.index]], expression
    assert kinds == {'attribute', 'size', 'place', 'relation'}


def test_superlatives_win_clearly():
    for scene, rng in _scenes(300):
        for expression in language.referring_expressions(scene, rng):
            if expression.kind == 'size':
                rest = expression.text.split(' ', 2)[2]
                areas = sorted(obj.area for obj in _find(scene, rest))
                gap = areas[-1] / areas[-2] if 'largest' in expression.text else areas[1] / areas[0]
                assert gap > 1.3


def test_empty_expressions_mean_nothing():
    found = 0
    for scene, rng in _scenes():
        expression = language.empty_expression(scene, rng)
        if expression is not None:
            found += 1
            assert expression.index is None and _resolve(scene, expression.text) == []
    assert found > 140


def _answer(scene, question):
    """Answer a question from the scene's boxes and attributes; None for a form not known here."""

    def the(category):
        (obj,) = _find(scene, category)
        return obj

    if question == 'how many shapes are there?':
        return str(len(scene.objects))
    if match := re.fullmatch(r'how many (.+) are there\?', question):
        color, _, rest = match[1].partition(' ')
        words = f'{color} {_PLURALS[rest]}' if color in COLOR_NAMES else _PLURALS[match[1]]
        return str(len(_find(scene, words)))
    if match := re.fullmatch(r'is there an? (.+)\?', question):
        return 'yes' if _find(scene, match[1]) else 'no'
    if match := re.fullmatch(r'what color is the (.+)\?', question):
        return the(match[1]).color
    if match := re.fullmatch(r'what pattern does the (.+) have\?', question):
        return TEXTURE_WORDS[the(match[1]).texture] or 'plain'
    if match := re.fullmatch(r'which shape is (.+)\?', question):
        (obj,) = (obj for obj in scene.objects if obj.color == match[1])
        return obj.category
    if match := re.fullmatch(r'is the (.+) in the (left|top) or the (right|bottom) half\?', question):
        axis = int(match[2] == 'top')
        return match[2] if _center(the(match[1]))[axis] < scene.image_size / 2 else match[3]
    if match := re.fullmatch(r'is the (.+?) (?:to the )?(left of|right of|above|below) the (.+)\?', question):
        step = _center(the(match[1])) - _center(the(match[3]))
        return 'yes' if np.dot(step, _BEYOND[match[2]]) > 0 else 'no'
    return None


def test_every_answer_is_true():
    types = set()
    for scene, rng in _scenes(300):
        for qa in language.question_answers(scene, rng):
            assert _answer(scene, qa.question) == qa.answer, (qa, scene)
            types.add((qa.question_type, qa.answer_type))
            assert qa.question.startswith(qa.question_type)
    assert {kind for _, kind in types} == {'yes/no', 'number', 'other'}
    assert len(types) >= 7


def test_yes_and_no_are_about_as_frequent():
    answers = [
        qa.answer
        for scene, rng in _scenes(300)
        for qa in language.question_answers(scene, rng)
        if qa.answer_type == 'yes/no'
    ]
    assert 0.4 < answers.count('yes') / len(answers) < 0.6


def test_questions_are_the_plain_pairs():
    scene = random_scene(np.random.default_rng(0))
    pairs = language.questions(scene, np.random.default_rng(1))
    records = language.question_answers(scene, np.random.default_rng(1))
    assert pairs == [(qa.question, qa.answer) for qa in records] and pairs


def test_captions_mention_only_what_is_there():
    things = re.compile(rf'\ban? ((?:[a-z]+ ){{0,3}}?(?:{_CATEGORY}))(?![a-z])')
    mentioned = 0
    for scene, rng in _scenes():
        texts = language.captions(scene, rng)
        assert len(texts) == 5
        for text in texts:
            assert text == text.strip() and '  ' not in text
            for words in things.findall(text):
                mentioned += 1
                assert _find(scene, words), (text, scene)
            if match := re.match(r'a picture of (\w+) shapes', text):
                assert match[1] == count_word(len(scene.objects))
            for relation, direction in _BEYOND.items():
                parts = re.split(rf' (?:to the )?{relation} ', text)
                if len(parts) == 2:
                    first, second = (_find(scene, part.split(' ', 1)[1]) for part in parts)
                    assert any(np.dot(_center(a) - _center(b), direction) > 0 for a in first for b in second), text
    assert mentioned > 500


def test_full_scenes_get_different_captions():
    rng = np.random.default_rng(0)
    scene = random_scene(rng, min_objects=4)
    assert len(set(language.captions(scene, rng))) == 5


def test_a_scene_without_objects_is_described_too():
    scene = random_scene(np.random.default_rng(0))
    bare = replace(scene, objects=(), id_map=scene.id_map * 0)
    rng = np.random.default_rng(0)
    assert language.caption(bare, rng).startswith('nothing but ')
    assert language.referring_expressions(bare, rng) == []
    assert language.empty_expression(bare, rng).index is None
    answers = dict(language.questions(bare, rng))
    assert set(answers.values()) <= {'0', 'no'}


def test_same_seed_same_words():
    scene = random_scene(np.random.default_rng(0))
    for speak in (
        language.caption,
        language.captions,
        language.questions,
        language.referring_expressions,
        language.empty_expression,
    ):
        assert speak(scene, np.random.default_rng(7)) == speak(scene, np.random.default_rng(7))


@pytest.mark.parametrize(
    'words, expected',
    [
        ('orange star', 'an orange star'),
        ('hourglass', 'an hourglass'),
        ('heart', 'a heart'),
        ('arrow', 'an arrow'),
        ('red hourglass', 'a red hourglass'),
    ],
)
def test_articles(words, expected):
    assert article(words) == expected


def test_numbers_plurals_and_lists():
    assert plural('hourglass') == 'hourglasses' and plural('crescent moon') == 'crescent moons'
    assert count_word(8) == 'eight' and count_word(64) == '64'
    assert join(['a']) == 'a' and join(['a', 'b', 'c']) == 'a, b and c'
