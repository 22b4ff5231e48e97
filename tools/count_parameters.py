# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Count a config's parameters per part, without loading or downloading any weights.

Examples:
    python tools/count_parameters.py configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py
    mim run mmvisionllm count_parameters CONFIG
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

import mmvisionllm  # noqa: F401  registers the models
from mmvisionllm.utils.launch import add_cfg_options, check_exists
from mmvisionllm.utils.meta_build import build_on_meta, count_parameters, format_counts

# Sizes do not depend on the tokenizer, and this one is always there.
STAND_IN = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'tokenizers' / 'scenes'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--own-tokenizers',
        action='store_true',
        help='use the tokenizers that the config names, which may be downloaded, to check that they fit',
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_exists(parser, 'config', args.config)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    tokenizers = {}
    if not args.own_tokenizers:
        # A model without spelled vocabulary takes its tokenizer's: it keeps its own.
        tokenizers = dict.fromkeys(cfg.get('architectures', {}), str(STAND_IN))
    print(format_counts(count_parameters(build_on_meta(cfg, tokenizers))))


if __name__ == '__main__':
    main()
