"""COCO-format detection data that says what of it cannot be used."""

from __future__ import annotations

import logging
import math
from collections import Counter

from mmengine.logging import print_log

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's ``CocoDataset``, with the same samples, which counts and logs the annotations that are left out.

    mmdet leaves out silently what has no area, lies outside of its image, measures less than a pixel, or is of a category
    that is not in ``metainfo['classes']``. Numbers that are not finite are left out here as well. An error in the
    pipeline, such as an image that cannot be read, names the image.

    Attributes:
        skipped: Number of annotations left out, by reason.

    Raises:
        ValueError: if the classes are not named in the order of the file's categories, since mmdet numbers labels by the
            latter and instructions would call objects by wrong names; or if no annotation is left of those there are.
    """

    def load_data_list(self) -> list[dict]:
        """Load the annotation file, see mmdet."""
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
        """Why an annotation is left out: mmdet's own rules, in words."""
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
        return None

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
