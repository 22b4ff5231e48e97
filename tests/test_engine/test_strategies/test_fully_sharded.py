# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Two processes that divide the model's weights compute what one process computes."""

import json

import pytest
import torch
from many_processes import assert_close, equal_config, flexible, mixed_config, train_together
from torch import nn

from mmvisionllm.engine.strategies.fully_sharded import full, sharding_units

SHARDED = dict(type='FullyShardedStrategy')
LORA = {
    'model.bbox_head.language_model.torch_dtype': 'bfloat16',
    'model.bbox_head.language_model.gradient_checkpointing': True,
    'model.bbox_head.language_model.lora': dict(r=4, target_modules='all-linear'),
}


def test_units_are_what_parts_name(small):
    model = small.build(small.detector(bbox_head__language_model__lora=dict(r=2, target_modules='all-linear')))
    kinds = [type(unit).__name__ for unit in sharding_units(model)]
    assert kinds.count('LlamaDecoderLayer') == 2
    assert 'BertLayer' in kinds
    layer = nn.Sequential(nn.Linear(1, 1))
    layer._no_split_modules = ['Linear']
    assert list(sharding_units(layer)) == [layer[0]]


def test_states_without_shards_stay_as_they_are():
    state = dict(a=[torch.ones(1), 2], b=dict(c='d'))
    assert full(state) == state


@pytest.fixture(scope='module')
def unbroken(scenes, tmp_path_factory):
    """Work directory and losses of a sharded training, with checkpoints after iterations 2 and 4."""
    work_dir = tmp_path_factory.mktemp('unbroken')
    return work_dir, train_together(flexible(equal_config(scenes, work_dir, 2), **SHARDED), 2)


@pytest.mark.slow
def test_detection(unbroken, alone):
    assert_close(unbroken[1], alone)


@pytest.mark.slow
def test_starts_from_a_checkpoint_of_one_process(scenes, tmp_path, alone, second_stage):
    checkpoint, losses = second_stage
    cfg = flexible(equal_config(scenes, tmp_path, 2, load_from=checkpoint), **SHARDED)
    assert_close(train_together(cfg, 2), losses)
    assert losses[0] != alone[0]


@pytest.mark.slow
def test_mixed_tasks(scenes, tmp_path, alone_mixed):
    cfg = flexible(mixed_config(scenes, tmp_path, 2, iters=8), **SHARDED)
    assert_close(train_together(cfg, 2), alone_mixed)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 0])
def test_resume(scenes, unbroken, tmp_path, processes):
    """With as many processes exactly; with one, and mmengine's plain runner, within rounding."""
    work_dir, losses = unbroken
    assert not list(work_dir.glob('.iter_*'))
    cfg = equal_config(scenes, tmp_path, 2 if processes else 4)
    if processes:
        cfg = flexible(cfg, **SHARDED)
    cfg.load_from = str(work_dir / 'iter_2.pth')
    resumed = train_together(cfg, processes, resume=True)
    if processes:
        assert resumed == losses[2:]
    else:
        assert_close(resumed, losses[2:])


@pytest.mark.slow
def test_validation(scenes, tmp_path):
    """Formats and texts are read and written by one process while the other has none to read or write."""
    metrics = {}
    for name, processes in (('one', 0), ('two', 2)):
        cfg = mixed_config(scenes, tmp_path / name, 4 if name == 'one' else 2, iters=3, validate=True)
        train_together(flexible(cfg, **SHARDED) if processes else cfg, processes)
        metrics[name] = json.loads((tmp_path / name / 'metrics.json').read_text())
    assert len(metrics['one']) > 20
    assert metrics['two'] == pytest.approx(metrics['one'], abs=1e-3, nan_ok=True)


@pytest.mark.slow
def test_resumes_from_the_newest_whole_checkpoint(scenes, tmp_path):
    """FlexibleRunner looks for it before hooks are called."""
    cfg = flexible(equal_config(scenes, tmp_path, 2, iters=4), **SHARDED)
    losses = train_together(cfg, 2)
    newest = tmp_path / 'iter_4.pth'
    newest.write_bytes(newest.read_bytes()[:1000])
    assert train_together(cfg, 2, resume=True) == losses + losses[2:]


@pytest.mark.slow
def test_frozen_bfloat16_with_adapters_in_float32(scenes, tmp_path):
    """The paper's kind of language model. In bfloat16, a sum's order shows."""
    alone = train_together(equal_config(scenes, tmp_path / 'one', 4, **LORA), 0)
    cfg = flexible(equal_config(scenes, tmp_path / 'two', 2, **LORA), **SHARDED)
    assert_close(train_together(cfg, 2), alone, rel=0.02)
    first, second = (
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict'] for name in ('one', 'two')
    )
    assert {k: (v.shape, v.dtype) for k, v in first.items()} == {k: (v.shape, v.dtype) for k, v in second.items()}
