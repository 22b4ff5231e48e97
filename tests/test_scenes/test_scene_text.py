import pickle
from functools import cache

import numpy as np
import pytest

from mmdet.registry import DATASETS
from mmvisionllm.instructions.instruction import parse_categories
from mmvisionllm.scenes import CATEGORIES
from mmvisionllm.scenes.generator import image_rng
from mmvisionllm.scenes.scene import random_scene
from mmvisionllm.scenes.scene_text import sample_rng


def build(**kwargs):
    return DATASETS.build(dict(type='SceneTextDataset', length=30, **kwargs))


@cache
def samples(**kwargs):
    dataset = build(**kwargs)
    return [dataset[i]['sample'] for i in range(len(dataset))]


def test_sample_depends_on_seed_and_index_alone():
    first, again, other = build(seed=3), build(seed=3), build(seed=4)
    expected = pickle.dumps([first[i]['sample'].texts for i in range(5)])
    np.random.seed(7)  # global randomness has no say
    assert pickle.dumps([again[i]['sample'].texts for i in (4, 3, 2, 1, 0)][::-1]) == expected
    np.testing.assert_array_equal(first[2]['sample'].boxes, again[2]['sample'].boxes)
    assert first[2]['sample'].instruction == again[2]['sample'].instruction
    assert first[2]['sample'].instruction != other[2]['sample'].instruction
    assert len(first) == 30


@pytest.mark.parametrize('seed', [0, 1])
def test_no_sample_is_of_a_rendered_scene_of_the_same_seed(seed):
    scenes = [random_scene(sample_rng(seed, i)) for i in range(30)]
    assert scenes[3] == random_scene(sample_rng(seed, 3)) and scenes[3] not in scenes[:3]
    for split in ('train', 'val'):
        for index in range(10):
            assert random_scene(image_rng(seed, split, index)) not in scenes


def test_objects_have_names_and_boxes_inside_the_image():
    for sample in samples():
        assert sample.boxes.shape == (len(sample.names), 4) and sample.boxes.dtype == np.float32
        assert set(sample.names) <= set(CATEGORIES)
        center, extent = sample.boxes[:, :2], sample.boxes[:, 2:]
        assert (extent > 0).all()
        assert (center - extent / 2 >= -1e-6).all() and (center + extent / 2 <= 1 + 1e-6).all()


def test_instructions_vary_in_words_categories_and_order():
    found = [s.instruction for s in samples()]
    assert all(parse_categories(i.text) == i.categories for i in found)
    assert len({i.text.split('{')[0] for i in found}) > 10
    assert len({len(i.categories) for i in found}) > 3
    assert len({i.categories[0] for i in found}) > 3


def test_some_objects_are_not_asked_for():
    asked = [name in s.instruction.categories for s in samples() for name in s.names]
    assert 0.5 < np.mean(asked) < 1


def test_texts_are_sentences():
    for sample in samples():
        assert len(sample.texts) >= 3
        assert all(text.strip() == text and text for text in sample.texts)
        assert any(text.startswith('(c, x1') and '<cls><x1>' in text for text in sample.texts)


@pytest.mark.parametrize('num_bins', [257, 1025])
def test_range_follows_the_bins(num_bins):
    assert any(f'<p{num_bins // 2}>' in s.instruction.text for s in samples(num_bins=num_bins))


def test_names_of_another_dataset():
    found = samples(categories='coco', max_categories=20, num_objects=5)
    assert max(len(s.instruction.categories) for s in found) == 20
    assert all(len(s.names) == 5 for s in found)
    assert build(categories='coco').metainfo['classes'][0] == 'person'


def test_the_first_samples_are_easy():
    dataset = DATASETS.build(dict(type='SceneTextDataset', length=60, num_easy=30))
    sizes = [len(dataset[i]['sample'].instruction.categories) for i in range(60)]
    assert max(sizes[:30]) == 3 and max(sizes[30:]) == 10
    # The others are what they are without easy ones before them.
    plain = DATASETS.build(dict(type='SceneTextDataset', length=60))
    assert plain[45]['sample'].instruction == dataset[45]['sample'].instruction
