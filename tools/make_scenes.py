# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Make a data set of rendered scenes: images, instances, captions, referring expressions, VQA.

    python tools/make_scenes.py OUT --train 4000 --val 200 --seed 0
    mim run mmvisionllm make_scenes OUT --train 4000 --val 200 --seed 0

The same settings give the same bytes. A folder that is complete is left as it is.
"""

from __future__ import annotations

import argparse
import sys

import cv2

from mmvisionllm.scenes.generator import SceneSettings, make_scenes


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Parse ``args``, by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='folder to write to')
    parser.add_argument('--train', type=int, required=True, help='number of training images')
    parser.add_argument('--val', type=int, required=True, help='number of validation images')
    parser.add_argument('--seed', type=int, required=True, help='decides every image')
    parser.add_argument('--image-size', type=int, default=128, help='side in pixels (default 128)')
    parser.add_argument('--max-objects', type=int, default=8, help='most objects in an image (default 8)')
    parser.add_argument('--num-workers', type=int, default=1, help='processes that render, by fork (default 1)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace scenes made with other settings; other files are left alone'
    )
    return parser.parse_args(args)


def _print_progress(split: str, done: int, total: int) -> None:
    if done == total or done % 500 == 0:
        print(f'{split}: {done}/{total} images', flush=True)


def main(args: list[str] | None = None) -> int:
    """Run the tool. Returns the exit status: 0, or 2 for bad arguments or an unusable folder."""
    options = vars(parse_args(args))
    out, overwrite, num_workers = (options.pop(name) for name in ('out', 'overwrite', 'num_workers'))
    cv2.setNumThreads(1)  # the images are too small to share among threads
    try:
        made = make_scenes(
            out, SceneSettings(**options), overwrite=overwrite, progress=_print_progress, num_workers=num_workers
        )
    except (ValueError, OSError) as error:
        print(f'make_scenes: {error}', file=sys.stderr)
        return 2
    print(f'scenes are in {out}' if made else f'{out} is already complete with these settings')
    return 0


if __name__ == '__main__':
    sys.exit(main())
