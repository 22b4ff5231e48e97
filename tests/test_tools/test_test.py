# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/test.py: arguments (a run of it is in test_train.py)."""

import pytest


@pytest.fixture
def checkpoint(tmp_path) -> str:
    """An empty file in the place of a checkpoint."""
    path = tmp_path / 'epoch_1.pth'
    path.touch()
    return str(path)


@pytest.fixture
def build(load_tool, toy_config, checkpoint):
    """Function from command-line arguments to the run's config."""
    tool = load_tool('test')
    return lambda *argv: tool.build_config(tool.parse_args([str(toy_config), checkpoint, *argv]))


def test_checkpoint_is_loaded_not_resumed(build, checkpoint):
    cfg = build('--cfg-options', 'resume=True')
    assert cfg.load_from == checkpoint
    assert cfg.resume is False


@pytest.mark.parametrize(
    'argv, message',
    [
        (['missing.py', 'CHECKPOINT'], 'config not found: missing.py'),
        (['CONFIG', 'missing.pth'], 'checkpoint not found: missing.pth'),
        (['CONFIG', 'CHECKPOINT', '--out', 'results.json'], '--out writes a pickle file'),
        (['CONFIG'], 'required: checkpoint'),
    ],
)
def test_bad_arguments_end_with_a_usage_message(load_tool, toy_config, checkpoint, capsys, argv, message):
    places = dict(CONFIG=str(toy_config), CHECKPOINT=checkpoint)
    with pytest.raises(SystemExit) as caught:
        load_tool('test').parse_args([places.get(arg, arg) for arg in argv])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_remote_checkpoint_is_left_to_the_file_backend(load_tool, toy_config):
    args = load_tool('test').parse_args([str(toy_config), 'https://example.com/model.pth'])
    assert args.checkpoint == 'https://example.com/model.pth'


def test_show_dir_turns_the_visualization_hook_on(build):
    options = [
        '--cfg-options',
        'default_hooks.visualization.type=DetVisualizationHook',
        'visualizer.type=DetLocalVisualizer',
    ]
    cfg = build('--show-dir', 'pictures', *options)
    hook = cfg.default_hooks.visualization
    assert hook.draw is True and hook.test_out_dir == 'pictures'
    with pytest.raises(RuntimeError, match='VisualizationHook'):
        build('--show-dir', 'pictures')
