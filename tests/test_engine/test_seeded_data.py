# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Samples depend on the seed and their place in the training, not on workers and history."""

import copy
import pickle
import random
from itertools import islice

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner

from mmdet.datasets import CocoDataset
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmvisionllm.engine import SeededDataset, SeededDefaultSampler, SeededInfiniteSampler
from mmvisionllm.engine.seeded_data import SeededIndex


@pytest.fixture
def dataset(noise):
    return SeededDataset(noise)


def batches(dataset, sampler, workers=0, seed=0, count=9):
    """The first batches of a dataloader as mmengine builds it."""
    loader = Runner.build_dataloader(
        dict(dataset=dataset, sampler=dict(type=f'mmdet.{sampler}'), batch_size=3, num_workers=workers), seed=seed
    )
    return [batch['inputs'] for batch in islice(loader, count)]


@pytest.mark.parametrize('sampler', ['SeededInfiniteSampler', 'SeededDefaultSampler'])
def test_samples_do_not_depend_on_workers_or_history(dataset, sampler):
    count = 9 if sampler == 'SeededInfiniteSampler' else 3  # the infinite one goes through several epochs
    expected = batches(dataset, sampler, count=count)
    random.seed(5)
    torch.manual_seed(5)
    torch.testing.assert_close(batches(dataset, sampler, count=count), expected, rtol=0, atol=0)
    torch.testing.assert_close(batches(dataset, sampler, 2, count=count), expected, rtol=0, atol=0)
    other = batches(dataset, sampler, seed=1, count=count)
    assert not torch.equal(torch.stack(other[0]), torch.stack(expected[0]))


@pytest.mark.parametrize('sampler', ['SeededInfiniteSampler', 'SeededDefaultSampler'])
def test_a_sample_is_drawn_anew_in_every_epoch(dataset, sampler):
    if sampler == 'SeededInfiniteSampler':
        samples = [sample for batch in batches(dataset, sampler, count=10) for sample in batch]
    else:
        order, samples = SeededDefaultSampler(dataset, seed=0), []
        for epoch in range(3):
            order.set_epoch(epoch)
            samples += [dataset[index]['inputs'] for index in order]
    of_one = [sample for sample in samples if sample[0] == 4]
    assert len(of_one) == 3
    assert len({tuple(sample.tolist()) for sample in of_one}) == 3


@pytest.mark.parametrize(
    'ours, theirs', [(SeededInfiniteSampler, InfiniteSampler), (SeededDefaultSampler, DefaultSampler)]
)
@pytest.mark.parametrize('shuffle', [True, False])
def test_order_is_that_of_mmengine(dataset, ours, theirs, shuffle):
    a, b = ours(dataset, shuffle=shuffle, seed=3), theirs(dataset, shuffle=shuffle, seed=3)
    assert len(a) == len(b)
    assert [index.index for index in islice(a, 25)] == list(islice(b, 25))
    a.reseed(4)
    b = theirs(dataset, shuffle=shuffle, seed=4)
    assert [index.index for index in islice(a, 25)] == list(islice(b, 25))


def test_part_of_an_epoch(dataset):
    sampler = SeededDefaultSampler(dataset, seed=0)
    whole = list(sampler)
    sampler.skip_once(4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    sampler.skip_once(len(dataset) + 2)  # the last batch may have been a small one
    assert list(sampler) == []


@pytest.mark.parametrize('sampler', [SeededInfiniteSampler, SeededDefaultSampler])
def test_samplers_refuse_other_datasets(noise, sampler):
    with pytest.raises(TypeError, match=f'{sampler.__name__} needs a SeededDataset, got Noise'):
        sampler(noise)


def test_the_wrapped_dataset_shines_through(scenes):
    config = dict(
        type='mmdet.CocoDataset',
        data_root=str(scenes),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    dataset = SeededDataset(config)
    assert isinstance(dataset.dataset, CocoDataset)
    assert len(dataset) == 24 and dataset.metainfo is not None
    assert dataset[3]['img_id'] == dataset[SeededIndex(3, (0,))]['img_id'] == 4
    assert dataset.get_data_info(SeededIndex(3, (0,)))['img_id'] == 4
    assert dataset.get_cat_ids(3) == dataset.dataset.get_cat_ids(3)
    with pytest.raises(AttributeError, match='no_such'):
        dataset.no_such  # noqa: B018
    for clone in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert clone[3]['img_id'] == 4
    dataset.pipeline = lambda info: 'switched'  # as mmdet's PipelineSwitchHook does
    assert dataset[0] == 'switched' and dataset.pipeline is dataset.dataset.pipeline


def test_grouping_by_aspect_ratio(dataset):
    sampler = SeededDefaultSampler(dataset, seed=0)
    groups = list(AspectRatioBatchSampler(sampler, batch_size=2))
    assert sorted(index.index for group in groups for index in group) == list(range(10))
    wide = [{dataset.get_data_info(index)['width'] >= 2 for index in group} for group in groups[:4]]
    assert all(len(kinds) == 1 for kinds in wide)
