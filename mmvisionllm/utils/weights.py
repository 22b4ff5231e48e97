# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Read the weights of a checkpoint, and nothing else of it; check that none is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier
from mmengine.fileio import get_local_path
from mmengine.utils import digit_version
from torch import Tensor, nn

# What mmengine pickles beside the weights of a training checkpoint (log history, random state); none of it is needed.
_IGNORED_OBJECTS = (
    'builtins.getattr',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('scalar', '_reconstruct')),
)


class _Ignored:
    """Stands in for an object that is not a weight: holds nothing and does nothing."""

    def __new__(cls, *args: object) -> _Ignored:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_weights(checkpoint: str, map_location: str = 'cpu') -> dict[str, Tensor]:
    """Read a checkpoint's weights without running any code that is pickled into it.

    mmengine's own loader falls back to unrestricted unpickling when a checkpoint holds more than weights. Here, what
    mmengine puts beside the weights is skipped, and anything else is refused.

    Args:
        checkpoint: Local path, URL (downloaded into torch's cache by one process per machine), or a path that one of
            mmengine's file backends knows. Either a dict with ``state_dict``, ``model`` or ``module`` (as mmengine,
            torch scripts and DeepSpeed write them) or the weights themselves.
        map_location: Device for the weights.

    Raises:
        FileNotFoundError: if there is no such file.
        pickle.UnpicklingError: if it holds foreign objects.
        ValueError: if it holds no weights.
    """
    return _weights_in(_read(checkpoint, map_location), checkpoint)


def read_weights_and_classes(checkpoint: str, map_location: str = 'cpu') -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """As :func:`read_weights`, with the names of the classes that mmengine noted in training; none if it did not."""
    loaded = _read(checkpoint, map_location)
    weights = _weights_in(loaded, checkpoint)
    meta = loaded.get('meta')
    data = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    # mmdet 2 had them in the meta itself, and both in capitals.
    for place in (data, meta):
        for key in ('classes', 'CLASSES'):
            if isinstance(place, Mapping) and place.get(key):
                return weights, tuple(place[key])
    return weights, ()


def _read(checkpoint: str, map_location: str) -> object:
    if checkpoint.startswith(('http://', 'https://')):
        return _load(download(checkpoint), map_location)
    with get_local_path(os.path.expanduser(checkpoint)) as path:
        return _load(path, map_location)


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


def _load(path: str, map_location: str) -> object:
    # Stand-ins can be named since torch 2.6; before, checkpoints with more than weights and plain values are refused.
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return torch.load(path, map_location=map_location, weights_only=True)
    with torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED_OBJECTS]):
        return torch.load(path, map_location=map_location, weights_only=True)


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


_FSDP = '_fsdp_wrapped_module.'


def check_weights(model: nn.Module, state_dict: Mapping[str, Any], allow_missing: Sequence[str] = ()) -> None:
    """Refuse a checkpoint that would leave trained parts of the model at random.

    mmengine only warns of them. Frozen parts may be missing, as they come from their own files; not so the weights of a
    Hugging Face model that was built without files.

    Args:
        model: The model; in FSDP, only names are compared.
        state_dict: The checkpoint's weights.
        allow_missing: Beginnings of the names of weights that may be missing.

    Raises:
        ValueError: if a weight is missing or has another shape.
    """
    shapes = {key.removeprefix('module.'): getattr(v, 'shape', None) for key, v in state_dict.items()}
    names = {name.replace(_FSDP, ''): p for name, p in model.named_parameters()}
    needed = {name for name, p in names.items() if p.requires_grad and '_flat_param' not in name}
    sharded = False
    for prefix, module in model.named_modules():
        sharded |= prefix.endswith(_FSDP[:-1])
        if hasattr(module, 'weights_elsewhere'):
            start = f'{prefix.replace(_FSDP, "")}.'.removeprefix('.')
            own = {name for name in names if name.startswith(f'{start}{module.part_from_files}.')}
            needed |= own
            needed -= set(module.weights_elsewhere(own, start))
    wrong = []
    for name in names:
        if name not in needed or name.startswith(tuple(allow_missing)):
            continue
        if name not in shapes:
            wrong.append(f'{name} is missing')
        elif not sharded and shapes[name] != names[name].shape:
            wrong.append(f'{name} {tuple(shapes[name])} instead of {tuple(names[name].shape)}')
    if wrong:
        shown = '; '.join(wrong[:3]) + ('; ...' if len(wrong) > 3 else '')
        raise ValueError(f'the checkpoint does not fit the config, {len(wrong)} trained weights are wrong: {shown}')
