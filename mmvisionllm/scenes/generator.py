# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A data set of rendered scenes on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .coco_writer import KINDS, SplitRecords, write_json
from .renderer import render
from .scene import Scene, check_layout, random_scene

#: Raise when the same settings give other bytes, so that old folders are not taken for new ones.
GENERATOR_VERSION = 4
SPLITS = ('train', 'val')
_SETTINGS_FILE = 'scenes.json'
_MARK = 'mmvisionllm scenes'


@dataclass(frozen=True)
class SceneSettings:
    """What decides every byte of a data set.

    Attributes:
        train: images in the training split.
        val: images in the validation split.
        seed: from 0 on.
        image_size: side of the square images in pixels.
        max_objects: most objects in an image.

    Raises:
        ValueError: a number out of range.
    """

    train: int
    val: int
    seed: int
    image_size: int = 128
    max_objects: int = 8

    def __post_init__(self) -> None:
        for split in SPLITS:
            number = getattr(self, split)
            if not 0 <= number <= 10_000_000:
                raise ValueError(f'--{split} must be 0 to 10000000 images, not {number}')
        if self.train + self.val == 0:
            raise ValueError('--train and --val are both 0: there is nothing to make')
        if self.seed < 0:
            raise ValueError(f'--seed must not be negative, but is {self.seed}')
        check_layout(self.image_size, self.max_objects)


def image_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The randomness of one image: it does not depend on how many images there are."""
    words = np.random.SeedSequence([seed, SPLITS.index(split), index])
    return np.random.Generator(np.random.PCG64(words))


def _prepare(out: Path, settings: dict, overwrite: bool) -> bool:
    """Get the folder ready. Returns whether there is anything to do.

    Raises:
        FileExistsError: the folder holds something else and ``overwrite`` is off.
        NotADirectoryError: there is a file in its place.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'{out} is a file: give a folder')
    entries = list(out.iterdir()) if out.exists() else []
    if not entries:
        return True
    known = _read_settings(out / _SETTINGS_FILE)
    complete = known.pop('complete', False)
    if known == settings:
        return not complete  # a broken-off run is made again: the same bytes come out
    if not overwrite:
        what = f'scenes made with {known}' if known else 'files that are not rendered scenes'
        raise FileExistsError(
            f'{out} already holds {what}. Choose another folder, or pass '
            f'--overwrite to write scenes with {settings} there'
        )
    _clear(out)
    return True


def _read_settings(path: Path) -> dict:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and known.get('kind') == _MARK else {}


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else that lies there."""
    (out / _SETTINGS_FILE).unlink(missing_ok=True)
    for split in SPLITS:
        for path in (out / split).glob('[0-9]' * 12 + '.png'):
            path.unlink()
        for kind in KINDS:
            (out / 'annotations' / f'{kind}_{split}.json').unlink(missing_ok=True)


def make_scenes(
    out: Path | str,
    settings: SceneSettings,
    *,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    num_workers: int = 1,
) -> bool:
    """Write ``OUT/{train,val}/*.png``, ``OUT/annotations/*.json`` and ``OUT/scenes.json``.

    Args:
        out: folder, made if it is not there.
        settings: what to make.
        overwrite: replace scenes made with other settings.
        progress: called as ``progress(split, done, total)`` after every image.
        num_workers: processes that render; the bytes are the same whatever their number.

    Returns:
        False if the folder was already complete with these settings and nothing was done.

    Raises:
        FileExistsError: the folder holds something else and ``overwrite`` is off.
        OSError: a file cannot be written.
    """
    out = Path(out)
    marks = dict(asdict(settings), kind=_MARK, version=GENERATOR_VERSION)
    if not _prepare(out, marks, overwrite):
        return False
    (out / 'annotations').mkdir(parents=True, exist_ok=True)
    write_json(out / _SETTINGS_FILE, dict(marks, complete=False))
    for split in SPLITS:
        _make_split(out, split, settings, progress, num_workers)
    write_json(out / _SETTINGS_FILE, dict(marks, complete=True))
    return True


def _make_split(
    out: Path, split: str, settings: SceneSettings, progress: Callable[[str, int, int], None] | None, num_workers: int
) -> None:
    folder, total = out / split, getattr(settings, split)
    folder.mkdir(exist_ok=True)
    records = SplitRecords(split, settings.seed)
    write = partial(_write_scene, folder, split, settings)
    with ExitStack() as stack:
        scenes = map(write, range(total))
        if num_workers > 1:
            # The images are too small to share among threads.
            pool = ProcessPoolExecutor(num_workers, initializer=cv2.setNumThreads, initargs=(1,))
            scenes = stack.enter_context(pool).map(write, range(total), chunksize=16)
        for index, (scene, rng) in enumerate(scenes):
            records.add(scene, index + 1, _file_name(index), rng)
            if progress is not None:
                progress(split, index + 1, total)
    records.write(out / 'annotations')


def _file_name(index: int) -> str:
    return f'{index + 1:012d}.png'


def _write_scene(folder: Path, split: str, settings: SceneSettings, index: int) -> tuple[Scene, np.random.Generator]:
    """Write an image. Returns its scene, and its randomness for what is said about it."""
    rng = image_rng(settings.seed, split, index)
    scene = random_scene(rng, settings.image_size, settings.max_objects)
    encoded = cv2.imencode('.png', np.ascontiguousarray(render(scene)[..., ::-1]))[1]
    (folder / _file_name(index)).write_bytes(encoded.tobytes())
    return scene, rng
