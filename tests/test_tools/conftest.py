# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Fixtures for the command-line tools, which lie outside the package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

TOY_MODULE = '''
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from torch.utils.data import Dataset


@MODELS.register_module()
class ToyLine(BaseModel):
    """Fits y = 2x with one weight and prints a line per step: rank, x."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1, bias=False)

    def forward(self, x, mode='tensor'):
        y = self.line(x)
        if mode == 'loss':
            return dict(loss=(y - 2 * x).square().mean())
        return [dict(y=float(value)) for value in y]


@DATASETS.register_module()
class ToyNumbers(Dataset):
    metainfo = dict()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.tensor([index / 8.0]))


@METRICS.register_module()
class ToyCount(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(count=len(results))
'''

TOY_CONFIG = '''
default_scope = 'mmdet'
custom_imports = dict(imports=['mmvisionllm', 'toy_for_tools'])
model = dict(type='ToyLine')
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyNumbers'),
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False))
val_dataloader = test_dataloader = train_dataloader
val_evaluator = test_evaluator = dict(type='ToyCount')
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
env_cfg = dict(dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
'''


@pytest.fixture
def load_tool():
    """Function that imports a tool by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def toy_config(tmp_path, monkeypatch) -> Path:
    """A config that trains in milliseconds; its module lies beside it, on the import path here.

    A tool in a process of its own needs the folder on PYTHONPATH.
    """
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'toy_for_tools.py').write_text(TOY_MODULE)
    config = tmp_path / 'toy_config.py'
    config.write_text(TOY_CONFIG)
    return config
