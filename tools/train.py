# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Train a model from a config.

Examples:
    python tools/train.py configs/visionllm/visionllm_tiny_scenes.py
    mim train mmvisionllm visionllm_tiny_scenes.py --resume
    mim train mmvisionllm CONFIG --launcher pytorch --gpus 8
"""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device

import mmvisionllm  # noqa: F401  registers the models, also for configs without custom_imports
from mmvisionllm.engine import build_runner
from mmvisionllm.utils import (
    add_common_arguments,
    allow_mmengine_checkpoints,
    check_exists,
    keep_freed_memory,
    load_config,
    prepare_launcher,
    set_local_rank,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; wrong paths end here with a usage message."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='directory for logs and checkpoints')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (GPU)')
    parser.add_argument(
        '--amp-dtype',
        choices=('bfloat16', 'float16'),
        default='bfloat16',
        help='what --amp computes in (default: %(default)s)',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate by actual / base batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint, or, without a value (or with "auto"), from the latest one '
        'in the work directory, if there is any',
    )
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    check_exists(parser, 'config', args.config)
    if args.resume not in (None, 'auto'):
        check_exists(parser, 'checkpoint to resume from', args.resume)
    return args


def enable_amp(cfg: Config, dtype: str) -> None:
    """Turn the config's optimizer wrapper into mmengine's AMP wrapper.

    Args:
        cfg: The config, changed in place.
        dtype: 'bfloat16', or 'float16' with dynamic loss scaling (bfloat16 needs none).

    Raises:
        ValueError: If there is no accelerator, or the wrapper is of a type that AMP cannot replace.
    """
    if get_device() == 'cpu':
        raise ValueError('--amp needs a GPU; leave it out to train on CPU in float32')
    wrapper = cfg.optim_wrapper
    if wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp cannot replace the optimizer wrapper {wrapper.type}; set optim_wrapper in the config')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.dtype = dtype
    wrapper.loss_scale = 'dynamic' if dtype == 'float16' else 1.0


def enable_auto_scale_lr(cfg: Config) -> None:
    """Switch on learning-rate scaling.

    Args:
        cfg: The config, changed in place.

    Raises:
        ValueError: If the config does not say for which batch size its learning rate is meant.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate was chosen '
            'for: set auto_scale_lr = dict(base_batch_size=...) in the config'
        )
    cfg.auto_scale_lr.enable = True


def build_config(args: argparse.Namespace) -> Config:
    """Config of the run: the file with the command line's settings applied."""
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.amp:
        enable_amp(cfg, args.amp_dtype)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def main() -> None:
    """Train."""
    args = parse_args()
    set_local_rank(args.local_rank)
    cfg = build_config(args)
    prepare_launcher(cfg, args.launcher)
    allow_mmengine_checkpoints()
    if get_device() == 'cpu':
        keep_freed_memory()
    build_runner(cfg).train()


if __name__ == '__main__':
    main()
