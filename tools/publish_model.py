# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Make a checkpoint fit to be published, as mmdet does: weights and meta data alone, the hash in the file's name.

Examples:
    python tools/publish_model.py work_dirs/RUN/epoch_50.pth visionllm_r50_alpaca-7b_stage1.pth
    mim run mmvisionllm publish_model IN.pth OUT.pth
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch

from mmvisionllm.utils import check_exists
from mmvisionllm.utils.checkpoint import read_checkpoint


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('in_file', help='checkpoint of a training')
    parser.add_argument('out_file', help='file to write; -HASH.pth is put behind its name')
    parser.add_argument(
        '--save-keys', nargs='+', default=['meta', 'state_dict'], metavar='KEY',
        help='what to keep (default: %(default)s)',
    )  # fmt: skip
    args = parser.parse_args(argv)
    check_exists(parser, 'checkpoint', args.in_file)
    if not Path(args.out_file).resolve().parent.is_dir():
        parser.error(f'no folder to write {args.out_file} to')
    return args


def publish(in_file: str, out_file: str, save_keys: Sequence[str]) -> Path:
    """Write the file. Returns its path, which ends with the first 8 hexadecimal digits of its SHA-256.

    Raises:
        ValueError: if the checkpoint holds no weights.
        UnpicklingError: if it holds foreign objects.
    """
    checkpoint = read_checkpoint(in_file, 'cpu')
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise ValueError(f'{in_file} is no checkpoint of a training: it has no state_dict')
    kept = {key: value for key, value in checkpoint.items() if key in save_keys}
    for key in checkpoint.keys() - kept.keys():
        print(f'{key} is left out')
    stem = str(out_file).removesuffix('.pth')
    temporary = Path(f'{stem}.pth.tmp')
    torch.save(kept, temporary)
    digest = hashlib.sha256()
    with open(temporary, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return temporary.rename(f'{stem}-{digest.hexdigest()[:8]}.pth')


def main(argv: Sequence[str] | None = None) -> int:
    """Publish. Returns the exit status: 0, or 2 for a file that is no checkpoint."""
    args = parse_args(argv)
    try:
        path = publish(args.in_file, args.out_file, args.save_keys)
    except (ValueError, OSError, UnpicklingError) as error:
        print(f'publish_model: {error}', file=sys.stderr)
        return 2
    print(f'the published model is {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
