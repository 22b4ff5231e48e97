# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Put trained weights into the package, in float16, with the log and the hash; configs name them mmvisionllm://NAME.

Examples:
    python tools/publish_weights.py deformable-detr_tiny_scenes \\
        work_dirs/deformable-detr-refine_tiny_scenes/iter_2400.pth
    python tools/publish_weights.py llm_tiny_scenes work_dirs/llm_tiny_scenes_pretrain/iter_3500.pth \\
        work_dirs/llm_tiny_scenes_answers/iter_2500.pth work_dirs/llm_tiny_scenes_descriptions/iter_1200.pth \\
        work_dirs/llm_tiny_scenes_expressions/iter_1000.pth --part bbox_head

Of trainings that went on from one another, the last one's weights are published. Of a language model that was trained on
text, what text does not train, the projection of image tokens, is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmvisionllm.utils import check_exists
from mmvisionllm.utils.checkpoint import read_weights_and_classes
from mmvisionllm.utils.package_weights import FOLDER, save_package_weights
from mmvisionllm.utils.training_log import logged_iterations, training_seconds

UNTRAINED = ('bbox_head.projector.linear.', 'bbox_head.projector.mlp.')
# Of a training's log, every fifth line.
KEYS = ('step', 'loss', 'loss_cls', 'loss_bbox', 'loss_iou', 'loss_dec_cls', 'loss_dec_loc', 'loss_dec_bbox',
        'loss_dec_iou', 'loss_outline_loc', 'loss_text', 'acc')  # fmt: skip


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='of the weights')
    parser.add_argument('checkpoints', nargs='+', help='of trainings that went on from one another, in their order')
    parser.add_argument(
        '--part', choices=('bbox_head',), help='the language model of a text pretraining (default: the whole model)'
    )
    parser.add_argument('--folder', type=Path, default=FOLDER, help='(default: %(default)s)')
    args = parser.parse_args(argv)
    for path in args.checkpoints:
        check_exists(parser, 'checkpoints', path)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Publish. Returns the exit status: 0, or 2 for a checkpoint without the part."""
    args = parse_args(argv)
    published = args.checkpoints[-1]
    state, classes = read_weights_and_classes(published)
    if args.part:
        state = {k: v for k, v in state.items() if k.startswith(f'{args.part}.') and not k.startswith(UNTRAINED)}
    if not state:
        print(f'publish_weights: {published} holds no {args.part}.*', file=sys.stderr)
        return 2
    work_dirs = [Path(path).parent for path in args.checkpoints]
    lines = [line for work_dir in work_dirs for line in logged_iterations(work_dir)[4::5]]
    meta = dict(
        command=' && '.join(f'mim train mmvisionllm {work_dir.name}.py' for work_dir in work_dirs),
        checkpoint=Path(published).name,
        weights=sum(value.numel() for value in state.values()),
        seconds=round(sum(training_seconds(work_dir) for work_dir in work_dirs)),
        log=[{k: round(line[k], 4) for k in KEYS if k in line} for line in lines],
    )
    if classes and not args.part:
        meta['dataset_meta'] = dict(classes=classes)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f'{args.name}.safetensors'
    save_package_weights(state, path, meta)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
