"""The small configs: they build, and what one trains fits into the next."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import MODELS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'visionllm'
DETECTORS = sorted(path.stem for path in CONFIGS.glob('visionllm_tiny_*.py'))


def load(name):
    init_default_scope('mmdet')
    return Config.fromfile(CONFIGS / f'{name}.py')


def build(cfg):
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', DETECTORS)
def test_pretrained_language_model_fits(name):
    """The decoder takes every weight of the pretraining, whose last checkpoint the config names."""
    cfg = load(name)
    init_cfg = cfg.model.bbox_head.init_cfg
    work_dir, checkpoint = Path(init_cfg.checkpoint).parts[-2:]
    pretraining = load(work_dir)
    assert checkpoint == f'iter_{pretraining.train_cfg.max_iters}.pth'
    assert pretraining.default_hooks.checkpoint.interval == pretraining.train_cfg.max_iters
    ours = build(cfg).bbox_head.state_dict()
    theirs = build(pretraining).state_dict()
    prefix = f'{init_cfg.prefix}.'
    theirs = {k.removeprefix(prefix): v.shape for k, v in theirs.items() if k.startswith(prefix)}
    assert theirs == {key: value.shape for key, value in ours.items()}


@pytest.mark.parametrize('name', DETECTORS)
def test_schedule_ends_with_the_training(name):
    cfg = load(name)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.train_cfg.val_interval


@pytest.mark.parametrize('name', DETECTORS)
def test_pipelines_build(name):
    cfg = load(name)
    for pipeline in (cfg.train_dataloader.dataset.dataset.pipeline, cfg.test_dataloader.dataset.pipeline):
        steps = [TRANSFORMS.build(step) for step in pipeline]
        assert type(steps[-1]).__name__ == 'AttachInstruction'
        assert steps[-1].num_bins == cfg.model.bbox_head.language_model.num_bins
