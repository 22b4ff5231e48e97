# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Weights that ship with this package, under names such as ``mmvisionllm://llm_tiny_scenes``.

As mmengine's ``torchvision://`` and ``open-mmlab://``, such a name goes wherever a checkpoint does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import load_file, save_file
from torch import Tensor

SCHEME = 'mmvisionllm://'
FOLDER = Path(__file__).resolve().parents[1] / 'pretrained'


def available_weights() -> list[str]:
    """The names there are."""
    return sorted(f'{SCHEME}{path.stem}' for path in FOLDER.glob('*.safetensors'))


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_package_weights(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read weights of this package: a checkpoint with ``state_dict``, in float32, and ``meta``, how they were made.

    Raises:
        FileNotFoundError: if there are none of that name.
        ValueError: if the file is not the one that was published.
    """
    path = FOLDER / f'{filename.removeprefix(SCHEME)}.safetensors'
    if not path.is_file():
        known = ', '.join(available_weights()) or 'none'
        raise FileNotFoundError(f'no weights {filename} in this package; there are {known}')
    meta = json.loads(path.with_suffix('.json').read_text('utf-8'))
    if sha256(path) != meta['sha256']:
        raise ValueError(f'{path} is damaged: its hash is not that of {path.stem}.json. Install mmvisionllm again')
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    state = {
        key: value.float() if value.is_floating_point() else value  # the others say whose weights they are
        for key, value in load_file(path, device=str(device)).items()
    }
    return dict(state_dict=state, meta=meta)


def save_package_weights(state: dict[str, Tensor], path: Path, meta: dict[str, Any]) -> None:
    """Write weights in float16 to ``path``, a ``.safetensors``, and how they were made beside it.

    Raises:
        ValueError: if a weight is too large for float16.
    """
    halves = {key: (value.half() if value.is_floating_point() else value).contiguous() for key, value in state.items()}
    lost = [key for key, value in halves.items() if not value.isfinite().all()]
    if lost:
        raise ValueError(f'{", ".join(lost)} cannot be held in float16')
    save_file(halves, path)
    path.chmod(0o644)  # safetensors leaves it to the owner alone
    text = json.dumps(dict(meta, sha256=sha256(path)), indent=1)
    path.with_suffix('.json').write_text(f'{text}\n', 'utf-8')


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
