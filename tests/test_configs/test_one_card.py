"""The configs for one card of 24 GB: Qwen2.5-0.5B in both stages, the paper's language model in stage 1."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmvisionllm.utils.meta_build import Count, build_on_meta, count_parameters

CONFIGS = Path(__file__).parents[2] / 'configs'
STAGE1 = CONFIGS / 'visionllm/visionllm_r50_qwen-0.5b_stage1_1xb2-12e_coco.py'
STAGE2 = CONFIGS / 'visionllm/visionllm_r50_qwen-0.5b_stage2_1xb2-12e_multitask.py'
STAGE1_7B = CONFIGS / 'visionllm/visionllm_r50_alpaca-7b_stage1_1xb1-12e_coco.py'
STAND_IN = str(CONFIGS / '_base_/tokenizers/scenes')


@pytest.fixture(scope='module', params=[STAGE1, STAGE2, STAGE1_7B], ids=['stage1', 'stage2', '7b-stage1'])
def cfg(request):
    return Config.fromfile(request.param)


@pytest.fixture(scope='module')
def models():
    stand_in = dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN)
    return [build_on_meta(Config.fromfile(path), stand_in) for path in (STAGE1, STAGE2)]


def test_sizes(models):
    first, second = (count_parameters(model) for model in models)
    assert first['language model'].total == 494_032_768  # as the model's card says: 0.49B
    assert not first['language model'].trainable
    # 16 bytes for each weight that trains, 2 for the others: the rest of 24 GB is for two images.
    trained = sum(count.trainable for count in first.values())
    assert 16 * trained + 2 * first['language model'].total < 5e9
    assert first['backbone'].trainable and not second['backbone'].trainable
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]


def test_the_papers_steps(cfg):
    counts = cfg.optim_wrapper.accumulative_counts
    assert cfg.train_dataloader.batch_size * counts == 32
    # mmengine's --auto-scale-lr knows an iteration's images, not that gradients are accumulated.
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.train_dataloader.sampler.get('batch_size', 2) == 2
    schedule = cfg.param_scheduler[0]
    assert schedule.T_max == schedule.end == cfg.train_cfg.max_iters
    batch_size = cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_iters == pytest.approx(12 * 118_287 / batch_size, rel=1e-3)
    hook = cfg.default_hooks.checkpoint
    assert not hook.by_epoch
    for interval in (hook.interval, cfg.train_cfg.val_interval):
        assert interval % counts == 0 and cfg.train_cfg.max_iters % interval == 0


def test_stage_2_goes_on_from_stage_1():
    work_dir, checkpoint = Path(Config.fromfile(STAGE2).load_from).parts[-2:]
    assert work_dir == STAGE1.stem
    assert checkpoint == f'iter_{Config.fromfile(STAGE1).train_cfg.max_iters}.pth'


def test_a_7b_models_checkpoint_is_small():
    cfg = Config.fromfile(STAGE1_7B)
    model = build_on_meta(cfg, dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN))
    counts = count_parameters(model)
    assert counts['language model'] == Count(0, 6_738_415_616)
    assert not counts['backbone'].trainable
    # What trains, and the backbone, which no other file has; in float32.
    saved = sum(count.trainable for count in counts.values()) + counts['backbone'].total
    assert 4 * saved < 400e6
    # The optimizer's states are rows and columns: next to nothing beside a matrix.
    matrix = torch.nn.Parameter(torch.ones(300, 200))
    model = torch.nn.ParameterDict(dict(matrix=matrix))
    wrapper = dict(cfg.optim_wrapper, paramwise_cfg=None)
    optim = build_optim_wrapper(model, wrapper)
    (matrix.sum() / 32).backward()
    optim.step()
    states = optim.state_dict()['state'][0]
    assert sum(torch.as_tensor(v).numel() for v in states.values()) < 510
