"""COCO-format detection data that says what of it cannot be used."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import Any

from mmengine.logging import print_log

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .segmentations import why_not_a_mask


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's ``CocoDataset``, with the same samples, which counts and logs the annotations that are left out.

    mmdet leaves out silently what has no area, lies outside of its image, measures less than a pixel, or is of a category
    that is not in ``metainfo['classes']``. Numbers that are not finite are left out here as well, and, if masks are in
    use, what gives no mask: mmdet's ``LoadAnnotations`` fails on some of it and silently ignores the rest. An error in
    the pipeline, such as an image that cannot be read, names the image.

    Args:
        with_masks: Whether masks are in use. By default, whether a transform of ``pipeline`` loads them; say it if that
            transform stands elsewhere, as within another transform.

    Attributes:
        skipped: Number of annotations left out, by reason.

    Raises:
        ValueError: if the classes are not named in the order of the file's categories, since mmdet numbers labels by the
            latter and instructions would call objects by wrong names; or if no annotation is left of those there are.
    """

    def __init__(self, *args: Any, with_masks: bool | None = None, **kwargs: Any) -> None:
        self._with_masks = with_masks
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the annotation file, see mmdet."""
        loaders = [t for t in self.pipeline.transforms if getattr(t, 'with_mask', False)]
        self._check_masks = bool(loaders) if self._with_masks is None else self._with_masks
        self._polygons_only = any(not getattr(t, 'poly2mask', True) for t in loaders)
        self.skipped: Counter[str] = Counter()
        self._num_annotations = 0
        data_list = super().load_data_list()
        left_out = sum(self.skipped.values())
        if not left_out:
            return data_list
        reasons = ', '.join(f'{count} {reason}' for reason, count in self.skipped.most_common())
        report = f'{self.ann_file}: {left_out} of {self._num_annotations} annotations left out ({reasons})'
        if left_out == self._num_annotations:
            raise ValueError(f'{report}; classes are {list(self.metainfo["classes"])}')
        print_log(report, logger='current', level=logging.WARNING)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Leave out the annotations that cannot be used, and count them."""
        self._check_order()
        image, kept = raw_data_info['raw_img_info'], []
        for annotation in raw_data_info['raw_ann_info']:
            reason = self._why_not(annotation, image['width'], image['height'])
            self._num_annotations += 1
            if reason is None:
                kept.append(annotation)
            else:
                self.skipped[reason] += 1
        return super().parse_data_info({**raw_data_info, 'raw_ann_info': kept})

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

    def _why_not(self, annotation: dict, width: int, height: int) -> str | None:
        """Why an annotation is left out: mmdet's own rules, in words, and those for masks."""
        x, y, w, h = annotation['bbox']
        if annotation.get('ignore', False):
            return 'marked "ignore"'
        if not all(map(math.isfinite, (x, y, w, h, annotation['area']))):
            return 'not finite'
        if annotation['area'] <= 0 or w <= 0 or h <= 0:
            return 'without area'
        if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
            return 'outside of their image'
        if w < 1 or h < 1:
            return 'less than a pixel wide or high'
        if annotation['category_id'] not in self.cat2label:
            return 'of categories that are not in metainfo.classes'
        return self._why_no_mask(annotation, width, height) if self._check_masks else None

    def _why_no_mask(self, annotation: dict, width: int, height: int) -> str | None:
        segmentation = annotation.get('segmentation')
        reason = why_not_a_mask(segmentation, height, width)
        # A crowd needs no mask: it is ignored, and mmdet gives it a placeholder.
        runs = isinstance(segmentation, dict) and not annotation.get('iscrowd', False)
        if reason is None and runs and self._polygons_only:
            return 'with run lengths, which LoadAnnotations(poly2mask=False) cannot use'
        return reason

    def _check_order(self) -> None:
        if self._num_annotations:
            return
        classes = list(self.metainfo['classes'])
        names = [self.coco.cats[i]['name'] for i in self.cat_ids]
        if names != classes:
            raise ValueError(
                f'{self.ann_file} numbers its categories {names}, but metainfo.classes is {classes}: name all classes, '
                'as they are called there and in that order'
            )
