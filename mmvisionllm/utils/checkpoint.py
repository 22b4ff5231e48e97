# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Read checkpoints without running code that is pickled into them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier
from mmengine.fileio import get_local_path
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import digit_version
from torch import Tensor

from mmvisionllm.compat import registered_loaders_stay

from .package_weights import SCHEME, load_package_weights

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
        path: Local path, URL (downloaded once per machine), weights of this package (``mmvisionllm://``), or what one of
            mmengine's file backends knows.
        map_location: As for :func:`torch.load`.

    Raises:
        FileNotFoundError: if there is no such file.
        UnpicklingError: if it holds other objects, which could run code.
    """
    if path.startswith(('http://', 'https://')):
        return _load(download(path), map_location)
    if path.startswith(SCHEME):
        return load_package_weights(path, map_location)
    path = os.path.expanduser(path)
    if '://' not in path and not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint not found: {path}')
    with get_local_path(path) as local:
        return _load(local, map_location)


def _load(path: str, map_location: Any) -> Any:
    # More can be allowed since torch 2.6; before, checkpoints with more than weights and plain values are refused.
    allowed = _allowed() if digit_version(torch.__version__) >= digit_version('2.6.0') else []
    try:
        with torch.serialization.safe_globals(allowed) if allowed else nullcontext():
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'{path} holds objects that are neither weights nor written by mmengine, and reading them could run code: '
            f'{str(error).splitlines()[0]} If you trust it, read it with {_UNRESTRICTED}=1 in the environment'
        ) from error


def read_weights(checkpoint: str, map_location: str = 'cpu') -> dict[str, Tensor]:
    """Read the weights of a checkpoint.

    Args:
        checkpoint: See :func:`read_checkpoint`. Either a dict with ``state_dict``, ``model`` or ``module`` (as mmengine,
            torch scripts and DeepSpeed write them) or the weights themselves.
        map_location: Device for the weights.

    Raises:
        FileNotFoundError: if there is no such file.
        UnpicklingError: if it holds foreign objects.
        ValueError: if it holds no weights.
    """
    return _weights_in(read_checkpoint(checkpoint, map_location), checkpoint)


def read_weights_and_classes(checkpoint: str, map_location: str = 'cpu') -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """As :func:`read_weights`, with the names of the classes that mmengine noted in training; none if it did not."""
    loaded = read_checkpoint(checkpoint, map_location)
    weights = _weights_in(loaded, checkpoint)
    meta = loaded.get('meta')
    data = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    # mmdet 2 had them in the meta itself, and both in capitals.
    for place in (data, meta):
        for key in ('classes', 'CLASSES'):
            if isinstance(place, Mapping) and place.get(key):
                return weights, tuple(place[key])
    return weights, ()


def _weights_in(loaded: object, checkpoint: str) -> dict[str, Tensor]:
    state = loaded if isinstance(loaded, Mapping) else {}
    for key in ('state_dict', 'model', 'module'):
        if isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not state or not all(isinstance(weight, Tensor) for weight in state.values()):
        raise ValueError(
            f'{checkpoint!r} holds no weights: neither "state_dict", "model" or "module" nor nothing but tensors'
        )
    return dict(state)


def download(url: str) -> str:
    """Download once per machine. The names of released files end with the beginning of their hash, which is checked."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / Path(urlparse(url).path).name
    if os.environ.get('LOCAL_RANK', '0') == '0' and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        digest = re.search(r'-([0-9a-f]{8,})\.\w+$', path.name)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None)
    barrier()
    return str(path)


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
    with registered_loaders_stay():
        allow_mmengine_checkpoints()
        yield
