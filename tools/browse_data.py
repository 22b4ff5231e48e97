# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Look at a config's data before training: pictures of samples as the model sees them, and a table of the objects.

Examples:
    python tools/browse_data.py configs/visionllm/visionllm_tiny_scenes.py --out-dir browse
    mim run mmvisionllm browse_data visionllm_tiny_scenes.py --out-dir browse --number 30
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers the datasets
from mmdet.registry import DATASETS
from mmvisionllm.engine.hooks.data_check_hook import coco_datasets
from mmvisionllm.utils.launch import add_cfg_options, check_exists
from mmvisionllm.visualization.training_samples import describe_objects, draw_training_sample

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help="config file, or the name of one of this package's")
    parser.add_argument('--out-dir', default='browse', help='folder for the pictures (default: %(default)s)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=int, default=20, help='of pictures (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn at random (default: %(default)s)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if Path(args.config).name == args.config and not Path(args.config).is_file():  # one of this package's, by its name
        args.config = next((str(path) for path in CONFIGS.rglob(args.config)), args.config)
    check_exists(parser, 'config', args.config)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, and print the table."""
    args = parse_args(argv)
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
    num_queries = cfg.model.get('neck', {}).get('num_queries')
    for own in {own.ann_file: own for own in coco_datasets(dataset)}.values():
        print(describe_objects(own, num_queries), end='\n\n')
    rng = np.random.default_rng(args.seed)
    np.random.seed(args.seed)  # mmdet's transforms draw from it
    for index in rng.permutation(len(dataset))[: args.number].tolist():
        packed = dataset[index]
        image = packed['inputs'].permute(1, 2, 0).numpy().astype(np.uint8)[..., ::-1]
        picture = draw_training_sample(image, packed['data_samples'])
        mmcv.imwrite(picture[..., ::-1], str(Path(args.out_dir, f'{index:06}.png')))
    print(f'pictures in {args.out_dir}')


if __name__ == '__main__':
    main()
