"""The small configs: they build, and what one trains fits into the next."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import MODELS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'visionllm'
DETECTORS = sorted(path.stem for path in CONFIGS.glob('visionllm_tiny_*.py'))
STAGE_2 = [name for name in DETECTORS if name.endswith('_stage2')]


def load(name):
    init_default_scope('mmdet')
    return Config.fromfile(CONFIGS / f'{name}.py')


def build(cfg):
    return MODELS.build(cfg.model)


def weights_of(name):
    """Names and shapes of all that a config trains."""
    return {key: value.shape for key, value in build(load(name)).state_dict().items()}


@pytest.mark.parametrize('name', sorted(set(DETECTORS) - set(STAGE_2)))
def test_pretrained_language_model_fits(name):
    """The decoder takes every weight of the pretraining, whose last checkpoint the config names."""
    cfg = load(name)
    assert not cfg.load_from
    init_cfg = cfg.model.bbox_head.init_cfg
    work_dir, checkpoint = Path(init_cfg.checkpoint).parts[-2:]
    pretraining = load(work_dir)
    assert checkpoint == f'iter_{pretraining.train_cfg.max_iters}.pth'
    assert pretraining.default_hooks.checkpoint.interval == pretraining.train_cfg.max_iters
    ours = build(cfg).bbox_head.state_dict()
    prefix = f'{init_cfg.prefix}.'
    theirs = weights_of(work_dir)
    theirs = {k.removeprefix(prefix): v for k, v in theirs.items() if k.startswith(prefix)}
    assert theirs == {key: value.shape for key, value in ours.items()}


@pytest.mark.parametrize('name', STAGE_2)
def test_stage_2_goes_on_from_what_was_trained(name):
    """Every part takes all its weights from the training whose last checkpoint the config names."""
    cfg = load(name)
    assert not cfg.load_from  # it would put stage 1's language model back
    ours = weights_of(name)
    taken = {}
    for part in ('backbone', 'neck', 'bbox_head'):
        init_cfg = cfg.model[part].init_cfg
        assert init_cfg.type == 'Pretrained' and init_cfg.prefix == part
        work_dir, checkpoint = Path(init_cfg.checkpoint).parts[-2:]
        assert checkpoint == f'iter_{load(work_dir).train_cfg.max_iters}.pth'
        theirs = weights_of(work_dir)
        taken |= {key: value for key, value in theirs.items() if key.startswith(f'{part}.')}
    assert ours == taken


@pytest.mark.parametrize('name', DETECTORS)
def test_schedule_ends_with_the_training(name):
    cfg = load(name)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.train_cfg.val_interval


@pytest.mark.parametrize('name', DETECTORS)
def test_pipelines_build(name):
    cfg = load(name)
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset):
        for part in dataset.get('datasets', [dataset]):
            steps = [TRANSFORMS.build(step) for step in part.pipeline]
            assert type(steps[-1]).__name__ == 'AttachInstruction'
            assert steps[-1].num_bins == cfg.model.bbox_head.language_model.num_bins


@pytest.mark.parametrize('name', [n for n in DETECTORS if n.endswith(('stage2', 'multitask'))])
def test_one_weight_prefix_and_metric_for_each_task(name):
    cfg = load(name)
    train, test = cfg.train_dataloader, cfg.test_dataloader.dataset.datasets
    assert len(train.sampler.weights) == len(train.dataset.dataset.datasets)
    assert train.sampler.batch_size == train.batch_size
    evaluator = cfg.test_evaluator
    assert len(evaluator.dataset_prefixes) == len(evaluator.metrics) == len(test)
    tasks = [part.pipeline[-1].get('task', 'detection') for part in test]
    assert list(evaluator.dataset_prefixes) == tasks
    assert tasks == [d.pipeline[-1].get('task', 'detection') for d in train.dataset.dataset.datasets]
