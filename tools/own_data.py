# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Configs for data of your own: write them, and the commands that train them.

A file of a few lines says where the data is and what is in it; the trainings of the recipe beside it, a Deformable DETR,
a small language model on the names, and VisionLLM from both, read it there.

Examples:
    python tools/own_data.py fruits --data-root data/fruits --train annotations/train.json --val annotations/val.json
    mim run mmvisionllm own_data fruits --data-root data/fruits --train train.json --val val.json --classes apple banana
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

from mmvisionllm.datasets.coco_file import CheckedCOCO
from mmvisionllm.utils.launch import check_exists

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
_FEWEST = 1000
# VisionLLM trains so much less than the detector: on few photos, AP50 was the same after 100 to 333 iterations. Polygons
# are new to it.
SHARE, SHARE_WITH_MASKS = 10, 3
# Of the language model: three names are looked up after 80 iterations, half of twenty after 150.
ITERS_PER_NAME, _FEWEST_LLM, _MOST_LLM = 40, 120, 2000
DETECTOR_BASE = 'deformable_detr/deformable-detr-refine_tiny_coco-mini'
SHIPPED_DETECTOR = 'mmvisionllm://deformable-detr_tiny_scenes'

DATA = """\
# Your data, said once: the trainings beside this file read it here.
own_root = {root!r}
own_train, own_val = {train!r}, {val!r}  # annotation files
own_images, own_val_images = {train_images!r}, {val_images!r}  # folders that their file names stand in
own_classes = {classes!r}
own_words = {{}}  # what to call some of them in instructions: {{{classes[0]!r}: 'words of your own'}}
own_scale = ({scale}, {scale})  # pixels that the longer side of an image is made; half as many train four times as fast
own_iters = {iters}  # of the Deformable DETR; VisionLLM trains {share} of them
own_llm_iters = {llm_iters}  # of the language model on the names; `acc` in its log says how many it looks up right

own_data = dict(data_root=own_root, metainfo=dict(classes=own_classes))
own_train_data = dict(own_data, ann_file=own_train, data_prefix=dict(img=own_images))
own_val_data = dict(own_data, ann_file=own_val, data_prefix=dict(img=own_val_images))
own_steps = dict(Resize=dict(scale=own_scale), AttachInstruction=dict(categories=own_words))
"""

TRAINING = """
train_cfg = dict(max_iters={iters}, val_interval={iters} // 4)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={iters} // 4, save_last=True, save_best={best!r}))
"""

BOXES = """
train_pipeline = [dict(step, **_base_.own_steps.get(step.type, {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **_base_.own_steps.get(step.type, {})) for step in _base_.test_pipeline]
tta_pipeline = [*test_pipeline[:-1], _base_.pack_tta]
train_dataloader = dict(dataset=dict(dataset=dict(_base_.own_train_data, pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(_base_.own_val_data, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.own_root + _base_.own_val)
test_evaluator = val_evaluator
"""

MASKS = """
trained, tested = (
    [
        dict(task, **data, pipeline=[dict(step, **_base_.own_steps.get(step.type, {})) for step in task.pipeline])
        for task in tasks
    ]
    for tasks, data in (
        ((_base_.detection, _base_.segmentation), _base_.own_train_data),
        (_base_.val_datasets[:2], _base_.own_val_data),
    )
)
train_dataloader = dict(sampler=dict(weights=[1, 1.5]), dataset=dict(dataset=dict(datasets=trained)))
val_dataloader = dict(dataset=dict(datasets=tested))
test_dataloader = val_dataloader
val_evaluator = dict(
    dataset_prefixes=('detection', 'segmentation'),
    metrics=[dict(metric, ann_file=_base_.own_root + _base_.own_val) for metric in _base_.val_evaluator.metrics[:2]])
test_evaluator = val_evaluator
"""

DETECTOR = """\
# mmdet's Deformable DETR, which VisionLLM starts from.
_base_ = [{base!r}, './{name}_data.py']
model = dict(bbox_head=dict(num_classes=len(_base_.own_classes)))
"""

START = """
load_from = {load_from!r}
# Its own classes and number of queries.
default_hooks['trained_weights'] = dict(allow_missing=('bbox_head.cls_branches', 'query_embedding'))
"""

LANGUAGE_MODEL = """\
# The small language model that ships, pretrained on the scenes' texts, learns to look the names up in an instruction.
_base_ = [{base!r}, './{name}_data.py']
model = dict(
    bbox_head=dict(
        init_cfg=dict(type='Pretrained', checkpoint='mmvisionllm://llm_tiny_scenes', prefix='bbox_head')))
train_dataloader = dict(
    dataset=dict(
        categories=[_base_.own_words.get(name, name) for name in _base_.own_classes],
        max_categories=min(8, len(_base_.own_classes)),
        length=_base_.batch_size * _base_.own_llm_iters))
train_cfg = dict(max_iters=_base_.own_llm_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # half of that from nothing
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=_base_.own_llm_iters), logger=dict(interval=10))
"""

VISIONLLM = """\
# VisionLLM, from both: {tasks}.
_base_ = [{base!r}, './{name}_data.py']
words = [_base_.own_words.get(name, name) for name in _base_.own_classes]
tokenizer = {tokenizer!r}  # the language model's that ships
model = dict(
    neck=dict(
        token_head=dict(num_classes=len(_base_.own_classes)),
        text_encoder=dict(tokenizer=tokenizer)),
    init_cfg=dict(checkpoint=f'work_dirs/{name}_deformable-detr/iter_{{_base_.own_iters}}.pth', classes=words),
    bbox_head=dict(
        language_model=dict(tokenizer=tokenizer),
        init_cfg=dict(checkpoint=f'work_dirs/{name}_llm/iter_{{_base_.own_llm_iters}}.pth')))
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='folder for the configs; its name goes into theirs')
    parser.add_argument('--data-root', required=True, help='folder of the data')
    parser.add_argument('--train', required=True, help='annotation file in COCO format, below the data root')
    parser.add_argument('--val', help='the same for validation (default: a fifth of the training images)')
    parser.add_argument(
        '--train-images', default='', help="folder of the training images, below the data root (default: '')"
    )
    parser.add_argument('--val-images', help="the same for validation (default: the training images')")
    parser.add_argument('--classes', nargs='+', help="what to find (default: all of the training file's categories)")
    parser.add_argument('--masks', action='store_true', help='learn polygons, too, from the segmentations')
    parser.add_argument(
        '--scale', type=int, default=256, help='longer side of the images in pixels (default: %(default)s)'
    )
    parser.add_argument('--iters', type=int, default=2000, help='of the detector (default: %(default)s)')
    parser.add_argument(
        '--load-from',
        default=SHIPPED_DETECTOR,
        help='a Deformable DETR of the same sizes to start from, or none (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if '://' not in args.load_from and args.load_from != 'none':
        check_exists(parser, 'checkpoint', args.load_from)
        args.load_from = os.path.abspath(args.load_from)
    if args.iters < _FEWEST:
        parser.error(f'--iters {args.iters}: VisionLLM trains a tenth of them, after a warm-up; {_FEWEST} is the least')
    for file in filter(None, (args.train, args.val)):
        check_exists(parser, 'annotation file', str(Path(args.data_root, file)))
    if args.val_images is None:
        args.val_images = args.train_images
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Write the configs."""
    args = parse_args(argv)
    out, root = Path(args.out), Path(args.data_root).resolve()  # '..' leaves a linked folder by its real parent
    out.mkdir(parents=True, exist_ok=True)
    train = CheckedCOCO(str(root / args.train), args.classes, args.masks)
    names = tuple(args.classes or (category['name'] for category in train.dataset['categories']))
    if args.val is None:
        args.train, args.val = split(train, out.resolve())
    else:
        CheckedCOCO(str(root / args.val), names, args.masks)  # ends here if it cannot be used
    args.train, args.val = (os.path.relpath(root / file, root) for file in (args.train, args.val))
    name = out.name
    data = DATA.format(
        root=f'{root}/',
        train=args.train,
        val=args.val,
        train_images=args.train_images,
        val_images=args.val_images,
        classes=names,
        scale=args.scale,
        iters=args.iters,
        share='a third' if args.masks else 'a tenth',
        llm_iters=min(max(ITERS_PER_NAME * len(names), _FEWEST_LLM), _MOST_LLM),
    )
    iters = f'(_base_.own_iters // {SHARE_WITH_MASKS if args.masks else SHARE})'
    best = 'segmentation/coco/segm_mAP' if args.masks else 'coco/bbox_mAP'
    files = {
        'data': data,
        'deformable-detr': DETECTOR.format(name=name, base=config(DETECTOR_BASE))
        + BOXES
        + TRAINING.format(iters='_base_.own_iters', best='coco/bbox_mAP')
        + ('' if args.load_from == 'none' else START.format(load_from=args.load_from)),
        'llm': LANGUAGE_MODEL.format(name=name, base=config('visionllm/llm_tiny_scenes_pretrain')),
        'visionllm': VISIONLLM.format(
            name=name,
            base=config(f'visionllm/visionllm_tiny_coco-mini{"_multitask" if args.masks else ""}'),
            tokenizer=str(CONFIGS / '_base_/tokenizers/scenes'),
            tasks='boxes and polygons by turns' if args.masks else 'boxes',
        )
        + (MASKS if args.masks else BOXES)
        + TRAINING.format(iters=iters, best=best),
    }
    for kind, text in files.items():
        (out / f'{name}_{kind}.py').write_text(text, encoding='utf-8')
    print(f'{out / f"{name}_data.py"} says where your data is. Look at it, train, and ask:')
    config_of = {kind: out / f'{name}_{kind}.py' for kind in files}
    print(f'mim run mmvisionllm browse_data {config_of["visionllm"]}')
    for kind in ('deformable-detr', 'llm', 'visionllm'):
        print(f'mim train mmvisionllm {config_of[kind]}')
    weights = f'work_dirs/{name}_visionllm/iter_{args.iters // (SHARE_WITH_MASKS if args.masks else SHARE)}.pth'
    print(f'mim run mmvisionllm infer PHOTO {config_of["visionllm"]} --weights {weights} --out-dir out')


def split(coco: CheckedCOCO, folder: Path, seed: int = 0) -> tuple[str, str]:
    """Write an annotation file of four fifths of the images and one of the others.

    Returns:
        Their paths.

    Raises:
        ValueError: if there are fewer than two images.
    """
    images = coco.dataset['images']
    if len(images) < 2:
        raise ValueError(f'{coco.report.path} lists {len(images)} image: some are needed for validation, name --val')
    drawn = random.Random(seed).sample(range(len(images)), max(1, round(len(images) / 5)))
    held_out = {images[i]['id'] for i in drawn}
    paths = []
    for part, inside in (('train', False), ('val', True)):
        document = dict(
            coco.dataset,
            images=[image for image in images if (image['id'] in held_out) == inside],
            annotations=[a for a in coco.dataset['annotations'] if (a['image_id'] in held_out) == inside],
        )
        paths.append(folder / f'{part}.json')
        paths[-1].write_text(json.dumps(document), encoding='utf-8')
    return str(paths[0]), str(paths[1])


def config(name: str) -> str:
    """Path of one of this package's configs."""
    return str(CONFIGS / f'{name}.py')


if __name__ == '__main__':
    main()
