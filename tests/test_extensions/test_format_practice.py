import re

import pytest
import torch

from mmvisionllm.extensions.format_practice import PracticingFormatParser, practice_instructions
from mmvisionllm.instructions import OutputFormat, load_templates
from mmvisionllm.models.heads.format_parser import FormatParser

SETS = [('red star', 'circle', 'square', 'hexagon'), ('cross',)]


def practice(number=60, seed=0, **changes):
    torch.manual_seed(seed)
    settings = dict(category_sets=SETS, num_points=(8, 24), boxes=0.25, num_bins=33)
    return practice_instructions(number, **{**settings, **changes})


def plain(text):
    """Words that are neither filled in nor beside what is."""
    return {word for word in text.split() if re.fullmatch(r'[A-Za-z]+[,.?:;]?', word)}


def test_the_format_that_is_meant_is_the_one_that_is_written():
    for instruction in practice():
        assert OutputFormat.parse(instruction.text) == instruction.output_format
        assert '<image>' in instruction.text and '<p-16>..<p16>' in instruction.text
        assert all(name in instruction.text for name in instruction.categories)


@pytest.mark.parametrize(('boxes', 'tasks'), [(0.0, {'segmentation'}), (1.0, {'detection', 'grounding'})])
def test_boxes_and_polygons_are_shared_out(boxes, tasks):
    made = practice(boxes=boxes)
    assert {i.task for i in made} == tasks
    assert all((i.output_format.num_points == 2) == bool(boxes) for i in made)


def test_expressions_come_alone_and_category_sets_are_short():
    for instruction in practice(boxes=1.0):
        assert len(instruction.categories) == 1 or instruction.task == 'detection'
        assert instruction.categories in {s[:n] for s in SETS for n in (1, 3)}


def test_words_are_those_of_templates_and_sentences_are_not():
    tasks = ('detection', 'segmentation', 'grounding')
    known = {template for task in tasks for template in load_templates(task)}
    heldout = {word for task in tasks for template in load_templates(task, 'heldout') for word in plain(template)}
    pools = ('detection', 'segmentation', 'grounding', 'captioning', 'vqa', 'conversation')
    words = {word for task in pools for template in load_templates(task) for word in plain(template)}
    made = practice(200)
    said = set().union(*(plain(i.text) for i in made))
    names = {word for s in SETS for name in s for word in name.split()}
    assert said - words <= names  # nothing of the templates that are held out for testing
    assert heldout - words
    opening = {i.text.split('(')[0].split('{')[0] for i in made}
    assert len(opening) > 150 > len(known)


def test_practice_is_reproducible():
    first, again, other = practice(), practice(), practice(seed=1)
    assert [i.text for i in first] == [i.text for i in again] != [i.text for i in other]


def test_practice_is_about_the_batch_s_categories(make):
    (names,) = {make.instruct().categories}
    made = practice_instructions(50, [names], (9, 12), 0.25, 33)
    assert {i.task for i in made} == {'detection', 'segmentation', 'grounding'}
    assert {i.output_format.num_points for i in made} == {2, 9, 10, 11, 12}
    assert {i.categories for i in made} == {names[:1], names[:3]}


@torch.no_grad()
def test_practice_is_learned_beside_the_batch(small, make):
    model = small.build(small.decoder()).eval().language_model
    parser, batch = PracticingFormatParser(num_practice=3), [make.instruct()]
    torch.manual_seed(0)
    loss = parser.loss(model, batch)
    torch.manual_seed(0)
    made = practice_instructions(3, [batch[0].categories], (8, 24), 0.25, model.vocabulary.num_bins)
    expected = FormatParser(num_samples=4).loss(model, [*batch, *made])
    torch.testing.assert_close(loss, expected)
    torch.manual_seed(1)
    assert not torch.allclose(parser.loss(model, batch), expected)
