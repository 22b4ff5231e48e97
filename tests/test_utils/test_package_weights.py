"""Weights that ship with the package."""

import json
import shutil

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmvisionllm.models.necks.deformable_detr_weights import convert_deformable_detr, has_box_refine
from mmvisionllm.utils import package_weights as module
from mmvisionllm.utils.checkpoint import read_weights_and_classes
from mmvisionllm.utils.package_weights import available_weights, load_package_weights, save_package_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FOLDER', tmp_path)
    return tmp_path


def test_what_is_saved_is_read_by_mmengine(folder):
    state = {'head.weight': torch.randn(3, 4), 'head._extra_state': torch.tensor([7, 255], dtype=torch.uint8)}
    save_package_weights(state, folder / 'small.safetensors', dict(command='mim train x'))
    assert available_weights() == ['mmvisionllm://small']
    read = CheckpointLoader.load_checkpoint('mmvisionllm://small', map_location='cpu')
    assert read['meta']['command'] == 'mim train x'
    assert {key: value.dtype for key, value in read['state_dict'].items()} == {k: v.dtype for k, v in state.items()}
    torch.testing.assert_close(read['state_dict'], state, rtol=1e-3, atol=1e-3)


def test_unknown_names_are_said_with_those_there_are(folder):
    with pytest.raises(FileNotFoundError, match='no weights mmvisionllm://big in this package; there are none'):
        load_package_weights('mmvisionllm://big')


def test_a_damaged_file_is_refused(folder):
    save_package_weights({'a': torch.ones(4)}, folder / 'small.safetensors', {})
    save_package_weights({'a': torch.zeros(4)}, folder / 'other.safetensors', {})
    shutil.copy(folder / 'other.safetensors', folder / 'small.safetensors')
    with pytest.raises(ValueError, match='small.safetensors is damaged: .* Install mmvisionllm again'):
        load_package_weights('mmvisionllm://small')


def test_what_float16_cannot_hold_is_refused(folder):
    with pytest.raises(ValueError, match='a cannot be held in float16'):
        save_package_weights({'a': torch.tensor([1e6]), 'b': torch.ones(1)}, folder / 'x.safetensors', {})


def test_those_that_ship_are_small_and_tell_how_they_were_made():
    assert 'mmvisionllm://llm_tiny_scenes' in available_weights()
    for path in module.FOLDER.glob('*.safetensors'):
        assert path.stat().st_size <= 10e6
        meta = json.loads(path.with_suffix('.json').read_text())
        assert meta['command'].startswith('mim train mmvisionllm ') and len(meta['log']) > 3
        assert load_package_weights(f'mmvisionllm://{path.stem}')['meta'] == meta


def test_the_detector_that_ships_knows_its_classes():
    weights, classes = read_weights_and_classes('mmvisionllm://deformable-detr_tiny_scenes')
    assert len(classes) == 10 and 'star' in classes
    assert weights['bbox_head.cls_branches.0.bias'].shape == (10,)
    assert has_box_refine(convert_deformable_detr(weights, num_queries=20))
