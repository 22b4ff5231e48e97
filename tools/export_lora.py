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

import mmvisionllm  # noqa: F401  registers the models
from mmvisionllm.apis.language_model import load_language_model
from mmvisionllm.models.language_models.export import export_lora
from mmvisionllm.utils import load_config, parse_conversion


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; wrong paths end here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parse_conversion(parser, argv)


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
