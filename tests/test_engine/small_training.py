# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A small training of the embedded default in a process of its own, to be killed.

The processes come from a fork server that has imported everything once, so that each starts in no time. This module is
imported there, hence it is no test module.
"""

import copy
import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmvisionllm  # noqa: F401
from mmdet.registry import HOOKS
from mmvisionllm.utils import allow_mmengine_checkpoints

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'visionllm' / 'visionllm_tiny_scenes.py'
CHECKPOINT_INTERVAL = 3
MAX_ITERS = 18
TIMEOUT = 600  # seconds, for the busiest of machines


@HOOKS.register_module()
class LossLog(Hook):
    """Appends to ``work_dir/losses.jsonl``: [what, iteration, losses in full precision].

    With ``kill=(i, s)`` it also has this process killed ``s`` seconds after iteration ``i``.
    """

    priority = 'BELOW_NORMAL'  # as mmengine's LoggerHook: before the checkpoint

    def __init__(self, kill=None):
        self.kill = kill

    def _write(self, runner, what, losses=None):
        with open(Path(runner.work_dir, 'losses.jsonl'), 'a') as file:
            file.write(json.dumps([what, runner.iter, losses]) + '\n')

    def before_train(self, runner):
        self._write(runner, 'start')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._write(runner, 'train', {name: value.item().hex() for name, value in outputs.items()})
        if self.kill and self.kill[0] == runner.iter:
            threading.Timer(self.kill[1], os.kill, (os.getpid(), signal.SIGKILL)).start()

    def after_val_epoch(self, runner, metrics=None):
        self._write(runner, 'val')


def read_log(work_dir: Path) -> list:
    """What :class:`LossLog` wrote; a line that a kill has cut off is left out."""
    path = Path(work_dir, 'losses.jsonl')
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith('\n')]


def each(node):
    """All dicts within a config."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from each(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from each(value)


def small_config(scenes: Path, work_dir: Path, workers: int) -> Config:
    """The embedded default on ``scenes``, 18 iterations in seconds, with dropout and random crops."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(work_dir)
    smaller = dict(
        base_channels=8,
        in_channels=[16, 32, 64],
        embed_dims=32,
        out_channels=32,
        num_heads=4,
        feedforward_channels=32,
        num_feats=16,
        hidden_size=32,
        intermediate_size=32,
        num_layers=1,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_queries=4,
        dropout=0.1,
        ffn_drop=0.1,
    )
    cfg.model.pop('init_cfg', None)
    cfg.model.bbox_head.pop('init_cfg', None)
    cfg.model.bbox_head.language_model.config.attention_dropout = 0.1
    for node in each(cfg.model):
        node.update({key: value for key, value in smaller.items() if key in node})
    train, val = cfg.train_dataloader, cfg.val_dataloader
    for loader in (train, val):
        loader.batch_size = 2
        loader.num_workers = workers
        loader.persistent_workers = workers > 0
        dataset = loader.dataset.get('dataset', loader.dataset)
        dataset.update(data_root=str(scenes), serialize_data=False)
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (64, 64)
    pipeline = train.dataset.dataset.pipeline
    crop = ConfigDict(type='RandomCrop', crop_size=(0.7, 0.7), crop_type='relative_range')
    pipeline.insert(-2, crop)
    pipeline.insert(-2, ConfigDict(type='PhotoMetricDistortion'))
    cfg.val_evaluator = ConfigDict(type='CheckedCocoMetric', ann_file=str(scenes / 'annotations' / 'instances_val.json'))
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.train_cfg.update(max_iters=MAX_ITERS, val_interval=MAX_ITERS)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, end=MAX_ITERS)]
    cfg.default_hooks.checkpoint.update(interval=CHECKPOINT_INTERVAL, max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = 1
    cfg.custom_hooks = [dict(type='LossLog')]
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    return cfg


def _make_deadly(name: str, calls: int) -> None:
    """Make this process kill itself in front of the nth call of a function in ``os``, given files of checkpoints."""
    original, count = getattr(os, name), 0

    def fatal(target, *args):
        nonlocal count
        count += isinstance(target, int) or Path(target).name.endswith(('.pth', '.pth.tmp'))
        if count == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(target, *args)

    setattr(os, name, fatal)


def _main(cfg: Config, deadly: tuple[str, int] | None, log: Path) -> None:
    sys.stdout = sys.stderr = open(log, 'a', buffering=1)  # noqa: SIM115
    if deadly:
        _make_deadly(*deadly)
    # Beautifying the config, eight times, takes longer than all of the training.
    Config.pretty_text = property(repr)
    torch.set_num_threads(1)
    allow_mmengine_checkpoints()
    Runner.from_cfg(cfg).train()


def forkserver(module: str) -> BaseContext:
    """What starts processes in which a module of this folder is imported, without GPU and with one thread."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    # The server looks for the module there, and not yet in Python 3.11 on the `sys.path` of this process.
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(ROOT), str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
        patch.setenv('PYTHONPATH', os.pathsep.join(paths))
        patch.setenv('OMP_NUM_THREADS', '1')
        patch.setenv('CUDA_VISIBLE_DEVICES', '-1')
        multiprocessing.forkserver.ensure_running()
    return context


def train(
    cfg: Config, resume: bool = False, kill: tuple[int, float] | None = None, deadly: tuple[str, int] | None = None
) -> None:
    """Train in a new process until it ends or is killed.

    Args:
        cfg: The config.
        resume: Whether to resume.
        kill: i and s: kill it s seconds after iteration i.
        deadly: Name of a function in ``os`` and n: kill it in front of the nth call that concerns a checkpoint.

    Raises:
        AssertionError: if it ended in another way than that.
    """
    context = forkserver(__name__)
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    log = Path(cfg.work_dir, 'output.txt')
    cfg = copy.deepcopy(cfg)
    cfg.resume = resume
    cfg.custom_hooks[0].kill = kill
    process = context.Process(target=_main, args=(cfg, deadly, log))
    process.start()
    process.join(TIMEOUT)
    exitcode = -signal.SIGKILL if kill or deadly else 0
    assert process.exitcode == exitcode, log.read_text()[-3000:]
