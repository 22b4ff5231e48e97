# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The benchmarks that need no training run, and what they compare gives the same results."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'
SMALL = {
    '--hidden': 64,
    '--layers': 2,
    '--heads': 4,
    '--kv-heads': 2,
    '--intermediate': 64,
    '--vocabulary': 1700,
    '--categories': 4,
}


@pytest.fixture
def run(monkeypatch, capfd):
    """Name of a benchmark and its arguments -> its last line."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        importlib.import_module(name).main()
        return json.loads(capfd.readouterr().out.splitlines()[-1])

    return run


def test_objects_at_once_and_token_by_token(run):
    assert run('decode_speed', '--num-objects', 3, '--repeats', 1)['max_difference'] < 1e-4


@pytest.mark.parametrize('method', ['ours', 'warm', 'dense', 'copies', 'tokens'])
def test_ways_to_decode(run, method):
    case = '--num-objects', 3, '--copies', 2, '--case', method, 'predict', 2
    assert run('decoder_scaling', *(part for pair in SMALL.items() for part in pair), *case)['logit_difference'] < 1e-4


def test_perfect_predictions(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    box = dict(id=0, image_id=1, category_id=1, bbox=[10, 10, 30, 20])  # ids from 0, no area, no iscrowd
    document = dict(images=[dict(id=1, file_name='a.png', width=100, height=80)], categories=[dict(id=1, name='cat')])
    (tmp_path / 'odd.json').write_text(json.dumps(dict(document, annotations=[box])))
    (tmp_path / 'broken.json').write_text('[]')
    monkeypatch.setattr(sys, 'argv', ['', str(tmp_path / 'odd.json'), str(tmp_path / 'broken.json')])
    importlib.import_module('perfect_predictions').main()
    *_, odd, broken = capsys.readouterr().out.splitlines()
    assert odd.startswith('| odd | 1.000 | refused | ') and 'id is 0' in odd and 'without segmentation' in odd
    assert broken.startswith('| broken | refused | refused | broken.json holds a list')
