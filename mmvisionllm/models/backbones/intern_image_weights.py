# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Official InternImage checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmvisionllm.utils.checkpoint import read_weights

# What classification models have behind the backbone.
CLASSIFICATION_PARTS = ('conv_head.', 'head.', 'fc_norm.', 'clip_projector.')


def backbone_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's weights out of a classifier's, detector's or segmenter's, under the backbone's own names.

    ``module.`` in front of names is dropped. If some begin with ``backbone.``, these are the backbone's and the others
    are left out; if none does, the classification head is left out.
    """
    state = {name.removeprefix('module.'): weight for name, weight in state.items()}
    prefix = 'backbone.'
    if any(name.startswith(prefix) for name in state):
        return {n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)}
    return {n: w for n, w in state.items() if not n.startswith(CLASSIFICATION_PARTS)}


def describe_size(state: Mapping[str, Tensor]) -> str:
    """``channels=64, depths=(4, 4, 18, 4)`` of an InternImage's weights."""
    stem = state.get('patch_embed.conv2.weight')
    blocks: dict[str, set[str]] = {}
    for name in state:
        if name.startswith('levels.') and '.blocks.' in name:
            _, level, _, block, *_ = name.split('.')
            blocks.setdefault(level, set()).add(block)
    depths = tuple(len(blocks[level]) for level in sorted(blocks))
    return f'channels={None if stem is None else stem.size(0)}, depths={depths}'


def load_intern_image_weights(module: nn.Module, checkpoint: str) -> list[str]:
    """Load an official checkpoint into an InternImage.

    Args:
        module: The :class:`InternImage`.
        checkpoint: Path or URL of a classification, detection or segmentation checkpoint: the weights themselves, or
            under ``state_dict``, ``model`` or ``module``; see :func:`~mmvisionllm.utils.checkpoint.read_weights`.

    Returns:
        Names of weights that the checkpoint lacks, which are also logged as a warning, and keep their values.

    Raises:
        ValueError: if the checkpoint is of no InternImage or one of another size or style.
    """
    print_log(f'load InternImage from: {checkpoint}', logger='current')
    given = backbone_weights(read_weights(checkpoint))
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - given.keys())
    left_over = sorted(given.keys() - wanted.keys())
    other = sorted(n for n in wanted.keys() & given.keys() if given[n].shape != wanted[n].shape)
    lacks_blocks = describe_size(given) != describe_size(wanted)
    if left_over or other or lacks_blocks:
        problems = [
            *(f'{n} is {tuple(given[n].shape)}, the model has {tuple(wanted[n].shape)}' for n in other),
            *(f'{n} is left over' for n in left_over),
            *(f'{n} is missing' for n in missing),
        ]
        shown = '; '.join(problems[:6]) + ('; ...' if len(problems) > 6 else '')
        raise ValueError(
            f'{checkpoint} does not fit this InternImage: the checkpoint has {describe_size(given)}, the model '
            f'{describe_size(wanted)} ({len(problems)} differences: {shown}). Give the backbone the arguments that the '
            'checkpoint was trained with'
        )
    if missing:
        print_log(
            f'{checkpoint} lacks {len(missing)} weights, which keep their initial values: {", ".join(missing)}',
            logger='current',
            level=logging.WARNING,
        )
    with torch.no_grad():
        module.load_state_dict(given, strict=False)
    return missing
