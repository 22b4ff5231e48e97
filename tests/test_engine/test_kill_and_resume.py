# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Processes that train a small VisionLLM are killed with SIGKILL and resumed."""

import random
from pathlib import Path

import pytest
import torch
from small_training import CHECKPOINT_INTERVAL, MAX_ITERS, read_log, small_config, train


@pytest.fixture(scope='module')
def unbroken(scenes, tmp_path_factory):
    """Work directory of a training that nobody disturbed."""
    cfg = small_config(scenes, tmp_path_factory.mktemp('unbroken'), workers=0)
    train(cfg)
    begin, *steps, validation = read_log(cfg.work_dir)
    assert begin == ['start', 0, None] and validation == ['val', MAX_ITERS, None]
    assert [step[:2] for step in steps] == [['train', i] for i in range(MAX_ITERS)]
    assert len({losses['loss'] for *_, losses in steps}) == MAX_ITERS  # equal losses would prove nothing
    return Path(cfg.work_dir)


def tensors(work_dir):
    """Weights and the optimizer's state at the end."""
    checkpoint = torch.load(Path(work_dir, f'iter_{MAX_ITERS}.pth'), weights_only=False)
    return checkpoint['state_dict'], checkpoint['optimizer']['state']


def starts(work_dir):
    """Iterations at which the trainings of this work directory began."""
    return [iteration for what, iteration, _ in read_log(work_dir) if what == 'start']


def check_equal(work_dir, unbroken):
    """All that was ever logged, before kills and after them, is what the unbroken training logged."""
    expected = [record for record in read_log(unbroken) if record[0] != 'start']
    records = [record for record in read_log(work_dir) if record[0] != 'start']
    for record in records:
        assert record in expected, f'trainings began at {starts(work_dir)}'
    assert all(record in records for record in expected)
    torch.testing.assert_close(tensors(work_dir), tensors(unbroken), rtol=0, atol=0)


@pytest.mark.parametrize('workers', [2, pytest.param(0, marks=pytest.mark.slow)])
def test_killed_at_random_times(scenes, unbroken, tmp_path, workers):
    cfg = small_config(scenes, tmp_path, workers)
    for kill, first in enumerate((1, 5, 9)):
        iteration = first + random.randrange(CHECKPOINT_INTERVAL)
        train(cfg, resume=kill > 0, kill=(iteration, random.uniform(0, 0.1)))
    train(cfg, resume=True)
    begins = starts(tmp_path)
    assert len(begins) == 4 and begins == sorted(begins) and begins[3] > begins[1]
    assert all(begin % CHECKPOINT_INTERVAL == 0 for begin in begins)
    check_equal(tmp_path, unbroken)


def test_killed_at_the_worst_moments(scenes, unbroken, tmp_path):
    """While a checkpoint is written, before it gets its name, before the old one is removed; the pointer lost."""
    cfg = small_config(scenes, tmp_path, workers=0)
    train(cfg, deadly=('fsync', 1))
    assert {path.suffix for path in tmp_path.glob('*iter_*')} == {'.tmp'}  # the checkpoint of iteration 3
    train(cfg, resume=True, deadly=('replace', 2))
    assert [path.name for path in tmp_path.glob('iter_*')] == ['iter_3.pth']
    train(cfg, resume=True, deadly=('remove', 1))
    assert {path.name for path in tmp_path.glob('iter_*')} == {'iter_3.pth', 'iter_6.pth'}
    (tmp_path / 'last_checkpoint').write_text('')
    train(cfg, resume=True)
    assert starts(tmp_path) == [0, 0, 3, 6]
    check_equal(tmp_path, unbroken)
