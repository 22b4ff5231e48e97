"""Annotations of a COCO file, repaired where they can be."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Hashable, Sequence
from itertools import chain, repeat
from operator import contains, itemgetter
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .checked_records import Unusable
from .coco_report import CocoReport
from .segmentations import why_not_a_mask

_FARTHEST = 1e7  # pixels
_CHUNK = 5000  # annotations
_LARGEST_ID = 2**53  # as floats hold them
_FIELDS = ('bbox', 'image_id', 'category_id', 'area', 'iscrowd')


def proper_id(value: Any) -> Hashable:
    """An image's or category's id as a whole number or text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def find_id(value: Any, known: dict[Hashable, Any]) -> Hashable:
    """The known id that a value means, ``'7'`` for 7 and the other way round; None if there is none."""
    key = proper_id(value)
    if key in known:
        return key
    if isinstance(key, int):
        return str(key) if str(key) in known else None
    if isinstance(key, str) and len(key) < 20 and key.strip().removeprefix('-').isdecimal():
        key = int(key)
    return key if key in known else None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a coordinate can be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _FARTHEST


class AnnotationRepairer:
    """Annotations as mmdet and pycocotools want them, or why they cannot be used.

    Args:
        images: The file's images by id; those with ``width`` and ``height`` hold their objects to be inside.
        categories: Its categories by id.
        merged: Ids of categories that are others under the same name -> the id to use.
        with_masks: Leave out what gives no mask; ``'polygons'``: or a mask by run lengths alone.
        others: Ids of categories that are not wanted.
    """

    def __init__(
        self,
        images: dict[Hashable, dict],
        categories: dict[Hashable, dict],
        merged: dict[Hashable, Hashable],
        with_masks: bool | str = False,
        others: Collection[Hashable] = (),
    ) -> None:
        self.images = images
        self.categories = categories
        self.merged = merged
        self.with_masks = with_masks
        self._category_ids = {**categories, **merged}
        self._others = dict.fromkeys(others)

    def repair_all(self, annotations: list, report: CocoReport) -> list[dict]:
        """Those that can be used, in their order, repaired in place; what was done is in the report."""
        report.num_annotations = len(annotations)
        clean = self.clean(annotations).tolist()
        kept = annotations[:] if all(clean) else []
        repaired: set[int] = set()  # positions among those that are kept
        for index, annotation in enumerate(annotations if len(kept) < len(annotations) else ()):
            if clean[index]:
                kept.append(annotation)
                continue
            try:
                repairs = self.repair(annotation)
            except Unusable as reason:
                report.num_left_out += 1
                report.leave_out(f'annotations {reason}', self._name(annotation, index))
                continue
            if repairs:
                report.num_repaired += 1
                repaired.add(len(kept))
            for repair in repairs:
                report.repair(f'annotations {repair}', self._name(annotation, index))
            kept.append(annotation)
        self._number(kept, repaired, report)
        return kept

    @staticmethod
    def _name(annotation: Any, index: int) -> Any:
        return annotation.get('id', f'number {index}') if isinstance(annotation, dict) else f'number {index}'

    @staticmethod
    def _number(annotations: list[dict], repaired: set[int], report: CocoReport) -> None:
        """Number all of them anew unless their ids are whole, positive and different.

        pycocotools takes an id of 0 for no match, and one annotation for another of the same id.
        """
        try:
            ids = list(map(itemgetter('id'), annotations))
            if (
                len(set(ids)) == len(ids)
                and set(map(type, ids)) <= {int}
                and (not ids or 0 < min(ids) <= max(ids) < _LARGEST_ID)
            ):
                return
        except (KeyError, TypeError):
            ids = [annotation.get('id') for annotation in annotations]
        seen: set = set()
        for number, (annotation, old) in enumerate(zip(annotations, ids), start=1):
            proper = type(old) is int and 0 < old < _LARGEST_ID and old not in seen
            if proper:
                seen.add(old)
            else:
                report.num_repaired += number - 1 not in repaired
                report.repair('annotations whose id is 0, repeated or no positive whole number', old)
            annotation['id'] = number

    def clean(self, annotations: list) -> np.ndarray:
        """(n,) bool, True for annotations that need no second look: nearly all of a good file's, found in bulk."""
        if self.with_masks or self.merged or not annotations:
            return np.zeros(len(annotations), bool)
        sizes = [(image.get('width', math.inf), image.get('height', math.inf)) for image in self.images.values()]
        bounds = np.array([*sizes, (0, 0)], float)  # nothing is inside of an image that is not listed
        places = dict(zip(self.images, range(len(self.images))))
        # As many at a time as a processor's cache holds.
        chunks = (annotations[start : start + _CHUNK] for start in range(0, len(annotations), _CHUNK))
        return np.concatenate([self._clean(chunk, bounds, places) for chunk in chunks])

    def _clean(self, annotations: list, bounds: np.ndarray, places: dict[Hashable, int]) -> np.ndarray:
        """Of a chunk; ``bounds`` (n + 1, 2) are widths and heights, at the ``places`` of the images' ids."""
        number = len(annotations)
        nothing = np.zeros(number, bool)
        # By C functions that go over all of them: a file of COCO's size has a million annotations.
        try:
            boxes, images, categories, areas, crowds = (list(map(itemgetter(field), annotations)) for field in _FIELDS)
            index = np.fromiter(map(places.get, images, repeat(len(places))), int, number)
            known = np.fromiter(map(contains, repeat(self.categories), categories), bool, number)
            ignored = np.fromiter(map(contains, annotations, repeat('ignore')), bool, number)
            sides, area = (np.frombuffer(array('d', values)) for values in (chain.from_iterable(boxes), areas))
            proper = (
                {*map(type, images), *map(type, categories)} <= {int, str}
                and set(map(len, boxes)) == {4}
                and set(map(type, crowds)) == {int}
                and set(crowds) <= {0, 1}
            )
        except (KeyError, TypeError, OverflowError):  # something is missing, or no number, or too large for a pixel
            return nothing
        if not proper:
            return nothing
        width, height = bounds[index].T
        x, y, w, h = sides.reshape(-1, 4).T
        with np.errstate(invalid='ignore'):
            near = (np.abs((x, y, w, h)) < _FARTHEST).all(0)
            inside = (np.minimum(x + w, width) > np.maximum(x, 0)) & (np.minimum(y + h, height) > np.maximum(y, 0))
            large = (w >= 1) & (h >= 1) & (area > 0) & (area < _FARTHEST**2)
        return known & near & inside & large & ~ignored

    def repair(self, annotation: Any) -> list[str]:
        """Repair an annotation in place.

        Returns:
            What was repaired.

        Raises:
            Unusable: if it cannot be used.
        """
        if not isinstance(annotation, dict):
            raise Unusable('that are no JSON objects')
        repairs: list[str] = []
        self._repair_ids(annotation, repairs)
        if annotation.get('ignore'):
            raise Unusable('marked "ignore"')
        image = self.images[annotation['image_id']]
        box = self._repair_box(annotation, image, repairs)
        crowd = annotation.get('iscrowd')
        if type(crowd) is not int or crowd not in (0, 1):
            annotation['iscrowd'] = int(crowd in (True, '1', 'true'))
            repairs.append('without a proper iscrowd')
        self._repair_segmentation(annotation, image, box, repairs)
        area = annotation.get('area')
        if not isinstance(area, (int, float)) or isinstance(area, bool) or not 0 < area < _FARTHEST**2:
            annotation['area'] = mask_area(annotation, image) or float(box[2] * box[3])
            repairs.append('without a proper area')
        return repairs

    def _repair_ids(self, annotation: dict, repairs: list[str]) -> None:
        known: Sequence[tuple[str, dict, str]] = (
            ('image_id', self.images, 'of images that are not listed'),
            ('category_id', self._category_ids, 'of categories that are not listed'),
        )
        for field, ids, reason in known:
            value = annotation.get(field)
            key = find_id(value, ids)
            if key is None:
                unwanted = field == 'category_id' and find_id(value, self._others) is not None
                raise Unusable('of categories that are not in metainfo.classes' if unwanted else reason)
            if type(key) is not type(value):
                repairs.append(f'whose {field} is of another type than the id that it means')
            if field == 'category_id' and key in self.merged:
                key = self.merged[key]
                repairs.append('of a category that is listed twice')
            annotation[field] = key

    @staticmethod
    def _repair_box(annotation: dict, image: dict, repairs: list[str]) -> list[float]:
        box = annotation.get('bbox')
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            raise Unusable('whose box is not four numbers')
        x, y, w, h = box
        if w <= 0 or h <= 0:
            raise Unusable('whose box has no area')
        width, height = image.get('width', math.inf), image.get('height', math.inf)
        if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
            raise Unusable('whose box lies outside of their image')
        if w < 1 or h < 1:
            annotation['bbox'] = box = [x, y, max(w, 1), max(h, 1)]
            repairs.append('whose box is less than a pixel wide or high')
        return box

    def _repair_segmentation(self, annotation: dict, image: dict, box: list[float], repairs: list[str]) -> None:
        mask = annotation.get('segmentation')
        if isinstance(mask, list) and mask and all(map(is_number, mask)):  # one polygon, without the list of them
            mask = [mask]
            repairs.append('whose segmentation is a list of numbers')
        if isinstance(mask, list) and len(mask) == 1 and isinstance(mask[0], list) and len(mask[0]) == 4:
            x, y, w, h = box
            mask = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            repairs.append('whose segmentation is two corners of a rectangle')
        if repairs and mask is not None:
            annotation['segmentation'] = mask
        if self.with_masks and 'width' in image:
            reason = why_not_a_mask(mask, image['height'], image['width'])
            if reason is not None:
                raise Unusable(reason)
            # A crowd needs no mask: it is ignored, and mmdet gives it a placeholder.
            if self.with_masks == 'polygons' and isinstance(mask, dict) and not annotation['iscrowd']:
                raise Unusable('with run lengths, which LoadAnnotations(poly2mask=False) cannot use')


def mask_area(annotation: dict, image: dict) -> float:
    """Pixels of an annotation's mask; 0 without one."""
    height, width = image.get('height'), image.get('width')
    mask = annotation.get('segmentation')
    if not height or not width or why_not_a_mask(mask, height, width) is not None:
        return 0.0
    pieces = mask if isinstance(mask, dict) else [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
    packed = isinstance(mask, dict) and isinstance(mask['counts'], str)
    runs = mask if packed else coco_mask.frPyObjects(pieces, height, width)
    return float(coco_mask.area(coco_mask.merge(runs) if isinstance(runs, list) else runs))
