# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Write a checkpoint's LoRA and added tokens in peft's format.

Examples:
    python tools/export_lora.py configs/visionllm/CONFIG.py CHECKPOINT adapter/
    mim run mmvisionllm export_lora CONFIG.py CHECKPOINT adapter/ --cfg-options \
        model.bbox_head.language_model.pretrained=FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pickle import UnpicklingError

from mmengine.config import DictAction

import mmvisionllm  # noqa: F401  registers the models
from mmvisionllm.apis.language_model import load_language_model
from mmvisionllm.models.language_models.export import export_lora
from mmvisionllm.utils import check_exists, load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; wrong paths end here with a usage message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings'
    )
    args = parser.parse_args(argv)
    check_exists(parser, 'config', args.config)
    check_exists(parser, 'checkpoint', args.checkpoint)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Export. Returns the exit status: 0, or 2 if config and checkpoint do not allow it."""
    args = parse_args(argv)
    try:
        cfg = load_config(args.config, args.cfg_options, None)
        export_lora(load_language_model(cfg, args.checkpoint), args.out)
    except (ValueError, OSError, ImportError, UnpicklingError) as error:
        print(f'export_lora: {error}', file=sys.stderr)
        return 2
    print(f'LoRA, added tokens and tokenizer are in {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
