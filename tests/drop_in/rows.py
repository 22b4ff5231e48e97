"""A row, and what rows are tried with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.utils import get_installed_path

from mmdet.registry import DATASETS
from mmvisionllm.instructions import InstructionError

ROOT = Path(__file__).resolve().parents[2]
WORKS = 'works'
NAMES = ('circle', 'square', 'triangle', 'star', 'heart', 'arrow', 'hourglass', 'plus sign', 'crescent moon',
         'lightning bolt')  # fmt: skip


@dataclass
class Row:
    """One thing that an mmdet user does.

    Args:
        group: Heading in the table.
        what: What it is.
        outcome: ``'works'``, what has to be changed, or why it does not.
        run: Tries it; fails if the outcome is another.
    """

    group: str
    what: str
    outcome: str
    run: Callable[[Any], Any]


ROWS: list[Row] = []


class Tiny:
    """What the rows use: a tiny model's config, scenes, and ways to run them.

    Args:
        small: Configs of very small models.
        scenes: Folder of a few rendered scenes.
        folder: An empty one.
    """

    def __init__(self, small: Any, scenes: Path, folder: Path) -> None:
        self.small, self.scenes, self.folder = small, scenes, folder

    def dataset(self, *steps: dict, split: str = 'train', masks: bool = False, attach: dict | None = None, **changes):
        """Config of the scenes, with steps between loading and packing."""
        meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        return (
            dict(
                type='CheckedCocoDataset',
                data_root=f'{self.scenes}/',
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'{split}/'),
                metainfo=dict(classes=NAMES),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
                    dict(type='Resize', scale=(64, 64), keep_ratio=True),
                    *steps,
                    dict(type='AttachInstruction', num_bins=33, **(attach or {})),
                    dict(type='PackDetInputs', meta_keys=(*meta, 'instruction', 'text', 'custom_entities')),
                ],
            )
            | changes
        )

    def losses(self, dataset: dict | None = None, **changes: Any) -> dict[str, torch.Tensor]:
        """Train on two samples, for one step."""
        data = DATASETS.build(dataset or self.dataset())
        torch.manual_seed(0)
        np.random.seed(0)
        batch = pseudo_collate([data[0], data[1]])
        model = self.small.build(self.small.detector(**changes)).train()
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        assert torch.isfinite(total)
        return losses

    def config(self, **changes: Any) -> Config:
        """A training of four iterations with validation, by mmengine's runner."""
        validated = self.loader(dataset=self.dataset(split='val', test_mode=True))
        metric = self.metric('CheckedCocoMetric')
        return Config(
            dict(
                default_scope='mmdet',
                work_dir=str(self.folder),
                model=self.small.detector(),
                train_dataloader=self.loader(),
                val_dataloader=validated,
                test_dataloader=validated,
                val_evaluator=metric,
                test_evaluator=metric,
                train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2),
                val_cfg=dict(),
                test_cfg=dict(),
                optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
                log_level='ERROR',
            )
            | changes
        )

    def loader(self, **changes: Any) -> dict:
        """Config of a dataloader of the training scenes."""
        loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
        return loader | dict(dataset=self.dataset()) | changes

    def metric(self, kind: str, **options: Any) -> dict:
        """Config of an evaluator."""
        file = dict(ann_file=f'{self.scenes}/annotations/instances_val.json') if 'Coco' in kind else {}
        return dict(type=kind, **file, **options)

    def switch(self) -> dict:
        """Config of a hook that changes the pipeline after an epoch."""
        return dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=self.dataset()['pipeline'])

    def train(self, **changes: Any) -> Runner:
        """Run it."""
        runner = Runner.from_cfg(self.config(**changes))
        runner.train()
        return runner

    def file(self, **changes: Any) -> str:
        """The config as a user has it, with a wrapped dataset as in ours."""
        wrapped = dict(type='SeededDataset', dataset=self.dataset())
        cfg = self.config(
            custom_imports=dict(imports=['mmvisionllm']),
            visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'),
            train_dataloader=self.loader(dataset=wrapped),
            **changes,
        )
        path = self.folder / 'config.py'
        cfg.dump(path)
        return str(path)

    def tool(self, name: str | Path, *arguments: str | Path) -> None:
        """Run one of mmdet's tools, or one with a path of its own, in a process of its own."""
        path = Path(get_installed_path('mmdet'), '.mim/tools', f'{name}.py')
        if not path.is_file():
            pytest.skip('this mmdet was installed without its tools')
        environment = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND='Agg')
        command = [sys.executable, str(path), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    def checkpoint(self) -> str:
        """Weights of the config, not trained."""
        path = self.folder / 'weights.pth'
        torch.save(dict(state_dict=self.small.build(self.small.detector()).state_dict(), meta={}), path)
        return str(path)

    def predictions(self) -> str:
        """File of predictions that mmdet's test.py writes."""
        out = self.folder / 'results.pkl'
        self.tool('test', self.file(), self.checkpoint(), '--out', out, '--work-dir', self.folder / 'test')
        return str(out)


def refuses(message: str, run: Callable[[Tiny], Any]) -> Callable[[Tiny], None]:
    """Something that ends with an error that says what to do."""

    def refused(tiny: Tiny) -> None:
        with pytest.raises((ValueError, TypeError, InstructionError), match=message):
            run(tiny)

    return refused


def add(group: str, what: str, run: Callable[[Tiny], Any], outcome: str = WORKS) -> None:
    """Add a row."""
    ROWS.append(Row(group, what, outcome, run))
