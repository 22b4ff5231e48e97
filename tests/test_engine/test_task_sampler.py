# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Several data sets, one of them per iteration, the same in all processes."""

from collections import Counter
from itertools import islice

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner

from mmdet.datasets import ConcatDataset
from mmvisionllm.engine import SeededDataset, TaskSampler

SIZES = (10, 7, 4)


class Draws(BaseDataset):
    """Samples (number of the data set, index, random numbers)."""

    def __init__(self, number: int, length: int) -> None:
        self.number, self.length = number, length
        super().__init__(serialize_data=False)

    def load_data_list(self):
        return [dict() for _ in range(self.length)]

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([self.number, index, *torch.rand(2).tolist()]))


def make(sizes=SIZES):
    return SeededDataset(ConcatDataset([Draws(i, size) for i, size in enumerate(sizes)]))


@pytest.fixture
def dataset():
    return make()


def batches(sampler, count, rank=0, world_size=1):
    """The first batches (lists of indices in the joined data set) that a process gets."""
    sampler.rank, sampler.world_size = rank, world_size
    sampler.reseed(sampler.seed)
    indices = [index.index for index in islice(sampler, count * sampler.batch_size)]
    return [indices[i : i + sampler.batch_size] for i in range(0, len(indices), sampler.batch_size)]


def owner(sampler, batch):
    """The number of the data set that all of a batch's samples are from."""
    (number,) = {sum(index >= start for start in sampler.starts[1:]) for index in batch}
    return number


@pytest.mark.parametrize('world_size', [1, 3])
def test_one_data_set_per_iteration_in_all_processes(dataset, world_size):
    sampler = TaskSampler(dataset, [1, 1, 2], batch_size=2, seed=0)
    ranks = [batches(sampler, 40, rank, world_size) for rank in range(world_size)]
    drawn = []
    for together in zip(*ranks):
        drawn.append(owner(sampler, sum(together, [])))
    assert set(drawn) == {0, 1, 2}
    # No process sees what another one has just seen: a pass deals out each sample once.
    dealt = [i for together in zip(*ranks) for turn in zip(*together) for i in turn if i < SIZES[0]]
    assert sorted(dealt[: SIZES[0]]) == list(range(SIZES[0]))


def test_how_often_follows_the_weights(dataset):
    sampler = TaskSampler(dataset, [3, 1.5, 0], batch_size=2, seed=0)
    counts = Counter(owner(sampler, batch) for batch in batches(sampler, 3000))
    assert counts[2] == 0
    assert counts[0] / 3000 == pytest.approx(2 / 3, abs=0.03)


def test_a_pass_holds_every_sample_once_and_each_pass_has_another_order(dataset):
    sampler = TaskSampler(dataset, [1, 1, 1], batch_size=3, seed=0)
    of_each = {0: [], 1: [], 2: []}
    for batch in batches(sampler, 100):
        of_each[owner(sampler, batch)] += batch
    for number, indices in of_each.items():
        size, start = SIZES[number], sampler.starts[number]
        passes = [indices[i : i + size] for i in range(0, len(indices) - size + 1, size)]
        assert len(passes) > 3
        assert all(sorted(one) == list(range(start, start + size)) for one in passes)
        assert len({tuple(one) for one in passes}) > 1


def test_the_weights_of_others_do_not_change_a_data_sets_order(dataset):
    few, many = (TaskSampler(dataset, [w, 1, 1], batch_size=2, seed=0) for w in (1, 9))
    orders = []
    for sampler in (few, many):
        orders.append([i for batch in batches(sampler, 100) for i in batch if i < SIZES[0]][:20])
    assert orders[0] == orders[1]


def orders(seed):
    """In what order two data sets of one size are gone through first; positions in each of them."""
    sampler = TaskSampler(make((12, 12)), [1, 1], batch_size=2, seed=seed)
    drawn = [index for batch in batches(sampler, 60) for index in batch]
    return [i for i in drawn if i < 12][:12], [i - 12 for i in drawn if i >= 12][:12]


def test_every_data_set_and_every_seed_has_an_order_of_its_own():
    found = [tuple(order) for seed in (0, 1) for order in orders(seed)]
    assert all(sorted(order) == list(range(12)) for order in found)
    assert len(set(found)) == 4


def test_reproducible(dataset):
    first, again, other = (TaskSampler(dataset, [1, 1, 1], 2, seed=seed) for seed in (3, 3, 4))
    wanted = list(islice(first, 50))
    assert list(islice(again, 50)) == wanted
    assert list(islice(other, 50)) != wanted
    other.reseed(3)
    assert list(islice(other, 50)) == wanted
    assert len({index.key for index in wanted}) == 50  # each sample draws its own random numbers


@pytest.mark.parametrize('rank', [0, 1])
def test_skipping_is_going_on(dataset, rank):
    if not hasattr(TaskSampler, 'skip'):
        pytest.skip('mmengine 0.10 goes through the samples instead')
    sampler = TaskSampler(dataset, [1, 2, 1], batch_size=2, seed=0)
    sampler.rank, sampler.world_size = rank, 2
    sampler.reseed(0)
    wanted = list(islice(sampler, 40))
    sampler.skip(26)
    assert list(islice(sampler, 14)) == wanted[26:]


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_of_a_dataloader(dataset, workers):
    loader = dict(
        dataset=dataset,
        sampler=dict(type='mmdet.TaskSampler', weights=[1, 1, 1], batch_size=2),
        batch_size=2,
        num_workers=workers,
    )
    made = [batch['inputs'] for batch in islice(Runner.build_dataloader(loader, seed=0), 12)]
    assert all(len({sample[0].item() for sample in batch}) == 1 for batch in made)
    again = Runner.build_dataloader(dict(loader, num_workers=0), seed=0)
    torch.testing.assert_close([b['inputs'] for b in islice(again, 12)], made, rtol=0, atol=0)


def test_a_resumed_training_is_an_unbroken_one(toy):
    settings = dict(
        iters=9,
        dataset=make(),
        batch_size=2,
        sampler=dict(type='TaskSampler', weights=[1, 2, 1], batch_size=2),
        checkpoint=dict(interval=2),
    )
    unbroken = toy('unbroken', **settings).model.losses
    killed = toy('killed', kill=7, **settings).model.losses
    resumed = toy('killed', resume=True, **settings).model.losses
    assert killed == unbroken[:7] and resumed == unbroken[6:]


def test_checkpoints_know_the_classes_of_the_first_data_set():
    parts = [Draws(i, 3) for i in range(2)]
    for part, name in zip(parts, ('star', 'word')):
        part._metainfo = dict(classes=(name,))
    joined = ConcatDataset(parts)
    assert isinstance(joined.metainfo, list)
    assert SeededDataset(joined).metainfo['classes'] == ('star',)
    assert SeededDataset(parts[1]).metainfo['classes'] == ('word',)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ([1, 1], r'3 data sets, but weights=\[1, 1\]: give one for each'),
        ([1, 1, 1, 1], '3 data sets, but weights='),
        ([1, -1, 1], 'none of them negative'),
        ([0, 0, 0], 'not all of them zero'),
        ([1, 1, float('nan')], 'weights='),
        ([], 'weights='),
    ],
)
def test_weights_that_do_not_fit(dataset, weights, message):
    with pytest.raises(ValueError, match=message):
        TaskSampler(dataset, weights, batch_size=2)


def test_an_empty_data_set_needs_weight_0():
    empty = make((10, 0, 4))
    with pytest.raises(ValueError, match=r'data sets \[1\] are empty: give them weight 0'):
        TaskSampler(empty, [1, 1, 1], batch_size=2)
    sampler = TaskSampler(empty, [1, 0, 1], batch_size=2, seed=0)
    assert {index.index for index in islice(sampler, 100)} == set(range(14))


def test_other_datasets_are_refused(noise):
    plain = make().dataset
    for wrong, message in (
        (SeededDataset(noise), 'got SeededDataset around Noise'),
        (plain, 'TaskSampler needs a SeededDataset'),
        (noise, 'got Noise around NoneType'),
    ):
        with pytest.raises(TypeError, match=message):
            TaskSampler(wrong, [1, 1, 1], batch_size=2)
