# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Fixtures for the command-line tools, which lie outside the package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.logging import MessageHub

from mmvisionllm.models.heads.open_ended_decoder import OpenEndedDecoder

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

TOY_CONFIG = """
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
"""


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


@pytest.fixture(scope='session')
def trained_llm(small, llm_folder, tmp_path_factory) -> tuple[str, str, OpenEndedDecoder]:
    """A config with a language model from files and LoRA, a checkpoint as training would leave it, and its decoder."""
    folder = tmp_path_factory.mktemp('trained')
    llm = dict(
        type='LanguageModel',
        pretrained=str(llm_folder()),
        lora=dict(r=4, target_modules='all-linear'),
        num_bins=33,
        gradient_checkpointing=True,
    )
    head = small.decoder(language_model=llm)
    decoder = small.build(head).eval()
    with torch.no_grad():
        for parameter in decoder.language_model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    config, checkpoint = folder / 'config.py', folder / 'iter_1.pth'
    config.write_text(f'model = dict(bbox_head={head!r})\n')
    state = {f'bbox_head.{key}': value for key, value in decoder.state_dict().items()}
    hub = MessageHub.get_instance('trained_llm')
    hub.update_scalar('train/loss', 0.5)
    meta = dict(iter=1, dataset_meta=dict(classes=('a',)))
    content = dict(meta=meta, state_dict=state, message_hub=hub.state_dict(), optimizer=dict(state={}))
    torch.save(content, checkpoint)
    return str(config), str(checkpoint), decoder


@pytest.fixture
def other_llm(llm_folder) -> list[str]:
    """Options that swap the language model for one with other weights."""
    folder = llm_folder(seed=1)
    return ['--cfg-options', f'model.bbox_head.language_model.pretrained={folder}']
