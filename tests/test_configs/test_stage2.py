"""Stage 2 of the embedded default on a few scenes: all of its data sets, losses and metrics."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.loops import ValLoop

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import DATASETS, MODELS
from mmvisionllm.instructions import TASKS
from mmvisionllm.scenes.generator import SceneSettings, make_scenes

CONFIG = Path(__file__).parents[2] / 'configs/visionllm/visionllm_tiny_scenes_stage2.py'
SETS = ('detection', 'segmentation', 'grounding')
TEXTS = ('captioning', 'vqa')


@pytest.fixture(scope='module')
def cfg(tmp_path_factory, moved):
    """The config on a folder of its own."""
    folder = tmp_path_factory.mktemp('scenes')
    make_scenes(folder, SceneSettings(train=6, val=1, seed=0, image_size=128, max_objects=4))
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    for part in ('backbone', 'neck', 'bbox_head'):
        cfg.model[part].init_cfg = None  # the trainings before are not made here
    return moved(cfg, 'data/scenes/', f'{folder}/')


@pytest.fixture(scope='module')
def model(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def datasets(cfg):
    """The training sets by their tasks."""
    parts = cfg.train_dataloader.dataset.dataset.datasets
    return dict(zip(cfg.tasks, map(DATASETS.build, parts)))


def prepared(model, samples):
    return model.data_preprocessor(pseudo_collate(samples), True)


def loss_of(model, samples):
    model.zero_grad()
    losses = model.train()(**prepared(model, samples), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is None for p in model.backbone.parameters())  # frozen
    return losses


def test_samples_are_of_their_tasks(datasets):
    assert tuple(datasets) == SETS + TEXTS
    for task, dataset in datasets.items():
        for i in range(min(len(dataset), 3)):
            sample = dataset[i]['data_samples']
            assert sample.instruction.task == task
            assert ('gt_turns' in sample) == (task in TEXTS)
            if task == 'segmentation':
                number = sample.instruction.output_format.num_points
                assert 8 <= number <= 24
                assert sample.gt_instances.points.shape[1:] == (number, 2)
                assert len(sample.gt_instances.points) == len(sample.gt_instances.bboxes)


@pytest.mark.parametrize('task', SETS + TEXTS)
def test_loss(model, datasets, task):
    losses = loss_of(model, [datasets[task][i] for i in range(2)])
    assert 'loss_dec_format' in losses
    assert ('loss_dec_text' in losses) == (task in TEXTS)
    assert ('loss_dec_loc' in losses) == (task in SETS)
    # The tokenizer learns from every task.
    assert model.neck.decoder.layers[0].ffn.layers[1].weight.grad is not None


def test_loss_of_a_mixed_batch(model, datasets):
    losses = loss_of(model, [dataset[0] for dataset in datasets.values()])
    assert {'loss_dec_text', 'loss_dec_loc', 'loss_dec_format'} <= set(losses)


def test_training_batches_are_of_one_task(cfg):
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=0)
    tasks = set()
    for number, batch in zip(range(200), loader):  # detection alone is one of eighteen
        if number >= 20 and len(tasks) == len(SETS + TEXTS):
            break
        (task,) = {sample.instruction.task for sample in batch['data_samples']}
        assert len(batch['inputs']) == cfg.batch_size
        tasks.add(task)
    assert tasks == set(SETS + TEXTS)


@pytest.fixture(scope='module')
def val_batch(cfg):
    """The first sample of each task."""
    return [DATASETS.build(part)[0] for part in cfg.val_dataloader.dataset.datasets]


def test_predictions_of_a_mixed_batch(model, val_batch):
    """Whatever the language model reads out of the instructions, metrics find what they look for."""
    with torch.no_grad():
        samples = model.eval()(**prepared(model, val_batch), mode='predict')
    for sample, task in zip(samples, SETS + TEXTS):
        assert ('pred_instances' in sample) == (task in SETS)
        if task in SETS:
            assert 'label_names' in sample.pred_instances
        else:
            assert isinstance(sample.get(TASKS[task].prediction), str)
        assert task != 'segmentation' or sample.pred_instances.masks.shape[1:] == (128, 128)


def test_formats_read_by_rule_give_every_task_its_own(model, val_batch):
    head = model.bbox_head
    parser, head.format_parser = head.format_parser, None
    with torch.no_grad():
        samples = model.eval()(**prepared(model, val_batch), mode='predict')
    head.format_parser = parser
    kinds = ['pred_instances' in sample for sample in samples]
    assert kinds == [True, True, True, False, False]
    assert ['masks' in s.pred_instances for s in samples[:3]] == [False, True, False]
    assert [len(s.pred_instances) for s in samples[:3]] == [100, 100, 20]
    assert all(isinstance(s.pred_text, str) for s in samples[3:])


def test_validation_has_a_metric_of_every_task(cfg, model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.bbox_head, 'format_parser', None)  # untrained, it may read that all want texts
    loader = dict(cfg.val_dataloader, num_workers=0, persistent_workers=False)
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        val_dataloader=loader,
        val_evaluator=cfg.val_evaluator,
        val_cfg=dict(type=ValLoop),
        default_scope='mmdet',
        experiment_name='stage2',
        log_level='ERROR',
    )
    metrics = runner.val()
    assert {
        'detection/coco/bbox_mAP',
        'segmentation/coco/bbox_mAP',
        'segmentation/coco/segm_mAP',
        'grounding/refexp/precision@1',
        'captioning/caption/Bleu_4',
        'captioning/caption/CIDEr',
        'vqa/vqa/accuracy',
    } <= set(metrics)
    assert {name.split('/')[0] for name in metrics} == set(cfg.tasks)
