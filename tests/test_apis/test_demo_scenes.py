# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/demo_scenes.py."""

import json
import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'demo_scenes.py'


@pytest.fixture(scope='module')
def demo() -> dict:
    """The tool's names."""
    return runpy.run_path(str(TOOL))


def test_own_instruction_asks_for_the_own_categories(demo):
    from mmvisionllm.instructions import Instruction

    assert Instruction.from_text(demo['OWN_INSTRUCTION']).categories == demo['OWN_CATEGORIES']


def test_a_failing_stage_ends_the_demo(demo, tmp_path, capfd):
    """A folder of somebody else's in the place of the scenes."""
    (tmp_path / 'data' / 'scenes').mkdir(parents=True)
    (tmp_path / 'data' / 'scenes' / 'mine.txt').touch()
    assert demo['main'](['--quick', '--dir', str(tmp_path)]) == 1
    printed = capfd.readouterr()
    assert 'already holds files that are not rendered scenes' in printed.err
    assert 'make_scenes.py ended with status 2' in printed.err
    assert 'Deformable DETR' not in printed.out


@pytest.mark.slow
def test_quick_demo_and_what_is_done_again(demo, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    arguments = ['--quick', '--dir', str(tmp_path)]
    assert demo['main'](arguments) == 0
    printed = capfd.readouterr().out
    work_dir = tmp_path / 'work_dirs' / 'visionllm_tiny_scenes'
    assert 'load Deformable DETR from: work_dirs/deformable-detr-refine_tiny_scenes/iter_2.pth' in printed
    assert 'load bbox_head in model from: mmvisionllm://llm_tiny_scenes' in printed
    assert 'Average Precision' in printed and 'box AP' in printed
    record = json.loads((work_dir / 'demo.json').read_text())
    assert 0 <= record['metrics']['coco/bbox_mAP_50'] <= 1
    stages = ['scenes', 'Deformable DETR', 'training', 'test', 'pictures']
    assert list(record['seconds']) == stages
    pictures = sorted(path.name for path in (work_dir / 'pictures' / 'vis').iterdir())
    assert [name.split('_')[0] for name in pictures].count('half') == 2
    own = next((work_dir / 'pictures' / 'preds').glob('own_*.json'))
    assert json.loads(own.read_text())['categories'] == list(demo['OWN_CATEGORIES'])

    assert demo['main'](arguments) == 0
    again = capfd.readouterr().out
    for stage in stages[1:]:
        assert f'=== {stage}: done before' in again
    assert 'is already complete' in again

    # A training that was broken off, here before its last checkpoint, goes on, and is tested again.
    (work_dir / 'last_checkpoint').unlink()
    (work_dir / 'iter_2.pth').unlink()
    assert demo['main'](arguments) == 0
    again = capfd.readouterr().out
    assert '=== Deformable DETR: done before' in again
    assert '=== test\n' in again and '=== pictures\n' in again
