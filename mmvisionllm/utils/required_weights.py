# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Weights that have to be there: what a model starts from, and all that a checkpoint should hold of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

# A checkpoint with more parts that do not fit is another model's.
_MOST_NAMED = 4


def require_checkpoints(init_cfgs: Mapping[str, dict | list[dict] | None]) -> None:
    """Check that what a model starts from is there, all of it at once, before mmengine looks for it.

    Args:
        init_cfgs: What mmengine takes as ``init_cfg``, by its place in the config, such as ``'model.neck.init_cfg'``.

    Raises:
        FileNotFoundError: if local checkpoints are not, with the commands that make those of this package's configs.
    """
    missing: dict[str, str] = {}
    for place, init_cfg in init_cfgs.items():
        for cfg in init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]:
            path = cfg.get('checkpoint')
            if path and '://' not in path and not os.path.isfile(path):
                missing[place] = path
    if not missing:
        return
    folders = dict.fromkeys(Path(path).parent for path in missing.values())
    commands = [f'    mim train mmvisionllm {f.name}.py' for f in folders if f.parent.name == 'work_dirs']
    makes = '\nThese lines make them, and what they start from stands at the head of their configs:\n' * bool(commands)
    raise FileNotFoundError(
        'the weights that the model starts from are not there:\n'
        + '\n'.join(f'    {place}: {path}' for place, path in missing.items())
        + makes
        + '\n'.join(commands)
        + f'\nOr name files that are there, e.g. --cfg-options {next(iter(missing))}.checkpoint=FILE, or set it to '
        'None to start without.'
    )


def wrong_weights(model: nn.Module, state_dict: Mapping[str, Any], allow_missing: Sequence[str] = ()) -> dict[str, str]:
    """Trained weights that a checkpoint would leave at random, by name, and what is wrong with each.

    Frozen parts may be missing, as they come from their own files; not so the weights of a Hugging Face model that was
    built without files.

    Args:
        model: The model.
        state_dict: The checkpoint's weights.
        allow_missing: Beginnings of the names of weights that may be missing or of another shape.
    """
    shapes = {key.removeprefix('module.'): getattr(v, 'shape', None) for key, v in state_dict.items()}
    names = dict(model.named_parameters())
    needed = {name for name, p in names.items() if p.requires_grad}
    for prefix, module in model.named_modules():
        if hasattr(module, 'weights_elsewhere'):
            start = f'{prefix}.'.removeprefix('.')
            own = {name for name in names if name.startswith(f'{start}{module.part_from_files}.')}
            needed |= own
            needed -= set(module.weights_elsewhere(own, start))
    wrong = {}
    for name in names:
        if name not in needed or name.startswith(tuple(allow_missing)):
            continue
        if name not in shapes:
            wrong[name] = f'{name} is missing'
        elif shapes[name] != names[name].shape:
            wrong[name] = f'{name} {tuple(shapes[name])} instead of {tuple(names[name].shape)}'
    return wrong


def check_weights(
    model: nn.Module, state_dict: Mapping[str, Any], allow_missing: Sequence[str] = (), remedy: str = ''
) -> None:
    """Refuse a checkpoint that would leave trained parts of the model at random, of which mmengine only warns.

    Args:
        model: The model.
        state_dict: The checkpoint's weights.
        allow_missing: As in :func:`wrong_weights`.
        remedy: How to allow what is wrong, with ``{}`` for a list of names.

    Raises:
        ValueError: if a weight is missing or has another shape.
    """
    wrong = wrong_weights(model, state_dict, allow_missing)
    if not wrong:
        return
    shown = '; '.join(list(wrong.values())[:3]) + ('; ...' if len(wrong) > 3 else '')
    # The branches of all layers have one beginning.
    starts = list(dict.fromkeys('.'.join(name.split('.')[:2]) for name in wrong))
    raise ValueError(
        f'the checkpoint does not fit the config, {len(wrong)} trained weights are wrong: {shown}'
        + (remedy.format(starts) if len(starts) <= _MOST_NAMED else '')
    )
