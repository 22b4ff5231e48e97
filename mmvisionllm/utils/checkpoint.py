# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Reading mmengine's checkpoints without running code that is pickled into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.fileio import get_local_path
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import digit_version

from .weights import download

_UNRESTRICTED = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_KINDS = ('bool', 'int32', 'int64', 'uint8', 'uint32', 'uint64', 'float32', 'float64')


def _statistic(owner: object, name: str) -> Callable:
    """What ``getattr`` may do in a checkpoint: name one of the statistics of mmengine's log history."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(f'the checkpoint asks for {name} of {owner}')
    return getattr(owner, name)


def _allowed() -> list[Any]:
    """All that mmengine pickles beside tensors and plain values: log history and NumPy's numbers."""
    scalar, reconstruct = (
        getattr(np._core.multiarray if hasattr(np, '_core') else np.core.multiarray, name)
        for name in ('scalar', '_reconstruct')
    )
    numbers = [
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name, function in (('scalar', scalar), ('_reconstruct', reconstruct))
    ]
    types = {type(np.dtype(kind)) for kind in _KINDS}
    return [HistoryBuffer, np.ndarray, np.dtype, *types, *numbers, (_statistic, 'builtins.getattr')]


def read_checkpoint(path: str, map_location: Any = None) -> Any:
    """Read all of a checkpoint: weights, optimizer, log history.

    Args:
        path: Local path, URL (downloaded once per machine), or what one of mmengine's file backends knows.
        map_location: As for :func:`torch.load`.

    Raises:
        FileNotFoundError: if there is no such file.
        UnpicklingError: if it holds other objects, which could run code.
    """
    if path.startswith(('http://', 'https://')):
        return _load(download(path), map_location)
    path = os.path.expanduser(path)
    if '://' not in path and not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint not found: {path}')
    with get_local_path(path) as local:
        return _load(local, map_location)


def _load(path: str, map_location: Any) -> Any:
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'{path} holds objects that are neither weights nor written by mmengine, and reading them could run code: '
            f'{str(error).splitlines()[0]} If you trust it, read it with {_UNRESTRICTED}=1 in the environment'
        ) from error


def allow_mmengine_checkpoints() -> bool:
    """Have mmengine read local and downloaded checkpoints by :func:`read_checkpoint`, in this process.

    mmengine 0.10.7 cannot read its own checkpoints under torch >= 2.6, and the maintained continuation falls back to
    unrestricted unpickling when there is something that torch does not know. Nothing changes if the user has asked for
    unrestricted unpickling by ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1``, or under older versions of torch, which cannot be
    told what else is harmless.

    Returns:
        Whether it does from now on.
    """
    if os.environ.get(_UNRESTRICTED, '0').lower() in ('1', 'y', 'yes', 'true'):
        return False
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return False
    for prefix in ('', 'http://', 'https://'):
        CheckpointLoader.register_scheme(prefix, loader=load_from_safely_read, force=True)
    return True


def load_from_safely_read(filename: str, map_location: Any = None) -> Any:
    """:func:`read_checkpoint` as a loader of mmengine, which logs the name from its tenth letter on."""
    return read_checkpoint(filename, map_location)


@contextmanager
def mmengine_reads_safely() -> Iterator[None]:
    """:func:`allow_mmengine_checkpoints` within a ``with`` block: for code that runs in other people's processes."""
    before = CheckpointLoader._schemes.copy()
    allow_mmengine_checkpoints()
    try:
        yield
    finally:
        CheckpointLoader._schemes = before


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
