import pytest

from mmvisionllm.instructions import TASKS, Instruction, OutputFormat, load_templates


def test_at_least_twenty_detection_templates_all_different():
    train, heldout = load_templates('detection'), load_templates('detection', 'heldout')
    assert len(set(train)) == len(train) >= 20
    assert heldout and not set(train) & set(heldout)


@pytest.mark.parametrize('split', ['train', 'heldout'])
@pytest.mark.parametrize('task', sorted(TASKS))
def test_every_template_makes_an_instruction(task, split):
    names = ['person', 'black cat']
    for template in load_templates(task, split):
        for num_points in (2, 24):
            made = Instruction.from_text(
                template, categories=names, task=task, num_points=num_points
            )
            assert made.output_format == OutputFormat(num_points)
            assert made.text.count('{"person":<c0>,"black cat":<c1>}') == 1
            assert made.text.count('<p-512>..<p512>') == 1
            # Nothing is left to fill in, and nothing was added to what the template says.
            assert not any(p in made.text for p in ('<class>', '<range>', '<format>'))
            assert not made.text.startswith(('Answer as', 'Categories:'))


def test_unknown_split_and_task():
    with pytest.raises(ValueError, match="unknown template split 'val'"):
        load_templates('detection', 'val')
    with pytest.raises(ValueError, match="unknown task 'sing'"):
        load_templates('sing')
