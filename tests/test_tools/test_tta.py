"""Test-time augmentation: ours is mmdet's, by either test tool."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmdet
from mmdet.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
MMDETS = Path(mmdet.__file__).parent / '.mim/tools/test.py'


@pytest.fixture
def config(scenes, tmp_path):
    """The embedded default on a few scenes, and a checkpoint of random weights."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs/visionllm/visionllm_tiny_scenes.py')
    cfg.merge_from_dict({'val_dataloader.dataset.data_root': str(scenes), 'test_dataloader.num_workers': 0})
    cfg.test_dataloader.update(persistent_workers=False)
    cfg.test_dataloader.dataset.data_root = f'{scenes}/'
    cfg.test_evaluator.ann_file = f'{scenes}/annotations/instances_val.json'
    cfg.model.init_cfg = cfg.model.bbox_head.init_cfg = None
    cfg.dump(tmp_path / 'tta.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'random.pth')
    return tmp_path


def test_both_tools_give_the_same(config):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    found = []
    for tool in (ROOT / 'tools/test.py', MMDETS):
        out = config / f'{len(found)}.pkl'
        command = [tool, 'tta.py', 'random.pth', '--tta', '--out', out, '--work-dir', config / 'work']
        subprocess.run([sys.executable, *map(str, command)], cwd=config, env=environment, check=True, capture_output=True)
        found.append(pickle.loads(out.read_bytes()))
    for ours, mmdets in zip(*found, strict=True):
        boxes = ours['pred_instances']['bboxes']
        assert 0 < len(boxes) <= 100 and ours['img_path'] == mmdets['img_path']
        torch.testing.assert_close(boxes, mmdets['pred_instances']['bboxes'], rtol=1e-3, atol=0.1)


def test_the_flipped_image_is_seen(load_tool, config):
    cfg = Config.fromfile(config / 'tta.py')
    load_tool('test').enable_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'VisionLLM'
    found = DATASETS.build(cfg.test_dataloader.dataset)[0]
    flipped, plain = found['inputs']
    assert torch.equal(flipped, plain.flip(-1)) and not torch.equal(flipped, plain)
    first, second = found['data_samples']
    assert first.instruction == second.instruction and len(first.instruction.categories) == 10


def test_what_cannot_be_merged_is_refused(load_tool):
    cfg = Config.fromfile(ROOT / 'configs/visionllm/visionllm_tiny_scenes_stage2.py')
    with pytest.raises(ValueError, match='--tta merges boxes'):
        load_tool('test').enable_tta(cfg)
    cfg = Config.fromfile(ROOT / 'configs/visionllm/visionllm_tiny_scenes.py')
    cfg.pop('tta_model')
    with pytest.raises(ValueError, match='needs tta_model'):
        load_tool('test').enable_tta(cfg)
