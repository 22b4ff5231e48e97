# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What mmengine's log of a training says, over all runs of one that was resumed."""

from __future__ import annotations

import json
from pathlib import Path


def logged_iterations(work_dir: Path) -> list[dict[str, float]]:
    """Lines of the training in the order of their ``step``; where runs overlap, the last one's."""
    found: dict[int, dict[str, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
        lines = [line for line in lines if 'loss' in line]
        if lines:  # what comes after the first of them was not gone on from
            found = {step: line for step, line in found.items() if step < lines[0]['step']}
        found.update({line['step']: line for line in lines})
    return [found[step] for step in sorted(found)]


def training_seconds(work_dir: Path) -> float:
    """What the iterations took."""
    total, last = 0.0, 0
    for line in logged_iterations(work_dir):
        total += line['time'] * (line['step'] - last)
        last = line['step']
    return total
