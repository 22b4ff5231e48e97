import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmvisionllm.instructions import FormatError, InstructionError, load_templates

NAMES = ('circle', 'square', 'triangle', 'star')


def build(**kwargs):
    cfg = dict(type='AttachInstruction', categories=NAMES)
    cfg.update(kwargs)
    return TRANSFORMS.build(cfg)


def draw(transform, times=200, seed=0):
    np.random.seed(seed)
    results = []
    for _ in range(times):
        sample = DetDataSample(gt_instances=InstanceData(labels=torch.tensor([0, 3])))
        packed = transform(dict(inputs=1, data_samples=sample))
        assert packed['inputs'] == 1
        assert packed['data_samples'].gt_instances.labels.tolist() == [0, 3]
        results.append(packed['data_samples'].instruction)
    return results


def test_default_is_the_first_template_with_all_categories():
    drawn = set(draw(build(), 20))
    assert len(drawn) == 1
    (only,) = drawn
    assert only.categories == NAMES and only.label_ids == (0, 1, 2, 3)
    assert only.text.startswith(load_templates('detection')[0].split('<class>')[0])


def test_templates_are_drawn_from_the_whole_pool():
    texts = {i.text.split('{')[0] for i in draw(build(random_instruction=True), 600)}
    templates = [t.replace('<format>', '(c, x1, y1, x2, y2)') for t in load_templates('detection')]
    assert texts == {t.replace('<range>', '<p-512>..<p512>').split('<class>')[0] for t in templates}


def test_heldout_templates_are_not_those_of_training():
    (heldout,) = {i.text for i in draw(build(templates='heldout'), 5)}
    assert heldout.split('{')[0] == load_templates('detection', 'heldout')[0].split('<class>')[0]


def test_subsets_hold_negatives_and_keep_the_datasets_labels():
    drawn = draw(build(random_categories=1.0, min_categories=2))
    assert {len(i.categories) for i in drawn} == {2, 3, 4}
    for instruction in drawn:
        assert instruction.categories == tuple(NAMES[i] for i in instruction.label_ids)
        assert list(instruction.label_ids) == sorted(instruction.label_ids)
    # The objects of the image (0 and 3) have no say in what is asked for.
    assert any(set(i.label_ids) == {1, 2} for i in drawn)


def test_images_without_ground_truth_get_an_instruction_too():
    packed = build(random_categories=1.0)(dict(data_samples=DetDataSample()))
    assert packed['data_samples'].instruction.categories


def test_share_of_subsets_is_a_probability():
    sizes = [len(i.categories) for i in draw(build(random_categories=0.5, min_categories=1), 1000)]
    # Half of them are drawn, of these 3 in 4 are smaller than the whole set.
    assert abs(np.mean([size < 4 for size in sizes]) - 0.375) < 0.05


def test_order_is_shuffled_with_its_labels():
    drawn = draw(build(templates=['<class> <image>'], random_instruction=True), 300)
    assert len({i.label_ids for i in drawn}) == 24
    assert all(i.categories == tuple(NAMES[k] for k in i.label_ids) for i in drawn)


def test_same_seed_same_instructions():
    transform = build(random_instruction=True, random_categories=0.5)
    assert draw(transform, 20, seed=1) == draw(transform, 20, seed=1)
    assert draw(transform, 20, seed=1) != draw(transform, 20, seed=2)


def test_given_categories_are_offered_in_their_order():
    (only,) = set(draw(build(given_categories=['star', 'square']), 5))
    assert (only.categories, only.label_ids) == (('star', 'square'), (3, 1))


def test_names_of_a_dataset_that_mmdet_knows():
    (only,) = set(draw(build(categories='coco'), 2))
    assert len(only.categories) == 80 and only.categories[0] == 'person'


def test_underscores_are_spaces():
    """LVIS's names are "Band_Aid" in some lists and "Band Aid" in others; the instruction has what it was given."""
    lists = ['Band_Aid', 'air_conditioner', 'pen', 'cup', 'bed'], ['Band Aid', 'air conditioner', 'pen', 'cup', 'bed']
    for categories, classes in (lists, lists[::-1]):
        transform = build(categories=categories, given_categories=['pen', classes[0]])
        transform.set_classes(classes)
        (only,) = set(draw(transform, 2))
        assert (only.categories, only.label_ids) == (('pen', categories[0]), (2, 0))


def test_more_categories_than_one_instruction_takes_are_drawn_from():
    many = [f'kind {i}' for i in range(1203)]
    drawn = draw(build(categories=many, random_categories=1.0, max_categories=80), 300)
    sizes = [len(i.categories) for i in drawn]
    assert max(sizes) <= 80 and len(set(sizes)) > 50
    assert max(max(i.label_ids) for i in drawn) > 1100


def test_text_of_ones_own():
    (only,) = set(draw(build(templates=['Seek <class> in <image>'], num_bins=257), 2))
    assert only.text.endswith('Seek {"circle":<c0>,"square":<c1>,"triangle":<c2>,"star":<c3>} in <image>')


@pytest.mark.parametrize(
    ('kwargs', 'error', 'message'),
    [
        (dict(categories=[]), InstructionError, 'the category set is empty'),
        (dict(categories=['a', 'a']), InstructionError, 'more than once'),
        (dict(categories=['a', '<image>']), InstructionError, 'reserves'),
        (dict(given_categories=['moon']), InstructionError, r"not in categories: \['moon'\]"),
        (dict(given_categories=[]), InstructionError, 'the category set is empty'),
        (dict(categories=[str(i) for i in range(513)]), InstructionError, 'max_categories'),
        (dict(max_categories=513), InstructionError, r'max_categories=513 is out of 1\.\.512'),
        (dict(max_categories=0), InstructionError, r'max_categories=0 is out of 1\.\.512'),
        (dict(max_categories=2), InstructionError, 'random_categories=1.0'),
        (dict(min_categories=0), InstructionError, r'min_categories=0 is out of 1\.\.4'),
        (dict(min_categories=5), InstructionError, r'min_categories=5 is out of 1\.\.4'),
        (dict(random_categories=1.5), ValueError, 'random_categories must be a probability'),
        (dict(task='juggle'), ValueError, "unknown task 'juggle'"),
        (dict(templates='val'), ValueError, "unknown templates 'val'; choose one of .* a .yaml file"),
        (dict(templates=['Seek <class>']), InstructionError, 'must contain <image> exactly once'),
        (dict(templates=['<class> <image> (c, x1)']), FormatError, 'cannot read the output format'),
        (dict(templates=[]), InstructionError, 'nothing to ask with'),
        (dict(num_bins=1024), ValueError, 'odd number'),
    ],
)
def test_mistakes_show_when_the_pipeline_is_built(kwargs, error, message):
    with pytest.raises(error, match=message):
        build(**kwargs)


def test_repr_names_what_was_chosen():
    text = repr(build(random_instruction=True))
    assert 'num_categories=4' in text and 'random_instruction=True' in text
