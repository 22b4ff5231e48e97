"""The paper's stage 2: what it is made of, and its data sets on files of one image."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmdet.registry import DATASETS
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.utils.meta_build import build_on_meta, count_parameters

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/visionllm'
CONFIG = CONFIGS / 'visionllm_r50_alpaca-7b_stage2_32xb1-50e_multitask.py'
STAGE1 = CONFIGS / 'visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py'
STAND_IN = str(ROOT / 'configs/_base_/tokenizers/scenes')
TRAIN = ['detection', 'segmentation', *['grounding'] * 3, 'captioning', 'conversation']
VAL = ['detection', 'segmentation', 'grounding', 'captioning']


@pytest.fixture(scope='module')
def cfg():
    init_default_scope('mmdet')
    return Config.fromfile(CONFIG)


@pytest.fixture(scope='module')
def models():
    """Of stage 1 and stage 2, without weights."""
    stand_in = dict(TextEncoder=STAND_IN, LanguageModel=STAND_IN)
    return [build_on_meta(Config.fromfile(path), stand_in) for path in (STAGE1, CONFIG)]


def test_goes_on_from_stage_1(cfg, models):
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]
    work_dir, checkpoint = Path(cfg.load_from).parts[-2:]
    assert work_dir == STAGE1.stem
    assert checkpoint == f'epoch_{Config.fromfile(STAGE1).train_cfg.max_epochs}.pth'
    assert cfg.model.get('init_cfg') is None and cfg.model.backbone.init_cfg is None


def test_the_backbone_is_frozen(models):
    first, second = (count_parameters(model) for model in models)
    assert first['backbone'].trainable and not second['backbone'].trainable
    others = first.keys() - {'backbone'}
    assert {name: second[name] for name in others} == {name: first[name] for name in others}


def test_the_language_model_reads_formats(models):
    assert [model.bbox_head.format_parser is None for model in models] == [True, False]


def test_parts_are_clipped_by_themselves(cfg, models):
    wrapper = build_optim_wrapper(models[1], cfg.optim_wrapper)
    parts = set(wrapper.clip_func.part_of.values())
    assert parts == {'', 'bbox_head'}
    assert len(wrapper.optimizer.param_groups) < 10


def test_schedule(cfg):
    images, batch = 118_287, 32
    assert cfg.train_cfg.max_iters == pytest.approx(50 * images / batch, rel=0.001)
    assert cfg.param_scheduler[0].T_max == cfg.param_scheduler[0].end == cfg.train_cfg.max_iters
    assert not cfg.default_hooks.checkpoint.by_epoch and not cfg.param_scheduler[0].by_epoch
    assert cfg.train_cfg.max_iters % cfg.default_hooks.checkpoint.interval == 0
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert cfg.find_unused_parameters


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture(scope='module')
def data(cfg, tmp_path_factory, moved):
    """The config on a COCO of one image, in the folders that the config describes."""
    root = tmp_path_factory.mktemp('coco')
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    for split in ('train2017', 'val2017', 'train2014', 'val2014'):
        (root / split).mkdir()
        cv2.imwrite(str(root / split / '1.png'), image)
    names = category_names('coco')
    size = dict(file_name='1.png', height=200, width=300)
    corners = [20, 30, 120, 30, 120, 110, 20, 110]
    dog = dict(bbox=[20, 30, 100, 80], area=8000, iscrowd=0, id=1, image_id=1, segmentation=[corners])
    instances = dict(
        images=[dict(size, id=1)],
        annotations=[dict(dog, category_id=names.index('dog') + 1)],
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
    )
    captions = [dict(id=i, image_id=1, caption=text) for i, text in enumerate(['a dog', 'one dog'])]
    said = ['<image>\nWhat is it?', 'A dog.', 'Is it large?', 'No.']
    turns = [{'from': who, 'value': what} for who, what in zip(('human', 'gpt') * 2, said)]
    for split in ('train', 'val'):
        write(root / f'annotations/instances_{split}2017.json', instances)
    write(root / 'annotations/captions_train2017.json', dict(images=instances['images'], annotations=captions))
    write(root / 'annotations/coco_karpathy_test.json', [dict(image='val2014/1.png', caption=['a dog'])])
    write(root / 'annotations/coco_karpathy_test_gt.json', dict(images=[dict(id=1)], annotations=captions))
    write(root / 'llava_instruct_150k.json', [dict(id='1', image='1.png', conversations=turns)])
    for name in ('refcoco_train', 'refcoco+_train', 'refcocog_train', 'refcoco_val'):
        expression = dict(size, id=1, original_id=1, dataset_name=name.split('_')[0], caption='the dog')
        document = dict(images=[expression], annotations=[dict(dog, category_id=1)], categories=[dict(id=1)])
        write(root / f'mdetr_annotations/finetune_{name}.json', document)
    return moved(cfg, 'data/coco/', f'{root}/')


def test_training_data(data):
    dataset = DATASETS.build(data.train_dataloader.dataset)
    assert len(data.train_dataloader.sampler.weights) == len(dataset.dataset.datasets) == len(TRAIN)
    assert data.train_dataloader.sampler.batch_size == data.train_dataloader.batch_size == 1
    for part, task in zip(dataset.dataset.datasets, TRAIN):
        np.random.seed(0)
        sample = part[0]['data_samples']
        assert sample.instruction.task == task
        if sample.instruction.output_format.is_text:
            assert sample.gt_turns in (['a dog'], ['one dog'], ['A dog.', 'Is it large?', 'No.'])
        else:
            assert len(sample.gt_instances.bboxes) == 1
            assert ('points' in sample.gt_instances) == (task == 'segmentation')
        if task == 'grounding':
            assert sample.instruction.categories == ('the dog',)
        sides = sorted(sample.img_shape)
        assert task == 'detection' or (480 <= sides[0] <= 800 and sides[1] <= 1333)


def test_validation_data(data):
    dataset = DATASETS.build(data.val_dataloader.dataset)
    evaluator = data.val_evaluator
    assert [part[0]['data_samples'].instruction.task for part in dataset.datasets] == VAL
    assert len(evaluator.metrics) == len(evaluator.dataset_prefixes) == len(VAL)
    for part in dataset.datasets:
        sample = part[0]['data_samples']
        assert min(sample.img_shape) == 800
        assert {'img_id', 'ori_shape', 'scale_factor'} <= set(sample.metainfo_keys())
        assert not sample.instruction.output_format.is_text or 'gt_turns' not in sample
    assert dataset.datasets[1][0]['data_samples'].instruction.output_format.num_points == 24
    assert int(dataset.datasets[3][0]['data_samples'].img_id) == 1
