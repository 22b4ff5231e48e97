"""docs/coming_from_mmdet.md: both of its configs read the same data, and its keys are there."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import get_installed_path

from mmdet.registry import DATASETS, METRICS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs/coming_from_mmdet.md').read_text()
NAMES = ('apple', 'banana', 'orange')


@pytest.fixture(scope='module')
def folder(tmp_path_factory, scenes_named):
    """Both configs, and data under the names that they have."""
    folder = tmp_path_factory.mktemp('mmdet')
    scenes_named(folder / 'data/fruits', NAMES, train=6, val=3)
    places = {'mmdet::': f'{get_installed_path("mmdet")}/.mim/configs/', 'mmvisionllm::': f'{ROOT}/configs/'}
    for name, block in re.findall(r'`([\w-]+\.py)`[^`]*:\n\n```python\n(.*?)```', PAGE, re.S):
        for scheme, place in places.items():
            block = block.replace(scheme, place)
        (folder / name).write_text(block)
    return folder


@pytest.fixture
def configs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    init_default_scope('mmdet')
    if not Path(get_installed_path('mmdet'), '.mim/configs').is_dir():
        pytest.skip('this mmdet was installed without its configs')
    return Config.fromfile('deformable-detr_fruits.py'), Config.fromfile('visionllm_fruits.py')


def test_both_read_the_same_data(configs):
    mmdet, ours = configs
    for split in ('train', 'val'):
        theirs = DATASETS.build(mmdet[f'{split}_dataloader'].dataset)
        dataset = ours[f'{split}_dataloader'].dataset
        mine = DATASETS.build(dataset.get('dataset', dataset))
        assert mine.metainfo['classes'] == theirs.metainfo['classes'] == NAMES
        assert len(mine) == len(theirs)
        for index in range(len(mine)):
            boxes = [
                [(i['bbox'], i['bbox_label']) for i in data.get_data_info(index)['instances']] for data in (mine, theirs)
            ]
            assert boxes[0] == boxes[1]
    assert ours.val_evaluator.ann_file == mmdet.val_evaluator.ann_file == ours.test_evaluator.ann_file
    for cfg in (mmdet, ours):
        METRICS.build(cfg.val_evaluator)


def test_schedules_end_where_checkpoints_are(configs):
    mmdet, ours = configs
    assert ours.model.init_cfg.checkpoint.endswith(f'epoch_{mmdet.train_cfg.max_epochs}.pth')
    # Gradients of a step that is not whole are not in a checkpoint.
    counts = ours.optim_wrapper.accumulative_counts
    assert not ours.train_cfg.max_iters % ours.default_hooks.checkpoint.interval % counts


def test_keys_of_the_table(configs):
    mmdet, ours = configs
    theirs, model = mmdet.model, ours.model
    assert theirs.type == 'DeformableDETR' and model.type == 'VisionLLM'
    assert theirs.backbone.depth == model.backbone.depth
    assert theirs.neck.num_outs == model.neck.channel_mapper.num_outs == theirs.num_feature_levels
    for key in ('encoder', 'decoder', 'positional_encoding'):
        assert set(theirs[key]) <= set(model.neck[key])
    assert theirs.with_box_refine and model.neck.with_box_refine
    assert (theirs.num_queries, model.neck.num_queries) == (300, 100)
    head = model.neck.token_head
    assert theirs.bbox_head.num_classes == head.num_classes == 3
    for key in ('loss_cls', 'loss_bbox', 'loss_iou'):
        assert theirs.bbox_head[key] == head[key]
    assert theirs.train_cfg.assigner == head.train_cfg.assigner
    assert model.test_cfg.max_per_img == theirs.test_cfg.max_per_img
    assert not set(model.init_cfg) - {'type', 'checkpoint'} and model.init_cfg.type == 'DeformableDETRWeights'
