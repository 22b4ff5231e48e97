# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Configs for data of your own: write them, and the commands that train them.

A file of five lines says where the data is and what is in it; the trainings of the recipe beside it, a Deformable DETR, a
small language model on the names, and VisionLLM from both, read it there.

Examples:
    python tools/own_data.py fruits --data-root data/fruits --train annotations/train.json --val annotations/val.json
    mim run mmvisionllm own_data fruits --data-root data/fruits --train train.json --val val.json --classes apple banana
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmvisionllm.datasets.coco_file import CheckedCOCO
from mmvisionllm.utils.launch import check_exists

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
_FEWEST = 300
DETECTOR_BASE = 'deformable_detr/deformable-detr-refine_tiny_coco-mini'

DATA = """\
# Your data, said once: the trainings beside this file read it here.
own_root = {root!r}
own_train, own_val = {train!r}, {val!r}  # annotation files
own_images, own_val_images = {train_images!r}, {val_images!r}  # folders that their file names stand in
own_classes = {classes!r}
own_iters = {iters}  # of the Deformable DETR; VisionLLM trains a third of them

own_data = dict(data_root=own_root, metainfo=dict(classes=own_classes))
own_train_data = dict(own_data, ann_file=own_train, data_prefix=dict(img=own_images))
own_val_data = dict(own_data, ann_file=own_val, data_prefix=dict(img=own_val_images))
"""

TRAINING = """
train_dataloader = dict(dataset=dict(dataset=_base_.own_train_data))
val_dataloader = dict(dataset=_base_.own_val_data)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.own_root + _base_.own_val)
test_evaluator = val_evaluator
train_cfg = dict(max_iters={iters}, val_interval={iters} // 4)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={iters} // 4, save_last=True, save_best='coco/bbox_mAP'))
"""

DETECTOR = """\
# mmdet's Deformable DETR, which VisionLLM starts from.
_base_ = [{base!r}, './{name}_data.py']
model = dict(bbox_head=dict(num_classes=len(_base_.own_classes)))
"""

LANGUAGE_MODEL = """\
# A small language model learns to look the names up in an instruction.
_base_ = [{base!r}, './{name}_data.py']
max_iters = 700  # minutes on one core
train_dataloader = dict(
    dataset=dict(
        categories=_base_.own_classes,
        max_categories=min(8, len(_base_.own_classes)),
        length=_base_.batch_size * max_iters))
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters))
"""

VISIONLLM = """\
# VisionLLM's stage 1, from both.
_base_ = [{base!r}, './{name}_data.py']
model = dict(
    neck=dict(token_head=dict(num_classes=len(_base_.own_classes))),
    init_cfg=dict(checkpoint=f'work_dirs/{name}_deformable-detr/iter_{{_base_.own_iters}}.pth'),
    bbox_head=dict(init_cfg=dict(checkpoint='work_dirs/{name}_llm/iter_700.pth')))
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='folder for the configs; its name goes into theirs')
    parser.add_argument('--data-root', required=True, help='folder of the data')
    parser.add_argument('--train', required=True, help='annotation file in COCO format, below the data root')
    parser.add_argument('--val', required=True, help='the same for validation')
    parser.add_argument(
        '--train-images', default='', help="folder of the training images, below the data root (default: '')"
    )
    parser.add_argument('--val-images', default='', help='the same for validation')
    parser.add_argument('--classes', nargs='+', help="what to find (default: all of the training file's categories)")
    parser.add_argument('--iters', type=int, default=1500, help='of the detector (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.iters < _FEWEST:
        parser.error(f'--iters {args.iters}: schedules begin with a warm-up, {_FEWEST} is the least')
    args.train, args.val = (os.path.relpath(Path(args.data_root, f), args.data_root) for f in (args.train, args.val))
    for file in (args.train, args.val):
        check_exists(parser, 'annotation file', str(Path(args.data_root, file)))
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Write the configs."""
    args = parse_args(argv)
    out, root = Path(args.out), Path(args.data_root).resolve()
    train = CheckedCOCO(str(root / args.train), args.classes)
    names = tuple(args.classes or (category['name'] for category in train.dataset['categories']))
    CheckedCOCO(str(root / args.val), names)  # ends here if it cannot be used
    name = out.name
    data = DATA.format(
        root=f'{root}/',
        train=args.train,
        val=args.val,
        train_images=args.train_images,
        val_images=args.val_images,
        classes=names,
        iters=args.iters,
    )
    files = {
        'data': data,
        'deformable-detr': DETECTOR.format(name=name, base=config(DETECTOR_BASE))
        + TRAINING.format(iters='_base_.own_iters'),
        'llm': LANGUAGE_MODEL.format(name=name, base=config('visionllm/llm_tiny_coco_pretrain')),
        'visionllm': VISIONLLM.format(name=name, base=config('visionllm/visionllm_tiny_coco-mini'))
        + TRAINING.format(iters='(_base_.own_iters // 3)'),
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind, text in files.items():
        (out / f'{name}_{kind}.py').write_text(text, encoding='utf-8')
    print(f'{out / f"{name}_data.py"} says where your data is. Look at it, train, and ask:')
    config_of = {kind: out / f'{name}_{kind}.py' for kind in files}
    print(f'mim run mmvisionllm browse_data {config_of["visionllm"]}')
    for kind in ('deformable-detr', 'llm', 'visionllm'):
        print(f'mim train mmvisionllm {config_of[kind]}')
    weights = f'work_dirs/{name}_visionllm/iter_{args.iters // 3}.pth'
    print(f'mim run mmvisionllm infer PHOTO {config_of["visionllm"]} --weights {weights} --out-dir out')


def config(name: str) -> str:
    """Path of one of this package's configs."""
    return str(CONFIGS / f'{name}.py')


if __name__ == '__main__':
    main()
