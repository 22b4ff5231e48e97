# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/infer.py, run in this process."""

import json
import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'infer.py'


@pytest.fixture(scope='module')
def infer():
    """The tool's ``main``."""
    return runpy.run_path(str(TOOL))['main']


def test_folder_with_categories(infer, config, weights, scenes, tmp_path, capsys):
    status = infer(
        [str(scenes), config, '--weights', weights, '--categories', 'star', 'plus sign']
        + ['--out-dir', str(tmp_path), '--pred-score-thr', '0.0', '--device', 'cpu']
        + ['--batch-size', '2']
    )
    printed = capsys.readouterr().out
    assert status == 0
    assert '{"star":<c0>,"plus sign":<c1>}' in printed
    for name in ('0', '1'):
        prediction = json.loads((tmp_path / 'preds' / f'{name}.json').read_text())
        assert prediction['categories'] == ['star', 'plus sign']
        assert (tmp_path / 'vis' / f'{name}.png').is_file()
        assert f'{name}.png: {len(prediction["scores"])} objects' in printed


def test_own_instruction_and_threshold(infer, config, weights, scenes, tmp_path, capsys):
    status = infer(
        [str(scenes / '0.png'), config, '--weights', weights, '--device', 'cpu', '--no-save-vis']
        + ['--instruction', 'Any {"pony": <c0>} in <image>?', '--out-dir', str(tmp_path)]
        + ['--pred-score-thr', '2']
    )
    assert status == 0
    assert '0.png: 0 objects with a score above 2' in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ['preds']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['IMAGE', 'CONFIG', '--instruction', 'find {"star": <c0>}'], 'exactly once'),
        (['missing.png', 'CONFIG'], 'image not found: missing.png'),
        (['IMAGE', 'CONFIG', '--weights', 'missing.pth'], 'missing.pth'),
        (['IMAGE', 'missing.py'], 'missing.py is neither a config file nor a model'),
        (['IMAGE', 'CONFIG', '--task', 'grounding'], 'no categories were given'),
    ],
)
def test_what_cannot_be_done_ends_with_a_message(infer, config, scenes, tmp_path, capsys, arguments, message):
    places = dict(IMAGE=str(scenes / '0.png'), CONFIG=config)
    arguments = [places.get(argument, argument) for argument in arguments]
    assert infer([*arguments, '--device', 'cpu', '--out-dir', str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--batch-size', '0'], '--batch-size must be at least 1'),
        (['--task', 'dance'], "argument --task: invalid choice: 'dance' (choose from"),
    ],
)
def test_bad_arguments_end_with_a_usage_message(infer, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        infer(['IMAGE', 'CONFIG', *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_question_is_answered_in_words(infer, config, weights, scenes, tmp_path, capsys):
    """The task follows from it."""
    status = infer(
        [str(scenes / '0.png'), config, '--weights', weights, '--device', 'cpu']
        + ['--question', 'how many stars are there?', '--out-dir', str(tmp_path)]
    )
    printed = capsys.readouterr().out
    assert status == 0
    prediction = json.loads((tmp_path / 'preds' / '0.json').read_text())
    assert 'how many stars are there?' in prediction['instruction']
    assert 'labels' not in prediction
    assert f'0.png: {prediction["text"]}' in printed
    assert (tmp_path / 'vis' / '0.png').is_file()
