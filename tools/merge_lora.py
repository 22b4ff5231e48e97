# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Merge a checkpoint's LoRA and added tokens into its language model: a folder that transformers loads by itself.

Examples:
    python tools/merge_lora.py configs/visionllm/CONFIG.py CHECKPOINT merged/
    mim run mmvisionllm merge_lora CONFIG.py CHECKPOINT merged/ --dtype float32
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pickle import UnpicklingError

import mmvisionllm  # noqa: F401  registers the models
from mmvisionllm.apis.language_model import load_language_model
from mmvisionllm.models.language_models.export import merge
from mmvisionllm.utils import load_config, parse_conversion


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; wrong paths end here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dtype', help="type of the merged weights; default: the config's torch_dtype")
    return parse_conversion(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Merge. Returns the exit status: 0, or 2 if config and checkpoint do not allow it."""
    args = parse_args(argv)
    # Weights that were quantized for training are merged as they are in their files.
    settings = dict(quantization_config=None, **({'torch_dtype': args.dtype} if args.dtype else {}))
    try:
        cfg = load_config(args.config, args.cfg_options, None)
        merge(load_language_model(cfg, args.checkpoint, **settings), args.out)
    except (ValueError, OSError, ImportError, UnpicklingError) as error:
        print(f'merge_lora: {error}', file=sys.stderr)
        return 2
    print(f'the merged language model is in {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
