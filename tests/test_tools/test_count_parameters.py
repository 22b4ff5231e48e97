"""tools/count_parameters.py prints what docs/parameters.md shows."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPER = 'configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('count_parameters', ROOT / 'tools/count_parameters.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docs_show_what_is_measured(tool, capsys):
    capsys.readouterr()
    tool.main([str(ROOT / PAPER)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    docs = (ROOT / 'docs/parameters.md').read_text(encoding='utf-8')
    assert f'python tools/count_parameters.py {PAPER}' in docs
    assert '\n'.join(lines) in docs, 'run the tool again and put its table into docs/parameters.md'


def test_settings_can_be_overridden(tool, capsys):
    tool.main([str(ROOT / PAPER), '--cfg-options', 'model.bbox_head.language_model.lora=None'])
    out = capsys.readouterr().out
    assert 'LoRA' not in out
    assert '| language model | 0 | 6,738,415,616 |' in out


def test_takes_a_config_that_names_no_weights(tool, capsys):
    tool.main([str(ROOT / 'configs/visionllm/visionllm_tiny_scenes.py')])
    assert '| language model |' in capsys.readouterr().out


def test_a_missing_config_ends_with_a_usage_message(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['no_such_config.py'])
    assert 'config not found: no_such_config.py' in capsys.readouterr().err
