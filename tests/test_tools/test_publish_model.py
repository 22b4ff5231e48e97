"""tools/publish_model.py."""

import hashlib

import pytest
import torch


@pytest.fixture
def tool(load_tool):
    return load_tool('publish_model')


def test_publishes(tool, trained_llm, tmp_path, capsys):
    _, checkpoint, decoder = trained_llm
    assert tool.main([checkpoint, str(tmp_path / 'model.pth')]) == 0
    assert 'optimizer is left out' in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    assert path.name == f'model-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth'
    published = torch.load(path, weights_only=True)  # nothing but weights and plain values
    assert published.keys() == {'meta', 'state_dict'} and published['meta']['iter'] == 1
    state = {key.removeprefix('bbox_head.'): value for key, value in published['state_dict'].items()}
    torch.testing.assert_close(state, dict(decoder.state_dict()), rtol=0, atol=0)


def test_keeps_what_is_asked_for(tool, trained_llm, tmp_path):
    keys = ['state_dict', 'message_hub']
    assert tool.main([trained_llm[1], str(tmp_path / 'model'), '--save-keys', *keys]) == 0
    (path,) = tmp_path.iterdir()
    assert path.suffix == '.pth' and torch.load(path, weights_only=False).keys() == set(keys)


def test_other_files(tool, tmp_path, capsys):
    torch.save([1, 2], tmp_path / 'list.pth')
    assert tool.main([str(tmp_path / 'list.pth'), str(tmp_path / 'out.pth')]) == 2
    assert 'is no checkpoint of a training' in capsys.readouterr().err
    for argv, message in (
        (['none.pth', 'out.pth'], 'checkpoint not found: none.pth'),
        ([str(tmp_path / 'list.pth'), str(tmp_path / 'none/out.pth')], 'no folder to write'),
    ):
        with pytest.raises(SystemExit):
            tool.main(argv)
        assert message in capsys.readouterr().err
