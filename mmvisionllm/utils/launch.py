# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Command-line arguments and process groups for ``tools/train.py`` and ``tools/test.py``."""

import argparse
import datetime
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.distributed as torch_dist
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import print_log

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, nested keys with dots and lists with commas: '
        'optim_wrapper.optimizer.lr=1e-4 model.x="[1,2]"; no blanks within a value',
    )


def parse_conversion(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse ``CONFIG CHECKPOINT FOLDER [--cfg-options ...]``; wrong paths end here with a usage message."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', help='folder to write')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_exists(parser, 'config', args.config)
    check_exists(parser, 'checkpoint', args.checkpoint)
    return args


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what training and testing have in common: overrides, launcher, local rank.

    ``torch.distributed.launch`` passes ``--local-rank`` since torch 2.0 and passed ``--local_rank``
    before; both are understood.
    """
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')


def set_local_rank(local_rank: int) -> None:
    """Put the rank from the command line where mmengine reads it, unless the launcher has."""
    os.environ.setdefault('LOCAL_RANK', str(local_rank))


def check_exists(parser: argparse.ArgumentParser, what: str, path: str) -> None:
    """End with a usage message if the local file ``path`` does not exist.

    Paths with a scheme (``https://``, ``s3://``) are left to mmengine's file backends.

    Args:
        parser: Reports the error and exits with status 2.
        what: What the path stands for, as in 'config' or 'checkpoint'.
        path: The path as given by the user.
    """
    if '://' not in path and not Path(path).is_file():
        parser.error(f'{what} not found: {path}')


def load_config(path: str, overrides: Mapping | None, work_dir: str | None) -> Config:
    """Read a config and settle its work directory.

    The work directory is, in this order: ``work_dir``, the config's own, ``work_dirs/<config>``
    below the current directory.

    Args:
        path: Config file.
        overrides: Dotted keys and values to merge over the file's, as ``--cfg-options`` gives them.
        work_dir: Directory for logs and checkpoints, or None.
    """
    cfg = Config.fromfile(path)
    if overrides:
        cfg.merge_from_dict(overrides)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name) or {}
        if loader.get('num_workers') == 0:  # torch refuses both without workers
            loader['persistent_workers'] = False
            loader.pop('prefetch_factor', None)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def prepare_launcher(cfg: Config, launcher: str) -> None:
    """Set the launcher and, on a machine without accelerator, make it work on CPU processes.

    mmengine's launchers bind a CUDA device to each process, configs ask for NCCL, and the model is
    wrapped with the local rank as its device: none of these works on CPU. The process group is
    therefore started here, with gloo, and the wrapper is told to use no device. With an accelerator
    nothing but the launcher is set. Both mmengine's ``Runner`` and its ``FlexibleRunner`` (``runner_type`` in the
    config) are served.

    Args:
        cfg: The config, changed in place.
        launcher: One of 'none', 'pytorch', 'slurm', 'mpi'.

    Raises:
        ValueError: If a launcher other than 'pytorch' is used without accelerator, or a strategy of many processes
            without launcher.
    """
    cfg.launcher = launcher
    strategy = cfg.get('strategy') or {}
    if launcher == 'none' and strategy.get('type', 'SingleDeviceStrategy') != 'SingleDeviceStrategy':
        raise ValueError(
            f'{strategy.type} works with processes that a launcher has started: run torchrun --nproc-per-node N '
            'tools/train.py CONFIG --launcher pytorch (N may be 1), or mim train with --launcher and --gpus'
        )
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs GPUs and none is available; several CPU processes work with --launcher pytorch'
        )
    env_cfg = cfg.setdefault('env_cfg', dict())
    dist_cfg = env_cfg.setdefault('dist_cfg', dict())
    asked = dist_cfg.get('backend', 'nccl')
    dist_cfg['backend'] = 'gloo'
    ddp = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if cfg.get('runner_type', 'Runner') == 'Runner':
        cfg.model_wrapper_cfg = dict(cfg.get('model_wrapper_cfg') or ddp, device_ids=None)
    elif strategy.get('type', 'DDPStrategy') == 'DDPStrategy':
        wrapper = dict(strategy.get('model_wrapper') or ddp, device_ids=None)
        cfg.strategy = dict(strategy, type='DDPStrategy', model_wrapper=wrapper)

    if not is_distributed():
        timeout = dist_cfg.get('timeout')
        torch_dist.init_process_group(
            backend='gloo', timeout=None if timeout is None else datetime.timedelta(seconds=timeout)
        )
    if asked != 'gloo' and torch_dist.get_rank() == 0:
        print_log(
            f'No accelerator is available: {torch_dist.get_world_size()} CPU processes communicate '
            f'through gloo instead of {asked}.',
            'current',
            logging.INFO,
        )
