# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Small trainings in several CPU processes, and in one process on the same batches.

The processes come from a fork server that has imported everything once. This module is imported there.
"""

import copy
import faulthandler
import json
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from small_training import CONFIG, each, forkserver, small_config

from mmdet.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from mmvisionllm.engine import build_runner
from mmvisionllm.models import VisionLLM
from mmvisionllm.utils import allow_mmengine_checkpoints, prepare_launcher, set_local_rank

LIMIT = 300  # seconds; a busy machine takes 20


@HOOKS.register_module()
class MeanLossLog(Hook):
    """Appends the losses of every iteration, averaged over the processes, to ``work_dir/mean_losses.jsonl``."""

    priority = 'BELOW_NORMAL'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        names = sorted(outputs)
        values = torch.stack([outputs[name].detach().double().cpu().reshape(()) for name in names])
        all_reduce(values, 'mean')
        if get_rank() == 0:
            with open(Path(runner.work_dir, 'mean_losses.jsonl'), 'a') as file:
                file.write(json.dumps(dict(zip(names, values.tolist()), iter=runner.iter)) + '\n')

    def after_val_epoch(self, runner, metrics=None):
        if get_rank() == 0:
            Path(runner.work_dir, 'metrics.json').write_text(json.dumps(metrics))


@MODELS.register_module()
class SeededVisionLLM(VisionLLM):
    """Starts from the same weights, whatever the runner has drawn before it builds the model."""

    def __init__(self, **kwargs):
        torch.manual_seed(0)
        super().__init__(**kwargs)

    def init_weights(self):
        torch.manual_seed(0)
        super().init_weights()


@OPTIM_WRAPPERS.register_module()
class ZeroFilledOptimWrapper(OptimWrapper):
    """Weights without gradient get one of zero, as DeepSpeed has it: momentum and weight decay go on."""

    def step(self, **kwargs):
        for group in self.optimizer.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        super().step(**kwargs)


def losses_of(work_dir: Path) -> list[dict]:
    """What :class:`MeanLossLog` wrote."""
    return [json.loads(line) for line in Path(work_dir, 'mean_losses.jsonl').open()]


def equal_config(scenes: Path, work_dir: Path, batch_size: int, iters: int = 4, **changes) -> Config:
    """The embedded default, small, without what differs from process to process by intention.

    That is dropout, statistics of BatchNorm, and the padding of images to the
    largest of a batch: GroupNorm counts it.
    """
    cfg = small_config(scenes, work_dir, workers=0)
    cfg.model.type = 'SeededVisionLLM'
    cfg.model.backbone.update(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)
    cfg.model.bbox_head.language_model.config.update(attention_dropout=0.0, num_hidden_layers=2)
    for coder in (cfg.model.neck.encoder, cfg.model.neck.decoder):
        for part in coder.layer_cfg.values():
            part.update({key: 0.0 for key in ('dropout', 'ffn_drop') if key in part})
    cfg.model.neck.text_encoder.config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    pipeline[:] = [step for step in pipeline if step.type != 'RandomCrop']
    cfg.train_dataloader.batch_size = batch_size
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.train_cfg.update(max_iters=iters, val_interval=1000)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=-1, save_last=False)
    cfg.custom_hooks = [dict(type='MeanLossLog')]
    cfg.merge_from_dict(changes)
    return cfg


def _replaced(node, old: str, new: str):
    """A config with other folders."""
    if isinstance(node, dict):
        return {key: _replaced(value, old, new) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_replaced(value, old, new) for value in node)
    return node.replace(old, new) if isinstance(node, str) else node


def mixed_config(scenes: Path, work_dir: Path, batch_size: int, validate: bool = False, **kwargs) -> Config:
    """:func:`equal_config` with the five tasks of stage 2, formats read by the language model included."""
    cfg = equal_config(scenes, work_dir, batch_size, **kwargs)
    stage2 = Config.fromfile(CONFIG.with_name('visionllm_tiny_scenes_stage2.py'))
    stage2 = Config(_replaced(stage2.to_dict(), 'data/scenes/', f'{scenes}/'))
    for node in each(stage2.train_dataloader):
        if node.get('type') == 'Resize':
            node.scale = (64, 64)
    loader = stage2.train_dataloader
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    loader.sampler.batch_size = batch_size
    cfg.train_dataloader = loader
    if validate:
        for part in ('val_dataloader', 'val_evaluator', 'val_cfg'):
            cfg[part] = stage2[part]
        cfg.val_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
        cfg.train_cfg.val_interval = cfg.train_cfg.max_iters
        cfg.model.test_cfg = dict(generation=dict(max_new_tokens=4))
    # All instructions of a batch: which ones are left out depends on the number of processes.
    cfg.model.bbox_head.format_parser = dict(loss_weight=10.0, num_samples=100)
    cfg.model.bbox_head.text_weight = 10.0
    return cfg


def flexible(cfg: Config, **strategy) -> Config:
    """The same config for mmengine's ``FlexibleRunner``."""
    cfg.runner_type = 'FlexibleRunner'
    cfg.strategy = ConfigDict(strategy)
    return cfg


def _main(cfg: Config, environment: dict[str, str], log: Path) -> None:
    sys.stdout = sys.stderr = open(log, 'a', buffering=1)  # noqa: SIM115
    faulthandler.dump_traceback_later(LIMIT, exit=True)  # processes that wait for one another wait forever
    os.environ.update(environment)
    Config.pretty_text = property(repr)  # beautifying takes longer than training
    torch.set_num_threads(1)
    allow_mmengine_checkpoints()
    set_local_rank(0)
    prepare_launcher(cfg, 'pytorch' if environment else 'none')
    build_runner(cfg).train()
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def train_together(cfg: Config, processes: int, resume: bool = False) -> list[dict]:
    """Train as ``torchrun --nproc-per-node processes tools/train.py --launcher pytorch`` does; 0: without launcher.

    Returns:
        The losses of each iteration.

    Raises:
        AssertionError: if a process failed.
    """
    context = forkserver(__name__)
    work_dir = Path(cfg.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = str(server.getsockname()[1])
    started = []
    for rank in range(max(1, processes)):
        environment = dict(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes),
            MASTER_ADDR='127.0.0.1', MASTER_PORT=port) if processes else {}  # yapf: disable
        own = copy.deepcopy(cfg)
        own.resume = resume
        args = own, environment, work_dir / f'output_{rank}.txt'
        started.append(context.Process(target=_main, args=args))
        started[-1].start()
    for process in started:
        process.join()
    logs = [path.read_text()[-3000:] for path in sorted(work_dir.glob('output_*.txt'))]
    assert [process.exitcode for process in started] == [0] * len(started), '\n'.join(logs)
    return losses_of(work_dir)


def assert_close(ours: list[dict], theirs: list[dict], rel: float = 1e-4) -> None:
    """All losses of all iterations are equal within a relative difference; totals are not those of one iteration."""
    assert [sorted(step) for step in ours] == [sorted(step) for step in theirs]
    assert len({step['loss'] for step in ours}) == len(ours)  # equal losses would prove nothing
    for our, their in zip(ours, theirs):
        assert our == pytest.approx(their, rel=rel, abs=1e-6)
