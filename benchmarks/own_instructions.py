"""How well a trained detector follows instructions that are like none of its templates.

    python benchmarks/own_instructions.py CHECKPOINT [--config CONFIG]

Tests with each of the instructions below, all categories in the dataset's order, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from accuracy_vs_deformable_detr import KEYS
from common import ROOT, instruction_step, test
from mmengine.config import Config

INSTRUCTIONS = {
    "the config's own": None,
    'image last': 'Find what I care about: <class>. Answer each one as <format>, corners as offsets in <range>. My '
    'picture: <image>',
    'image first': '<image> Find what I care about: <class>. Answer each one as <format>, corners as offsets in <range>.',
    'format first': 'Answer each object as <format>, corners as offsets in <range>. I care about <class>. My picture: '
    '<image>',
    'image first, categories last': 'Look at <image> and reply with <format> for every shape, numbers in <range>. The '
    'shapes: <class>',
    'image between': 'These are my shapes: <class>. This is my photo: <image>. Tell me where they are, as <format> with '
    'values in <range>, please.',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes.py')
    parser.add_argument('--work-dir', default='work_dirs/own_instructions')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    rows = []
    for number, (name, text) in enumerate(INSTRUCTIONS.items()):
        cfg = Config.fromfile(ROOT / args.config)
        instruction_step(cfg.test_dataloader.dataset)['templates'] = [text]
        metrics = test(cfg, Path(args.checkpoint).resolve(), work_dir / str(number))
        rows.append(f'| {name} | {" | ".join(f"{metrics[key]:.3f}" for key in KEYS.values())} |')
    print(f'| | {" | ".join(KEYS)} |\n|---|{"---:|" * len(KEYS)}')
    print('\n'.join(rows))


if __name__ == '__main__':
    main()
