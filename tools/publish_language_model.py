# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Put a language model that was pretrained on text into the package, in float16, with its log and hash.

Examples:
    python tools/train.py configs/visionllm/llm_tiny_scenes_pretrain.py
    python tools/publish_language_model.py work_dirs/llm_tiny_scenes_pretrain/iter_2000.pth llm_tiny_scenes

What text does not train, the projection of image tokens and where along an outline points lie, is left out. Configs then
name it mmvisionllm://llm_tiny_scenes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmvisionllm.utils import check_exists
from mmvisionllm.utils.checkpoint import read_weights
from mmvisionllm.utils.package_weights import FOLDER, save_package_weights
from mmvisionllm.utils.training_log import logged_iterations, training_seconds

PREFIX = 'bbox_head.'
UNTRAINED = ('bbox_head.projector.linear.', 'bbox_head.projector.mlp.', 'bbox_head.format_queries.')
# Of the training's log, every fifth line.
KEYS = ('step', 'loss_dec_cls', 'loss_dec_loc', 'loss_dec_bbox', 'loss_dec_iou', 'loss_text', 'acc')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of a text pretraining')
    parser.add_argument('name', help='of the weights')
    parser.add_argument('--folder', type=Path, default=FOLDER, help='(default: %(default)s)')
    args = parser.parse_args(argv)
    check_exists(parser, 'checkpoint', args.checkpoint)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Publish. Returns the exit status: 0, or 2 for a checkpoint that is of no decoder."""
    args = parse_args(argv)
    state = {
        key: value
        for key, value in read_weights(args.checkpoint).items()
        if key.startswith(PREFIX) and not key.startswith(UNTRAINED)
    }
    if not state:
        print(f'publish_language_model: {args.checkpoint} holds no {PREFIX}*', file=sys.stderr)
        return 2
    work_dir = Path(args.checkpoint).parent
    meta = dict(
        command=f'mim train mmvisionllm {work_dir.name}.py',
        checkpoint=Path(args.checkpoint).name,
        weights=sum(value.numel() for value in state.values()),
        seconds=round(training_seconds(work_dir)),
        log=[{k: round(line[k], 4) for k in KEYS if k in line} for line in logged_iterations(work_dir)[4::5]],
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f'{args.name}.safetensors'
    save_package_weights(state, path, meta)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
