"""tools/publish_weights.py."""

import json

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def tool(load_tool):
    return load_tool('publish_weights')


def test_publishes_what_text_has_trained(tool, trained_llm, tmp_path, capsys):
    _, checkpoint, decoder = trained_llm
    assert tool.main(['small', checkpoint, checkpoint, '--part', 'bbox_head', '--folder', str(tmp_path)]) == 0
    assert 'small.safetensors: ' in capsys.readouterr().out
    state = load_file(tmp_path / 'small.safetensors')
    trained = {
        f'bbox_head.{key}': value
        for key, value in decoder.state_dict().items()
        if not key.startswith(('projector.linear.', 'projector.mlp.'))
    }
    assert state.keys() == trained.keys()
    for key, value in trained.items():
        torch.testing.assert_close(state[key].to(value.dtype), value, rtol=1e-3, atol=1e-3)
    meta = json.loads((tmp_path / 'small.json').read_text())
    one, and_another = meta['command'].split(' && ')
    assert one == and_another and one.startswith('mim train mmvisionllm ') and len(meta['sha256']) == 64
    assert (tmp_path / 'small.safetensors').stat().st_mode & 0o044 == 0o044  # whoever installs the package may read it


def test_a_checkpoint_without_a_decoder_is_refused(tool, tmp_path, capsys):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'fc.weight': torch.ones(2)}), path)
    assert tool.main(['small', str(path), '--part', 'bbox_head', '--folder', str(tmp_path)]) == 2
    assert 'holds no bbox_head.*' in capsys.readouterr().err


def test_a_whole_model_and_its_classes(tool, tmp_path):
    path = tmp_path / 'detector/iter_2.pth'
    path.parent.mkdir()
    meta = dict(dataset_meta=dict(classes=('star', 'heart')))
    torch.save(dict(state_dict={'fc.weight': torch.ones(2), 'bn.count': torch.tensor(3)}, meta=meta), path)
    assert tool.main(['small', str(path), '--folder', str(tmp_path)]) == 0
    assert load_file(tmp_path / 'small.safetensors')['bn.count'] == 3
    written = json.loads((tmp_path / 'small.json').read_text())
    assert written['dataset_meta'] == dict(classes=['star', 'heart'])
    assert written['command'] == 'mim train mmvisionllm detector.py'
