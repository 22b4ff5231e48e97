import re
from itertools import combinations

import pytest

from mmvisionllm.instructions import TASKS, Instruction, OutputFormat, load_templates
from mmvisionllm.instructions.templates import SPLITS
from mmvisionllm.instructions.widening import is_near

TEXT = ('captioning', 'vqa')
OBJECTS = ('detection', 'grounding', 'segmentation')


@pytest.mark.parametrize('task', OBJECTS + TEXT)
def test_at_least_twenty_templates_clearly_different(task):
    train, heldout = load_templates(task), load_templates(task, 'heldout')
    assert len(train) >= 20 and len(heldout) >= (3 if task == 'detection' else 5)
    for first, second in combinations(train + heldout, 2):
        assert not is_near(first, second), (first, second)


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('task', OBJECTS)
def test_every_template_makes_an_instruction(task, split):
    names = ['person', 'black cat']
    for template in load_templates(task, split):
        assert template.index('<image>') > template.index(TASKS[task].placeholders[1])
        for num_points in (2, 24):
            made = Instruction.from_text(
                template.replace('<expression>', '<class>'), categories=names, task=task, num_points=num_points
            )
            assert made.output_format == OutputFormat(num_points)
            assert made.text.count('{"person":<c0>,"black cat":<c1>}') == 1
            assert made.text.count('<p-512>..<p512>') == 1
            # Nothing is left to fill in, and nothing was added to what the template says.
            assert not any(p in made.text for p in ('<class>', '<range>', '<format>'))
            assert not made.text.startswith(('Answer as', 'Categories:'))


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('task', TEXT)
def test_every_template_for_text_makes_an_instruction(task, split):
    for template in load_templates(task, split):
        wanted = template.replace('<question>', 'Is it red?')
        made = Instruction.from_text(wanted, task=task)
        assert made.output_format.is_text and made.categories == ()
        assert made.text == wanted


SHAPE = re.compile('outline|contour|border|boundar|polygon|silhouette|edge|rim|curve|shape|ring|perimeter|path|profile')


@pytest.mark.parametrize('split', SPLITS)
def test_segmentation_speaks_of_outlines(split):
    assert all(SHAPE.search(template) for template in load_templates('segmentation', split))


def test_unknown_split_and_task():
    with pytest.raises(ValueError, match="unknown templates 'val'"):
        load_templates('detection', 'val')
    with pytest.raises(ValueError, match="unknown task 'sing'"):
        load_templates('sing')


def test_templates_of_ones_own(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('train: ["Say what\\n is in <image>", "Caption <image>"]')
    made = load_templates('captioning', path=str(path))
    assert made == ('Say what is in <image>', 'Caption <image>')


@pytest.mark.parametrize(
    'text, message',
    [
        (None, r'cannot read templates from .*mine\.yaml'),
        ('train: [', r'cannot read templates from .*mine\.yaml'),
        ('train: <image>', r"mine\.yaml must hold a list of templates under 'train'"),
        ('train: []', r"mine\.yaml must hold a list of templates under 'train'"),
        ('train: [1]', r"mine\.yaml must hold a list of templates under 'train'"),
        ('- <image>', r"mine\.yaml must hold a list of templates under 'train'"),
        ('heldout: [a <image>]', r"mine\.yaml must hold a list of templates under 'train'"),
        ('train: [a <image> b <image>]', 'must contain <image> exactly once'),
        ('train: [a]', 'must contain <image> exactly once'),
    ],
)
def test_templates_that_are_not_as_they_should_be(tmp_path, text, message):
    path = tmp_path / 'mine.yaml'
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_templates('captioning', path=str(path))
