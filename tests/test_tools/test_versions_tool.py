"""tools/test_versions.py."""

import re
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[2] / 'requirements/runtime.txt'


@pytest.fixture
def tool(load_tool):
    return load_tool('test_versions')


def test_oldest_versions_are_those_that_are_promised(tool):
    promised = dict(re.findall(r'^(\w+)>=([\d.]+)$', RUNTIME.read_text(), re.M))
    oldest = tool.COMBINATIONS['oldest torch']
    assert oldest.torch.startswith(promised['torch'])
    pins = dict(pin.split('==') for pin in oldest.pins)
    assert pins.keys() == {'transformers', 'peft'}
    assert all(version.startswith(promised[package]) for package, version in pins.items())


def test_a_combination_without_its_python_is_left_out(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool.shutil, 'which', lambda name: None)
    assert tool.main(['Python 3.13', '--folder', str(tmp_path)]) == 0
    assert 'there is no python3.13 here' in capsys.readouterr().err


def test_the_table(tool):
    versions = dict.fromkeys((*tool.SHOWN, *tool.ORIGINALS), '1.2')
    found = dict(
        python='3.11.7', versions=versions, result='3 failed, 120 passed, 4 skipped', seconds=dict(build=30, tests=600)
    )
    rows = tool.table({'originals': found, 'oldest torch': dict(result='not installed: see log.txt')}).splitlines()
    cells = ['originals', '3.11.7', *['1.2'] * 3, 'OpenMMLab 1.2, 1.2, 1.2', '120 passed, 3 failed, 4 skipped', '10']
    assert rows[2] == f'| {" | ".join(cells)} |'
    assert 'not installed: see log.txt' in rows[3]


def test_names_are_checked(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['nonsense'])
    assert 'oldest torch' in capsys.readouterr().err
