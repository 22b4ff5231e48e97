# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""One model for all tasks, from nothing to pictures: stages as of `make demo`, stage 2, test, pictures.

    make demo-tasks
    python tools/demo_tasks.py [--quick] [--dir DIR]

What `make demo` has left is gone on from. See demo_scenes.py, which tells how stages work.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from demo_scenes import DETECTOR as STAGE1
from demo_scenes import OWN_CATEGORIES, SCENES, Demo, choose_scenes, main

STAGE2 = 'visionllm_tiny_scenes_stage2'
# Headlines of the metrics, in the order of the tasks.
HEADLINES = {
    'detection/coco/bbox_mAP': 'detection, box AP',
    'segmentation/coco/segm_mAP': 'segmentation, mask AP',
    'grounding/refexp/precision@1': 'grounding, P@0.5',
    'captioning/caption/Bleu_4': 'captioning, BLEU-4',
    'captioning/caption/CIDEr': 'captioning, CIDEr',
    'vqa/vqa/accuracy': 'VQA, accuracy',
}


class TasksDemo(Demo):
    """Stage 2 and what comes before it."""

    detector: ClassVar[str] = STAGE2

    def prepare(self) -> None:
        """Scenes, Deformable DETR and stage 1."""
        super().prepare()
        self.stage('stage 1', self.train_stage1, lambda: self.checkpoint(STAGE1))

    def train(self) -> None:
        parts = ('backbone', 'neck', 'bbox_head')
        options = [f'model.{part}.init_cfg.checkpoint={self.path_of(STAGE1)}' for part in parts]
        if self.quick:
            options += ['train_dataloader.sampler.batch_size=2']
        self.run_training(STAGE2, *options)

    def draw(self) -> None:
        stamp = self.stamp()
        shutil.rmtree(self.pictures, ignore_errors=True)
        annotations = self.folder / SCENES / 'annotations'
        chosen, _ = choose_scenes(annotations / 'instances_val.json', OWN_CATEGORIES)
        scenes = chosen['all'][:2]
        self.show('detection', scenes)
        self.show('segmentation', scenes, '--instruction',
                  'Outline each of <class> in <image> by (c, x1, y1, ..., x24, y24)', '--categories',
                  *self.category_names(annotations))  # fmt: skip
        self.show('caption', scenes, '--task', 'captioning')
        for number, (name, expression) in enumerate(self.first_of(annotations / 'refexp_val.json', 'expression')):
            # An expression's object scores less than a category's: at 0.3, two pictures of five stay empty.
            self.show(f'grounding{number}', [name], '--task', 'grounding', '--categories', expression,
                      '--pred-score-thr', '0.2')  # fmt: skip
        questions = json.loads((annotations / 'vqa_questions_val.json').read_text('utf-8'))['questions']
        for number, question in enumerate(questions[:2]):
            name = f'{question["image_id"]:012d}.png'
            self.show(f'question{number}', [name], '--question', question['question'])
        self.record['pictures_of'] = stamp

    @staticmethod
    def category_names(annotations: Path) -> list[str]:
        coco = json.loads((annotations / 'instances_val.json').read_text('utf-8'))
        return [category['name'] for category in coco['categories']]

    @staticmethod
    def first_of(file: Path, field: str, number: int = 2) -> list[tuple[str, str]]:
        """File name and text of the first records that have a box."""
        records = [r for r in json.loads(file.read_text('utf-8')) if r['bbox_xyxy']]
        return [(r['file_name'], r[field]) for r in records[:number]]

    def describe(self, metrics: dict[str, float]) -> list[str]:
        lines = [f'{name:<24}{metrics[key]:.3f}' for key, name in HEADLINES.items() if key in metrics]
        return [*lines, f'on unseen scenes ({self.record_file})', f'pictures: {self.pictures / "vis"}']


if __name__ == '__main__':
    sys.exit(main(kind=TasksDemo))
