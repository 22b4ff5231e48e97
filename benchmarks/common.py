"""What the accuracy benchmarks share: trainings and tests in processes of their own, and trained models in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import load_checkpoint
from torch import nn

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmvisionllm.utils import allow_mmengine_checkpoints

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str, wait: bool = True) -> subprocess.Popen:
    """Start a Python script of this repository."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment)
    if wait and process.wait():
        raise SystemExit(f'{" ".join(command)} failed with exit status {process.returncode}')
    return process


def train(configs: dict[str, Config], work_dir: Path, parallel: bool) -> None:
    """Train every config that has no checkpoint of its last iteration yet; what was broken off goes on."""
    running = []
    for name, cfg in configs.items():
        path = work_dir / f'{name}.py'
        cfg.dump(path)
        pointer = work_dir / name / 'last_checkpoint'
        if pointer.is_file() and Path(pointer.read_text().strip()).name == f'iter_{cfg.train_cfg.max_iters}.pth':
            continue
        # With --resume, a training starts from its own checkpoints alone, and not from `load_from`.
        resume = ['--resume'] if pointer.is_file() else []
        command = ('tools/train.py', str(path), '--work-dir', str(work_dir / name), *resume)
        running.append(run(*command, wait=not parallel))
    for process in running:
        if process.wait():
            raise SystemExit(f'training failed with exit status {process.returncode}')


def test(cfg: Config, checkpoint: Path, work_dir: Path) -> dict[str, float]:
    """Metrics of a checkpoint."""
    work_dir.mkdir(parents=True, exist_ok=True)
    cfg.dump(work_dir / 'config.py')
    run('tools/test.py', str(work_dir / 'config.py'), str(checkpoint), '--work-dir', str(work_dir))
    newest = max(work_dir.glob('*/*.json'), key=lambda p: p.stat().st_mtime)
    return json.loads(newest.read_text().splitlines()[-1])


def trained(config: str, checkpoint: str) -> tuple[Config, nn.Module]:
    """A config of this repository, and its model with the weights of a checkpoint, for evaluation."""
    register_all_modules()
    allow_mmengine_checkpoints()
    cfg = Config.fromfile(ROOT / config)
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, checkpoint, map_location='cpu')
    return cfg, model


def moved(cfg: Config, old: str, new: str) -> Config:
    """A config whose data lie elsewhere."""
    return Config.fromstring(cfg.pretty_text.replace(old, new), '.py')


def innermost(dataset: ConfigDict) -> ConfigDict:
    """The dataset inside of wrappers."""
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def instruction_step(dataset: ConfigDict) -> ConfigDict:
    """The step of a dataset's pipeline that attaches instructions."""
    return next(step for step in innermost(dataset).pipeline if step.type == 'AttachInstruction')
