"""Images per second of a training in one process and in several.

    python benchmarks/ddp_scaling.py [--config CONFIG] [--processes 1 2] [--strategy ddp] [--iters 20] [--batch-size 4]

Each number of processes is a training of its own by ``tools/train.py``, on rendered scenes, with ``batch-size``
images per process and iteration. The processes communicate through NCCL where there are GPUs, and through gloo
otherwise. The first quarter of the iterations is left out. The share of linear scaling is the images per second over
those of the first number of processes, times its share of the processes: 1 if communication and waiting cost nothing.
Processes on CPUs have ``cpu_count // max(processes)`` threads each, so that a process gets the same share of the
machine in every training.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import ROOT
from mmengine.config import Config

from mmvisionllm.scenes.generator import SceneSettings, make_scenes


def small_training(config: str, strategy: str | None, scenes: Path, args: argparse.Namespace) -> Config:
    """A config without validation, checkpoints and weights from elsewhere."""
    cfg = Config.fromfile(config)
    if strategy:
        base = Config.fromfile(ROOT / f'configs/_base_/strategies/{strategy}.py')
        cfg.runner_type, cfg.strategy = base.runner_type, base.strategy
    cfg.load_from = None
    cfg.model.bbox_head.pop('init_cfg', None)
    cfg.train_dataloader.update(batch_size=args.batch_size)
    cfg.train_dataloader.dataset.dataset.data_root = str(scenes)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.train_cfg.update(max_iters=args.iters, val_interval=args.iters + 1)
    cfg.param_scheduler = []
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.update(interval=10 * args.iters, save_last=False)
    cfg.log_processor.window_size = 1
    return cfg


def seconds_per_iteration(cfg: Config, processes: int, threads: int, work_dir: Path) -> float:
    """Median over the iterations of a training, without its first quarter."""
    work_dir.mkdir()
    cfg.dump(work_dir / 'config.py')
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS=str(threads))
    command = [sys.executable, '-m', 'torch.distributed.run', f'--nproc-per-node={processes}']
    command += [f'--master-port={port}', 'tools/train.py', str(work_dir / 'config.py')]
    command += ['--launcher', 'pytorch', '--work-dir', str(work_dir / 'run')]
    with open(work_dir / 'log.txt', 'w') as log:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    if done.returncode:
        raise SystemExit((work_dir / 'log.txt').read_text()[-3000:])
    (scalars,) = (work_dir / 'run').glob('*/vis_data/scalars.json')
    times = [json.loads(line)['time'] for line in scalars.read_text().splitlines()]
    return statistics.median(times[len(times) // 4 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=str(ROOT / 'configs/visionllm/visionllm_tiny_scenes.py'))
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--strategy', choices=['ddp', 'fsdp', 'deepspeed_zero2'])
    parser.add_argument('--iters', type=int, default=20)
    parser.add_argument('--batch-size', type=int, default=4)
    args = parser.parse_args()
    gpus = torch.cuda.device_count()
    if gpus and max(args.processes) > gpus:
        parser.error(f'{max(args.processes)} processes, but {gpus} GPUs')
    threads = max(1, (os.cpu_count() or 1) // max(args.processes))
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder, 'scenes')
        make_scenes(scenes, SceneSettings(train=64, val=2, seed=0, image_size=128))
        cfg = small_training(args.config, args.strategy, scenes, args)
        for processes in args.processes:
            seconds = seconds_per_iteration(cfg, processes, threads, Path(folder, f'{processes}'))
            speeds[processes] = processes * args.batch_size / seconds
            print(f'{processes} processes: {speeds[processes]:.2f} images/s', flush=True)
    first = args.processes[0]
    print(
        json.dumps(
            dict(
                config=Path(args.config).stem,
                strategy=args.strategy or 'Runner',
                backend='nccl' if gpus else 'gloo',
                batch_size_per_process=args.batch_size,
                threads_per_process=threads,
                images_per_s={n: round(speed, 2) for n, speed in speeds.items()},
                share_of_linear={n: round(speed * first / (speeds[first] * n), 3) for n, speed in speeds.items()},
            )
        )
    )


if __name__ == '__main__':
    main()
