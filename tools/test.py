# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Test a checkpoint with a config's test dataloader and evaluator.

Examples:
    python tools/test.py configs/visionllm/visionllm_tiny_scenes.py CHECKPOINT
    mim test mmvisionllm visionllm_tiny_scenes.py --checkpoint CHECKPOINT --show-dir pictures
"""

import argparse
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

import mmvisionllm  # noqa: F401  registers the models, also for configs without custom_imports
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmvisionllm.engine import build_runner
from mmvisionllm.utils import (
    add_common_arguments,
    allow_mmengine_checkpoints,
    check_exists,
    load_config,
    prepare_launcher,
    set_local_rank,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; wrong paths end here with a usage message."""
    parser = argparse.ArgumentParser(description='Test a model')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='directory for logs and metrics')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to a pickle file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='write pictures with predictions to <work-dir>/<timestamp>/<SHOW_DIR>')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation: tta_model, tta_pipeline of the config'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per picture of --show (default: 2)')
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    check_exists(parser, 'config', args.config)
    check_exists(parser, 'checkpoint', args.checkpoint)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out writes a pickle file, .pkl or .pickle: {args.out}')
    return args


def build_config(args: argparse.Namespace) -> Config:
    """Config of the run: the file with the command line's settings applied.

    Raises:
        RuntimeError: If pictures are asked for and the config has no ``visualization`` hook.
        ValueError: If test-time augmentation is asked for and the config does not say how.
    """
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.launcher == 'none':  # one process needs no strategy, whatever the config was trained by
        cfg.pop('runner_type', None)
        cfg.pop('strategy', None)
    if args.tta:
        enable_tta(cfg)
    if args.show or args.show_dir:
        cfg = trigger_visualization_hook(cfg, args)
    return cfg


def enable_tta(cfg: Config) -> None:
    """Wrap the model in ``tta_model`` and test by ``tta_pipeline``, as mmdet does.

    Args:
        cfg: The config, changed in place.

    Raises:
        ValueError: If it lacks one of them, or tests several data sets.
    """
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'datasets' in dataset:
        raise ValueError('--tta merges boxes: it tests one data set, and the config has several, of several tasks')
    if missing := [name for name in ('tta_model', 'tta_pipeline') if name not in cfg]:
        raise ValueError(f'--tta needs {" and ".join(missing)} in the config, as configs/_base_ have them')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def main() -> None:
    """Test."""
    args = parse_args()
    set_local_rank(args.local_rank)
    cfg = build_config(args)
    prepare_launcher(cfg, args.launcher)
    allow_mmengine_checkpoints()
    runner = build_runner(cfg)
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    runner.test()


if __name__ == '__main__':
    main()
