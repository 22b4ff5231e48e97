# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""DeepSpeed's ZeRO on two CPU processes computes what one process computes."""

import pytest
import torch
from many_processes import assert_close, equal_config, flexible, mixed_config, train_together
from mmengine.registry import STRATEGIES

ZERO2 = dict(type='DeepSpeedZeROStrategy', zero_optimization=dict(stage=2))


@pytest.fixture
def deepspeed(monkeypatch):
    """Skips without it; else on the CPU, also where there is a GPU."""
    monkeypatch.setenv('DS_ACCELERATOR', 'cpu')
    return pytest.importorskip('deepspeed')


def test_without_deepspeed(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'deepspeed', None)
    with pytest.raises(ImportError, match='pip install deepspeed'):
        STRATEGIES.build(dict(ZERO2))


def test_stage_3_is_refused(deepspeed, tmp_path):
    with pytest.raises(ValueError, match='FullyShardedStrategy'):
        STRATEGIES.build(dict(ZERO2, work_dir=str(tmp_path), zero_optimization=dict(stage=3)))


def test_optimizer_wrappers_that_do_not_fit(deepspeed, tmp_path):
    strategy = STRATEGIES.build(dict(ZERO2, work_dir=str(tmp_path)))
    optimizer = dict(type='AdamW', lr=1e-3)
    with pytest.raises(ValueError, match='leave --amp out'):
        strategy.build_optim_wrapper(dict(type='AmpOptimWrapper', optimizer=optimizer))
    with pytest.raises(ValueError, match='2-norm alone'):
        strategy.build_optim_wrapper(dict(optimizer=optimizer, clip_grad=dict(type='value', clip_value=1)))


@pytest.mark.slow
def test_detection_and_resume(deepspeed, scenes, tmp_path, alone):
    cfg = flexible(equal_config(scenes, tmp_path / 'unbroken', 2), **ZERO2)
    losses = train_together(cfg, 2)
    assert_close(losses, alone)
    cfg.load_from = str(tmp_path / 'unbroken' / 'iter_2.pth')
    cfg.work_dir = str(tmp_path / 'resumed')
    assert train_together(cfg, 2, resume=True) == losses[2:]


@pytest.mark.slow
def test_frozen_weights_are_not_saved(deepspeed, scenes, tmp_path):
    """A language model in bfloat16 with adapters in float32 trains and resumes without them."""
    changes = {
        'model.bbox_head.language_model.torch_dtype': 'bfloat16',
        'model.bbox_head.language_model.lora': dict(r=4, target_modules='all-linear'),
    }
    cfg = flexible(equal_config(scenes, tmp_path / 'unbroken', 2, **changes), **ZERO2, exclude_frozen_parameters=True)
    losses = train_together(cfg, 2)
    saved = tmp_path / 'unbroken/iter_2.pth/mp_rank_00_model_states.pt'
    names = torch.load(saved, weights_only=False)['module']
    assert any('.lora_' in name for name in names)
    assert not any('embed_tokens' in name or 'base_layer' in name for name in names)
    cfg.load_from = str(tmp_path / 'unbroken/iter_2.pth')
    cfg.work_dir = str(tmp_path / 'resumed')
    assert train_together(cfg, 2, resume=True) == losses[2:]


def test_resumes_from_its_own_checkpoints_alone(deepspeed, tmp_path):
    strategy = STRATEGIES.build(dict(ZERO2, work_dir=str(tmp_path)))
    (tmp_path / 'iter_2.pth').touch()
    with pytest.raises(ValueError, match='not saved by DeepSpeed'):
        strategy.resume(str(tmp_path / 'iter_2.pth'))


@pytest.mark.slow
def test_starts_from_a_checkpoint_of_one_process(deepspeed, scenes, tmp_path, alone, second_stage):
    checkpoint, losses = second_stage
    cfg = flexible(equal_config(scenes, tmp_path, 2, load_from=checkpoint), **ZERO2)
    assert_close(train_together(cfg, 2), losses)
    assert losses[0] != alone[0]


@pytest.mark.slow
def test_mixed_tasks(deepspeed, scenes, tmp_path):
    """One process is told to have zeros where an iteration's task leaves weights without gradient."""
    changes = {'optim_wrapper.type': 'ZeroFilledOptimWrapper'}
    alone = train_together(mixed_config(scenes, tmp_path / 'one', 4, iters=8, **changes), 0)
    cfg = flexible(mixed_config(scenes, tmp_path / 'two', 2, iters=8), **ZERO2)
    assert_close(train_together(cfg, 2), alone)


@pytest.mark.slow
def test_accumulated_gradients(deepspeed, scenes, tmp_path):
    """Half of the batch in each process, a quarter at a time; a batch's losses are normalized on their own."""
    changes = {'optim_wrapper.accumulative_counts': 2}
    alone = train_together(equal_config(scenes, tmp_path / 'one', 4, **changes), 0)
    cfg = flexible(equal_config(scenes, tmp_path / 'two', 2, **changes), **ZERO2)
    assert_close(train_together(cfg, 2), alone)
