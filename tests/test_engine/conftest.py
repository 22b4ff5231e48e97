# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Scenes for small trainings, and a toy that trains in no time."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmvisionllm.scenes.generator import SceneSettings, make_scenes
from mmvisionllm.utils import allow_mmengine_checkpoints

sys.path.insert(0, str(Path(__file__).parent))  # processes of trainings import small_training by its name


@pytest.fixture(scope='session', autouse=True)
def _readable_checkpoints():
    """As the tools do; OpenMMLab's mmengine cannot resume without it."""
    allow_mmengine_checkpoints()


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """24 training and 2 validation scenes of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    make_scenes(folder, SceneSettings(train=24, val=2, seed=1, image_size=64))
    return folder


class Noise(Dataset):
    """Samples that draw from each of the global generators, as transforms do."""

    metainfo = dict(classes=('noise',))

    def __init__(self, length: int = 10) -> None:
        self.length = length

    def __len__(self):
        return self.length

    def get_data_info(self, index):
        return dict(width=1 + index % 3, height=2)

    def __getitem__(self, index):
        draws = [index, random.random(), np.random.rand(), torch.rand(()).item()]
        return dict(inputs=torch.tensor(draws))


class Toy(BaseModel):
    """A linear layer with dropout. Keeps its losses."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
        self.losses = []

    def forward(self, inputs, mode='tensor'):
        output = self.layers(torch.stack(inputs))
        if mode == 'predict':
            return [dict(y=y) for y in output]
        loss = output.square().mean() + random.random() + np.random.rand()
        self.losses.append(loss.item())
        return dict(loss=loss)


class Score(BaseMetric):
    """A metric that always improves."""

    default_prefix = 'toy'
    calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        Score.calls += 1
        return dict(acc=float(Score.calls))


class Killed(Exception):
    """Stands in for a kill where no process shall die."""


class KillAt(Hook):
    """Ends a training in front of an iteration, or in front of validation."""

    def __init__(self, iteration=None, validation=False):
        self.iteration, self.validation = iteration, validation

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            raise Killed

    def before_val(self, runner):
        if self.validation:
            raise Killed


@pytest.fixture
def toy(tmp_path):
    """Function that trains the toy and returns the runner."""

    def train(name='run', resume=False, kill=None, kill_validation=False, epochs=None, iters=None, workers=0,
              seed=0, batch_sampler=None, batch_size=3, dataset=None, sampler=None, checkpoint=None, accumulate=1,
              val_interval=None, load_from=None, **kwargs):  # yapf: disable
        by_epoch = epochs is not None
        loop = (
            dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=val_interval or 1)
            if by_epoch
            else dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=val_interval or 1)
        )
        sampler = sampler or ('SeededDefaultSampler' if by_epoch else 'SeededInfiniteSampler')
        if isinstance(sampler, str):
            sampler = dict(type=sampler, shuffle=True)
        loader = dict(
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=sampler,
            dataset=dataset or dict(type='SeededDataset', dataset=Noise()),
        )
        if batch_sampler:
            loader['batch_sampler'] = dict(type=batch_sampler)
        validation = dict()
        if val_interval:
            validation = dict(
                val_cfg=dict(),
                val_evaluator=dict(type=Score),
                val_dataloader=dict(dataset=Noise(2), sampler=dict(type='DefaultSampler', shuffle=False)),
            )
        if kill is not None or kill_validation:
            kwargs['custom_hooks'] = [KillAt(kill, kill_validation)]
        checkpoint = dict(dict(type='AtomicCheckpointHook', by_epoch=by_epoch, interval=1), **(checkpoint or {}))
        torch.manual_seed(0)
        runner = Runner(
            model=Toy(),
            work_dir=str(tmp_path / name),
            train_dataloader=ConfigDict(loader),
            train_cfg=loop,
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=accumulate),
            param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=20),
            default_hooks=dict(exact_resume=dict(type='ExactResumeHook'), checkpoint=checkpoint),
            default_scope='mmdet',
            randomness=dict(seed=seed),
            resume=resume,
            load_from=load_from,
            experiment_name=f'{tmp_path}/{name}/{random.random()}',
            log_level='WARNING',
            **validation,
            **kwargs,
        )
        if 'custom_hooks' in kwargs:
            with pytest.raises(Killed):
                runner.train()
        else:
            runner.train()
        return runner

    return train


@pytest.fixture
def noise():
    """Ten samples of random numbers."""
    return Noise()
