"""Referring expressions: one sentence and the box that it means (paper, 3.2: visual grounding)."""

from __future__ import annotations

from typing import Any

from mmdet.datasets import MDETRStyleRefCocoDataset
from mmdet.registry import DATASETS

from .checked_records import (
    CheckedDataset,
    CheckedRecords,
    Size,
    Unusable,
    check_box,
    check_text,
    field,
)

_NOUN = 'expressions'


def _instances(boxes: list[list[float]]) -> list[dict]:
    # The expression is the only category of its instruction: label 0.
    return [dict(bbox=box, bbox_label=0, ignore_flag=0) for box in boxes]


def read_box(record: Any, size: Size | None = None) -> list[float] | None:
    """The box (x1, y1, x2, y2) in pixels of a record of :class:`RefExpDataset`, None if nothing in the image fits.

    Raises:
        Unusable: see :func:`check_box`, or if the record does not say.
    """
    if not isinstance(record, dict) or 'bbox_xyxy' not in record:
        raise Unusable(f'{_NOUN} without "bbox_xyxy" (null if nothing fits)')
    box = record['bbox_xyxy']
    return None if box is None else check_box(box, _NOUN, size)


def _read_size(image: Any) -> tuple[int | str, Size]:
    image_id = field(image, 'id', (int, str), 'images')
    width, height = (field(image, key, (int, float), 'images') for key in ('width', 'height'))
    return image_id, (width, height)


@DATASETS.register_module()
class RefExpDataset(CheckedDataset):
    """Plain JSON of referring expressions, one sample per expression.

    The file is a list of records with ``expression``, ``file_name``, ``image_id`` and ``bbox_xyxy`` in pixels, null for
    an expression that nothing in the image fits. Samples have ``text``, ``instances`` (one or none) and ``img_id``, the
    record's place in the file, by which :class:`~mmvisionllm.evaluation.ExpressionMetric` finds it again; the image's
    own id is ``image_id``.

    Args:
        size_file: COCO-format JSON with the sizes of the ``images``; without it, boxes beyond the right or lower side
            of their image are not noticed.
        kwargs: See :class:`CheckedDataset`.
    """

    def __init__(self, *args: Any, size_file: str = '', **kwargs: Any) -> None:
        self.size_file = size_file
        super().__init__(*args, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.size_file = self._join_root(self.size_file)

    def load_samples(self) -> list[dict]:
        """One sample per expression."""
        (records,) = self._load(self.ann_file)
        sizes = {}
        if self.size_file:
            (images,) = self._load(self.size_file, 'images')
            sizes = dict(self.keep(images, _read_size))
        return self.keep(enumerate(records), lambda pair: self._read(*pair, sizes))

    def _read(self, index: int, record: Any, sizes: dict[Any, Size]) -> dict:
        image_id = field(record, 'image_id', (int, str), _NOUN)
        size = sizes.get(image_id)
        if self.size_file and size is None:
            raise Unusable(f'{_NOUN} about images that size_file does not list')
        sample = self._sample(
            field(record, 'file_name', str, _NOUN),
            text=self._text(record.get('expression'), _NOUN),
            img_id=index,
            image_id=image_id,
        )
        box = read_box(record, size)
        sample['instances'] = _instances([box] if box else [])
        return sample | (dict(width=size[0], height=size[1]) if size else {})


@DATASETS.register_module()
class RefCocoExpressionDataset(CheckedRecords, MDETRStyleRefCocoDataset):
    """RefCOCO, RefCOCO+ and RefCOCOg in MDETR's files, as mmdet reads them, for the pipeline of the other expressions.

    Each of MDETR's ``images`` is an expression about an image, with an ``img_id`` of its own; mmdet's ``RefExpMetric``
    scores them. Here the expression is in lower case, as RefCOCO+ and RefCOCOg have them, and its box has label 0.
    """

    def load_samples(self) -> list[dict]:
        """One sample per expression.

        Raises:
            ValueError: if mmdet cannot read the file; the message names it.
        """
        try:
            samples = MDETRStyleRefCocoDataset.load_data_list(self)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.ann_file} is not one of MDETR's RefCOCO files, such as finetune_refcoco_train.json: "
                f'{type(error).__name__}: {error}'
            ) from error
        return self.keep(samples, self._read)

    def _read(self, sample: dict) -> dict:
        text = ' '.join(check_text(sample['text'], _NOUN).lower().split())
        size = sample['width'], sample['height']
        boxes = [check_box(instance['bbox'], _NOUN, size) for instance in sample['instances']]
        return sample | dict(text=text, instances=_instances(boxes))
