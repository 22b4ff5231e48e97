# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""tools/demo_tasks.py."""

import json
import runpy
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.mark.slow
def test_quick_demo_of_all_tasks(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    monkeypatch.syspath_prepend(TOOLS)
    demo = runpy.run_path(str(TOOLS / 'demo_tasks.py'))
    assert demo['main'](['--quick', '--dir', str(tmp_path)], kind=demo['TasksDemo']) == 0
    printed = capfd.readouterr().out
    # Each training starts from the one before.
    for part, path in (
        ('bbox_head', 'visionllm_tiny_scenes'),
        ('backbone', 'visionllm_tiny_scenes'),
        ('neck', 'visionllm_tiny_scenes'),
    ):
        assert f'load {part} in model from: work_dirs/{path}/iter_2.pth' in printed
    work_dir = tmp_path / 'work_dirs' / 'visionllm_tiny_scenes_stage2'
    record = json.loads((work_dir / 'demo.json').read_text())
    assert set(demo['HEADLINES']) <= set(record['metrics'])
    drawn = {path.name.split('_')[0].rstrip('01') for path in (work_dir / 'pictures' / 'vis').iterdir()}
    assert drawn == {'detection', 'segmentation', 'caption', 'grounding', 'question'}
