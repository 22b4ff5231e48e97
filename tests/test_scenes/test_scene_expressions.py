import pickle

import numpy as np
import pytest

from mmdet.registry import DATASETS
from mmvisionllm.scenes import CATEGORIES


def build(**kwargs):
    return DATASETS.build(dict(type='SceneExpressionDataset', length=40, **kwargs))


def samples(**kwargs):
    dataset = build(**kwargs)
    return [dataset[i]['sample'] for i in range(len(dataset))]


def test_sample_depends_on_seed_and_index_alone():
    first, again, other = build(seed=3), build(seed=3), build(seed=4)
    expected = [pickle.dumps(first[i]) for i in range(5)]
    np.random.seed(7)  # global randomness has no say
    assert [pickle.dumps(again[i]) for i in (4, 3, 2, 1, 0)][::-1] == expected
    assert pickle.dumps(other[0]) != expected[0]


def test_a_share_of_the_samples_are_categories_to_look_up():
    names = DATASETS.build(dict(type='SceneTextDataset', length=40, num_objects=5))
    mixed, never = build(lookups=0.5, num_objects=5), build()
    same = [pickle.dumps(mixed[i]) == pickle.dumps(names[i]) for i in range(40)]
    assert 10 < sum(same) < 30
    assert all(set(mixed[i]['sample'].names) <= set(CATEGORIES) for i in range(40) if same[i])
    assert not any(pickle.dumps(never[i]) == pickle.dumps(names[i]) for i in range(40))
    assert {mixed[i]['sample'].noise for i in range(40)} == {0.2, 1.0}


def test_a_share_of_the_samples_are_objects_drawn_freely():
    mixed = samples(described=0.5, num_objects=24)
    drawn = [len(sample.names) == 24 for sample in mixed]  # a scene holds eight at most
    assert 10 < sum(drawn) < 30
    assert not any(sample.answers for sample, is_drawn in zip(mixed, drawn) if is_drawn)


@pytest.mark.parametrize('described', [0.0, 1.0])
def test_objects_are_described_and_inside_the_image(described):
    for sample in samples(described=described):
        count = len(sample.names)
        assert sample.boxes.shape == (count, 4) and sample.boxes.dtype == np.float32
        assert len(sample.classes) == count > 0
        assert all(name.endswith(CATEGORIES) for name in sample.names)
        center, extent = sample.boxes[:, :2], sample.boxes[:, 2:]
        assert (extent > 0).all()
        assert (center - extent / 2 >= 0).all() and (center + extent / 2 <= 1).all()


@pytest.mark.parametrize('single', [0.0, 1.0])
def test_an_expression_means_one_object_or_none(single):
    """The object that it means has all the words of a plain description."""
    found = samples(single=single, empty=0.0)
    for sample in found:
        expressions = sample.instruction.categories
        assert sorted(c for c in sample.classes if c >= 0) == list(range(len(expressions)))
        for name, column in zip(sample.names, sample.classes):
            if column >= 0:
                words = expressions[column].split()
                assert sum(word in name.split() for word in words) > 0
    sizes = [len(sample.instruction.categories) for sample in found]
    assert (max(sizes) == 1) == bool(single)
    assert {s.instruction.task for s in found} >= ({'grounding'} if single else {'detection'})


def test_an_expression_that_nothing_fits():
    found = [s for s in samples(single=1.0, empty=1.0) if set(s.classes) == {-1}]
    assert len(found) > 30  # a very full scene may have none


def test_formats_to_read():
    numbers = set()
    for sample in samples(num_points=(8, 12)):
        grounding, polygons = sample.formats
        assert grounding == sample.instruction and grounding.output_format.num_points == 2
        numbers.add(polygons.output_format.num_points)
    assert numbers == {8, 9, 10, 11, 12}


def test_questions_and_captions_to_answer_with():
    found = [answer for sample in samples(questioned=1.0, captioned=1.0) for answer in sample.answers]
    for instruction, turns in found:
        assert instruction.output_format.is_text and len(turns) % 2 == 1
        assert all(turn.strip() == turn and turn for turn in turns)
        assert all(question.endswith('?') for question in turns[1::2])
        assert len(turns) == 1 or instruction.task == 'vqa'
    tasks = [instruction.task for instruction, _ in found]
    assert tasks.count('captioning') == 40 and tasks.count('vqa') > 35  # there may be nothing clear to ask
    assert max(len(turns) for _, turns in found) > 7
    assert max(len(turns) for s in samples(num_questions=2) for _, turns in s.answers) == 3
    assert not any(s.answers for s in samples(questioned=0.0, captioned=0.0))


def test_scenes_are_easy_at_first():
    dataset = DATASETS.build(dict(type='SceneExpressionDataset', length=90, num_easy=80))
    sizes = [len(dataset[i]['sample'].names) for i in range(90)]
    assert set(sizes[:11]) == {1}
    assert all(size <= 1 + i * 7 // 80 for i, size in enumerate(sizes[:80]))
    assert max(sizes[60:]) > 4
