"""The small configs: they build, and what one trains fits into the next."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import MODELS, TRANSFORMS
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.models.necks.deformable_detr_weights import convert_deformable_detr
from mmvisionllm.utils.package_weights import SCHEME, load_package_weights

CONFIGS = Path(__file__).parents[2] / 'configs'
DETECTORS = sorted(path.stem for path in CONFIGS.glob('visionllm/visionllm*_tiny*_*.py'))
UNTRAINED = ('bbox_head.projector.linear.', 'bbox_head.projector.mlp.')
STAGE_2 = [name for name in DETECTORS if name.endswith('_stage2')]


def load(name):
    init_default_scope('mmdet')
    [path] = CONFIGS.glob(f'*/{name}.py')
    return Config.fromfile(path)


def build(cfg):
    return MODELS.build(cfg.model)


def weights_of(name):
    """Names and shapes of all that a config trains."""
    return {key: value.shape for key, value in build(load(name)).state_dict().items()}


def last_checkpoint(checkpoint):
    """The config that makes a checkpoint; its name is that of the last iteration's."""
    path = Path(checkpoint)
    config = load(path.parent.name)
    assert path.parent.parent.name == 'work_dirs'
    assert path.name == f'iter_{config.train_cfg.max_iters}.pth'
    assert config.train_cfg.max_iters % config.default_hooks.checkpoint.interval == 0
    return config


@pytest.mark.parametrize('name', sorted(path.stem for path in CONFIGS.glob('*/*_tiny*_*.py')))
def test_learning_rates_are_meant_for_the_batch_size(name):
    cfg = load(name)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=cfg.train_dataloader.batch_size)


@pytest.mark.parametrize('name', sorted(set(DETECTORS) - set(STAGE_2)))
def test_pretrained_language_model_fits(name):
    """The decoder takes every weight of the pretraining, whose last checkpoint the config names, or which ships."""
    cfg = load(name)
    assert not cfg.load_from
    init_cfg = cfg.model.bbox_head.init_cfg
    ours = {f'{init_cfg.prefix}.{k}': v.shape for k, v in build(cfg).bbox_head.state_dict().items()}
    if init_cfg.checkpoint.startswith(SCHEME):
        theirs = load_package_weights(init_cfg.checkpoint)['state_dict']
        theirs = {key: value.shape for key, value in theirs.items()}
        # Text does not train the projection of image tokens.
        ours = {k: v for k, v in ours.items() if not k.startswith(UNTRAINED)}
        if cfg.model.bbox_head.type == 'OpenEndedDecoder':  # takes what was learned of centers, see TokenProjector
            ours['bbox_head.projector.location.weight'] = torch.Size([256, 64])
    else:
        theirs = build(last_checkpoint(init_cfg.checkpoint)).state_dict()
        theirs = {k: v.shape for k, v in theirs.items() if k.startswith(f'{init_cfg.prefix}.')}
    assert theirs == ours


@pytest.mark.parametrize('name', [n for n in DETECTORS if n.endswith(('scenes', 'coco-mini'))])
def test_the_deformable_detr_that_a_config_starts_from_fits(name, tmp_path):
    cfg = load(name)
    start = last_checkpoint(cfg.model.init_cfg.checkpoint)
    detr = MODELS.build(start.model)
    detr.init_weights()
    torch.nn.init.normal_(detr.bbox_head.reg_branches[0][-1].weight)  # branches that differ are those of refined boxes
    path = tmp_path / 'detr.pth'
    meta = dict(dataset_meta=dict(classes=category_names(start.categories)))
    torch.save(dict(state_dict=detr.state_dict(), meta=meta), path)
    cfg.model.init_cfg.checkpoint = str(path)
    cfg.model.bbox_head.init_cfg = None
    model = build(cfg)
    model.init_weights()
    for name, weight in convert_deformable_detr(detr.state_dict(), model.neck.num_queries).items():
        torch.testing.assert_close(model.state_dict()[name], weight)


@pytest.mark.parametrize('name', STAGE_2)
def test_stage_2_goes_on_from_what_was_trained(name):
    """Every part takes its weights from the training whose last checkpoint the config names; outlines are new."""
    cfg = load(name)
    assert not cfg.load_from  # it would put stage 1's language model back
    ours = weights_of(name)
    taken = {}
    for part in ('backbone', 'neck', 'bbox_head'):
        init_cfg = cfg.model[part].init_cfg
        assert init_cfg.type == 'Pretrained' and init_cfg.prefix == part
        last_checkpoint(init_cfg.checkpoint)
        theirs = weights_of(Path(init_cfg.checkpoint).parent.name)
        taken |= {key: value for key, value in theirs.items() if key.startswith(f'{part}.')}
    new = ours.keys() - taken.keys()
    assert all(key.startswith('neck.outline_') for key in new)
    assert {key: ours[key] for key in ours.keys() - new} == taken


class Nothing(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, **kwargs):
        return dict(loss=self.weight)


class Record(Hook):
    def __init__(self, rates):
        self.rates = rates

    def after_train_iter(self, runner, *args, **kwargs):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


@pytest.mark.parametrize('name', DETECTORS)
def test_schedule_ends_with_the_training(name, tmp_path):
    cfg = load(name)
    runner = Runner(
        Nothing(),
        str(tmp_path),
        train_dataloader=dict(batch_size=1, sampler=dict(type='InfiniteSampler'), dataset=[{}]),
        train_cfg={k: v for k, v in cfg.train_cfg.items() if k != 'val_interval'} | dict(max_iters=60),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=name,
        default_scope='mmengine',
    )
    rates = []
    runner.register_hook(Record(rates))
    runner.train()
    assert rates[0] < 0.1 and max(rates) == pytest.approx(1) and rates[-1] < 0.1 and len(rates) == 60


@pytest.mark.parametrize('name', DETECTORS)
def test_pipelines_build(name):
    cfg = load(name)
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset):
        for part in dataset.get('datasets', [dataset]):
            steps = [TRANSFORMS.build(step) for step in part.pipeline]
            kinds = [type(step).__name__ for step in steps]
            attach, pack = kinds.index('AttachInstruction'), kinds.index('PackDetInputs')
            assert steps[attach].num_bins == cfg.model.bbox_head.language_model.num_bins
            assert attach > pack or 'instruction' in steps[pack].meta_keys


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
