"""Referring expressions: one sentence and the box that it means (paper, 3.2: visual grounding)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmdet.datasets import MDETRStyleRefCocoDataset
from mmdet.evaluation import bbox_overlaps
from mmdet.registry import DATASETS

from .checked_records import (
    MAX_QUERY_LENGTH,
    CheckedDataset,
    CheckedRecords,
    Size,
    Unusable,
    check_box,
    check_text,
    field,
)

_NOUN, _OBJECTS = 'expressions', 'objects of instances_file'

# The expression is the only category of its instruction. Objects that it does not mean are outside of the category set.
_MEANT, _NOT_MEANT = 0, 1
# From this IoU with the box of an expression on, an object is the one that it means.
_SAME = 0.9


def _instances(boxes: list[list[float]], label: int = _MEANT) -> list[dict]:
    return [dict(bbox=box, bbox_label=label, ignore_flag=0) for box in boxes]


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


def _read_object(annotation: Any, sizes: dict[Any, Size]) -> tuple[int | str, list[float]] | None:
    """Image and box (x1, y1, x2, y2) of a COCO annotation; None of a crowd, which is no object."""
    image_id = field(annotation, 'image_id', (int, str), _OBJECTS)
    if annotation.get('iscrowd'):
        return None
    box = field(annotation, 'bbox', list, _OBJECTS)
    if len(box) == 4 and all(isinstance(v, (int, float)) for v in box):
        x, y, width, height = box
        box = [x, y, x + width, y + height]
    return image_id, check_box(box, _OBJECTS, sizes.get(image_id))


@DATASETS.register_module()
class RefExpDataset(CheckedDataset):
    """Plain JSON of referring expressions, one sample per expression.

    The file is a list of records with ``expression``, ``file_name``, ``image_id`` and ``bbox_xyxy`` in pixels, null for
    an expression that nothing in the image fits. Samples have ``text``, ``instances`` (one or none) and ``img_id``, the
    record's place in the file, by which :class:`~mmvisionllm.evaluation.ExpressionMetric` finds it again; the image's
    own id is ``image_id``.

    Args:
        instances_file: COCO-format JSON of all objects in the images. An image's other objects then are ``instances``,
            too, with label 1: a model that learns to find all objects, and to answer which of them is meant, learns
            from each. It also tells the images' sizes; without it, boxes beyond the right or lower side of their image
            are not noticed.
        kwargs: See :class:`CheckedDataset`.
    """

    def __init__(self, *args: Any, instances_file: str = '', **kwargs: Any) -> None:
        self.instances_file = instances_file
        super().__init__(*args, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.instances_file = self._join_root(self.instances_file)

    def load_samples(self) -> list[dict]:
        """One sample per expression."""
        (records,) = self._load(self.ann_file)
        sizes: dict[Any, Size] = {}
        objects: dict[Any, list[list[float]]] = {}
        if self.instances_file:
            images, annotations = self._load(self.instances_file, 'images', 'annotations')
            sizes.update(self.keep(images, _read_size))
            found = self.keep(annotations, lambda annotation: _read_object(annotation, sizes))
            for image_id, box in filter(None, found):
                objects.setdefault(image_id, []).append(box)
        return self.keep(enumerate(records), lambda pair: self._read(*pair, sizes, objects))

    def _read(self, index: int, record: Any, sizes: dict[Any, Size], objects: dict[Any, list[list[float]]]) -> dict:
        image_id = field(record, 'image_id', (int, str), _NOUN)
        size = sizes.get(image_id)
        if self.instances_file and size is None:
            raise Unusable(f'{_NOUN} about images that instances_file does not list')
        sample = self._sample(
            field(record, 'file_name', str, _NOUN),
            text=self._text(record.get('expression'), _NOUN, MAX_QUERY_LENGTH),
            img_id=index,
            image_id=image_id,
        )
        box = read_box(record, size)
        others = objects.get(image_id, [])
        if box and others:
            overlaps = bbox_overlaps(np.array(others), np.array([box]))[:, 0]
            others = [other for other, overlap in zip(others, overlaps) if overlap < _SAME]
        sample['instances'] = _instances([box] if box else []) + _instances(others, _NOT_MEANT)
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
        text = ' '.join(check_text(sample['text'], _NOUN, MAX_QUERY_LENGTH).lower().split())
        size = sample['width'], sample['height']
        boxes = [check_box(instance['bbox'], _NOUN, size) for instance in sample['instances']]
        return sample | dict(text=text, instances=_instances(boxes))
