"""What readers of annotation files share: clear errors, and a count of what cannot be used."""

from __future__ import annotations

import json
import logging
import math
import os.path as osp
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mmengine.fileio import get, join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from mmdet.datasets import BaseDetDataset
from mmvisionllm.instructions.vocabulary import ADDED_TOKEN_PATTERN

from .transforms.load_photo import LoadPhoto

Record = TypeVar('Record')
Kept = TypeVar('Kept')
Size = tuple[float, float]

#: Longest text in bytes of UTF-8, of which a tokenizer makes at most as many tokens. Answers that the language model has
#: no positions for are cut, see ``encode_turns``.
MAX_TEXT_LENGTH = 2000
#: Longest question, expression or first turn, which cannot be cut: with template and image, it fits into LLaMA's 2048.
MAX_QUERY_LENGTH = 1000

_HALF_SURROGATE = re.compile('[\ud800-\udfff]')


class Unusable(ValueError):
    """Why a record is left out, worded to follow a count: ``images without captions``."""


def load_json(path: str, backend_args: dict | None = None) -> Any:
    """Read a JSON file through mmengine's file backends.

    Raises:
        ValueError: if the file is not JSON; the message names it.
    """
    try:
        return json.loads(get(path, backend_args=backend_args))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is not valid JSON ({error}): it may be cut off or another file; fetch it again'
        ) from error


def load_lists(path: str, *keys: str, backend_args: dict | None = None) -> list[list]:
    """Read the lists that a JSON file is to hold: one under each key or, without keys, the file itself.

    Raises:
        ValueError: if the file is not JSON, or has another structure; the message names it and says what is wanted.
    """
    document = load_json(path, backend_args)
    wanted = 'a list of records'
    if keys:
        wanted = 'an object with a list under ' + ' and '.join(f'"{key}"' for key in keys)
    lists = [document.get(key) for key in keys] if isinstance(document, dict) else [document]
    if isinstance(document, dict) != bool(keys) or not all(isinstance(x, list) for x in lists):
        held = f'a {type(document).__name__}'
        if isinstance(document, dict):
            held = f'an object with {", ".join(map(repr, list(document)[:8])) or "nothing in it"}'
        raise ValueError(f'{path} must hold {wanted}, but holds {held}; is it the right file?')
    return lists


def field(record: Any, key: str, kind: type | tuple[type, ...], noun: str) -> Any:
    """A field of a record.

    Raises:
        Unusable: if the record lacks it, or it is not of that kind.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Unusable(f'{noun} without a proper "{key}"')
    return value


def check_text(text: Any, noun: str, limit: int = MAX_TEXT_LENGTH) -> str:
    """A text that a language model can be given, as it is.

    Raises:
        Unusable: if it is no text, blank, longer than ``limit`` bytes of UTF-8, spells one of VisionLLM's own tokens, or
            is not valid Unicode.
    """
    if not isinstance(text, str) or not text.strip():
        raise Unusable(f'empty {noun}')
    if len(text.encode(errors='surrogatepass')) > limit:
        raise Unusable(f'{noun} of more than {limit} bytes')
    if ADDED_TOKEN_PATTERN.search(text):
        raise Unusable(f'{noun} with a token that VisionLLM reserves')
    if _HALF_SURROGATE.search(text):
        raise Unusable(f'{noun} that are not valid Unicode')
    return text


def check_box(box: Any, noun: str, size: Size | None = None) -> list[float]:
    """A box that an object can have, by the rules of mmdet's ``CocoDataset``.

    Args:
        box: (x1, y1, x2, y2) in pixels.
        noun: What has the box, in the plural.
        size: Width and height of the image in pixels, if known.

    Raises:
        Unusable: if it is not four finite numbers, has no area, measures less than a pixel, or lies outside the image.
    """
    numbers = isinstance(box, (list, tuple)) and len(box) == 4
    if not numbers or not all(isinstance(v, (int, float)) and abs(v) < 1e300 for v in box):
        raise Unusable(f'{noun} whose box is not four finite numbers')
    x1, y1, x2, y2 = box
    width, height = size or (math.inf, math.inf)
    if x2 <= x1 or y2 <= y1:
        raise Unusable(f'{noun} whose box has no area')
    if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):
        raise Unusable(f'{noun} whose box lies outside of the image')
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise Unusable(f'{noun} whose box is less than a pixel wide or high')
    return [float(v) for v in box]


class CheckedRecords:
    """Mixin before an mmdet dataset: records that cannot be used are left out, counted and logged.

    A subclass implements :meth:`load_samples` and takes its records through :meth:`keep`. An error in the pipeline, such
    as an image that cannot be read, names the image.

    Attributes:
        skipped: Number of records left out, by reason.
    """

    ann_file: str

    @property
    def source(self) -> str:
        """The file or files that the records come from."""
        return self.ann_file

    def load_samples(self) -> list[dict]:
        """Read the annotation file. Without :meth:`keep`, errors end the loading."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Load the samples and log what was left out.

        Raises:
            ValueError: if the file has another structure, or nothing in it can be used; the message names it.
        """
        self.skipped: Counter[str] = Counter()
        self._num_records = 0
        samples = self.load_samples()
        reasons = ', '.join(f'{count} {reason}' for reason, count in self.skipped.most_common())
        report = (
            f'{self.source}: {self.skipped.total()} of {self._num_records} records left out'
            f' ({reasons or "it holds none"})'
        )
        if not samples:
            raise ValueError(f'{report}; no sample remains')
        if reasons:
            print_log(f'{report}; {len(samples)} samples', 'current', logging.WARNING)
        return samples

    def keep(self, records: Iterable[Record], read: Callable[[Record], Kept]) -> list[Kept]:
        """What ``read`` makes of each record, without those for which it raises :class:`Unusable`."""
        kept = []
        for record in records:
            self._num_records += 1
            try:
                kept.append(read(record))
            except Unusable as reason:
                self.skipped[str(reason)] += 1
        return kept

    def prepare_data(self, idx: int) -> dict | None:
        """Run a sample through the pipeline.

        Raises:
            RuntimeError: if that fails; the message names the image.
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)['img_path']
            raise RuntimeError(f'sample {idx}, {path}: {type(error).__name__}: {error}') from error


class CheckedDataset(CheckedRecords, BaseDetDataset):
    """Base of the datasets that read text about images.

    Args:
        max_text_length: Longest text in bytes of UTF-8; records with longer ones are left out.
        kwargs: mmdet's ``BaseDetDataset``: ``ann_file``, ``data_root``, ``data_prefix=dict(img=...)``, ``pipeline``, ...
    """

    def __init__(self, *args: Any, max_text_length: int = MAX_TEXT_LENGTH, **kwargs: Any) -> None:
        self.max_text_length = max_text_length
        kwargs.setdefault('data_prefix', dict(img=''))
        super().__init__(*args, **kwargs)
        self.pipeline.transforms = [LoadPhoto.in_place_of(t) for t in self.pipeline.transforms]

    def _load(self, path: str, *keys: str) -> list[list]:
        return load_lists(path, *keys, backend_args=self.backend_args)

    def _text(self, text: Any, noun: str, limit: int | None = None) -> str:
        limit = min(limit or self.max_text_length, self.max_text_length)
        return ' '.join(check_text(text, noun, limit).split())

    def _sample(self, file_name: str, **fields: Any) -> dict:
        """A sample without boxes, ready for mmdet's ``LoadImageFromFile`` and ``LoadAnnotations``."""
        path = osp.join(self.data_prefix.get('img', ''), file_name)
        return dict(img_path=path, instances=[], **fields)

    def _join_root(self, path: str) -> str:
        return join_path(self.data_root, path) if path and not is_abs(path) else path
