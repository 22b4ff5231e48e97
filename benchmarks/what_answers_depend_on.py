"""Does grounding need the expression, and do captions and answers need the image?

    python benchmarks/what_answers_depend_on.py CHECKPOINT [--config CONFIG]

Tests a checkpoint of the stage 2 config as it is, and again with

- grounding: every expression replaced by "the shape", which cuts the language out of the tokenizer's fusion and of the
  language model's prefix alike; beside it, the chance of hitting by taking one of an image's objects at random;
- captioning and VQA: every image replaced by another one of the test set ("swapped"), and by a gray one ("blind").

The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from common import ROOT
from joint_vs_separate import METRICS, only
from mmengine.config import Config
from mmengine.runner import Runner

import mmvisionllm  # noqa: F401  (registers the modules)
from mmvisionllm.utils import allow_mmengine_checkpoints

EXPRESSION = 'the shape'


def measure(cfg: Config, task: str, change: Callable[[list[dict]], None], work_dir: Path) -> float:
    """The task's metric with a change of the test samples."""
    cfg = only(copy.deepcopy(cfg), cfg.test_evaluator.dataset_prefixes.index(task))
    cfg.test_dataloader.dataset.datasets[0].serialize_data = False  # its samples can be changed then
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{task}_{change.__name__}'
    runner = Runner.from_cfg(cfg)
    for dataset in runner.test_loop.dataloader.dataset.datasets:
        change(dataset.data_list)
    return runner.test()[METRICS[task][1]]


def as_is(samples: list[dict]) -> None:
    """No change."""


def without_expression(samples: list[dict]) -> None:
    """Say nothing of the object."""
    for sample in samples:
        sample['text'] = EXPRESSION


def swapped(samples: list[dict]) -> None:
    """Every sample gets the image of one half the test set further on."""
    paths = [sample['img_path'] for sample in samples]
    for sample, path in zip(samples, np.roll(paths, len(paths) // 2)):
        sample['img_path'] = str(path)


def blind(path: Path) -> Callable[[list[dict]], None]:
    """Every sample gets a gray image, written to ``path``."""
    cv2.imwrite(str(path), np.full((128, 128, 3), 127, np.uint8))

    def blind(samples: list[dict]) -> None:
        for sample in samples:
            sample['img_path'] = str(path)

    return blind


def chance(cfg: Config) -> float:
    """P@0.5 of taking an object of the image at random, for expressions that something fits."""
    cfg = cfg.test_dataloader.dataset.datasets[0]
    folder = ROOT / cfg.data_root / 'annotations'
    instances = json.loads((folder / 'instances_val.json').read_text())['annotations']
    numbers: dict[int, int] = {}
    for instance in instances:
        numbers[instance['image_id']] = numbers.get(instance['image_id'], 0) + 1
    expressions = json.loads((folder / 'refexp_val.json').read_text())
    return float(np.mean([1 / numbers[e['image_id']] for e in expressions if e['bbox_xyxy']]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', default='configs/visionllm/visionllm_tiny_scenes_stage2.py')
    parser.add_argument('--work-dir', default='work_dirs/what_answers_depend_on')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    allow_mmengine_checkpoints()
    cfg = Config.fromfile(ROOT / args.config)
    cfg.load_from = args.checkpoint
    gray = blind(work_dir / 'gray.png')
    result: dict[str, dict[str, float]] = {
        'grounding': {c.__name__: measure(cfg, 'grounding', c, work_dir) for c in (as_is, without_expression)}
    }
    result['grounding']['chance'] = chance(cfg)
    for task in ('captioning', 'vqa'):
        result[task] = {c.__name__: measure(cfg, task, c, work_dir) for c in (as_is, swapped, gray)}
    print(json.dumps({t: {k: round(v, 4) for k, v in values.items()} for t, values in result.items()}))


if __name__ == '__main__':
    main()
