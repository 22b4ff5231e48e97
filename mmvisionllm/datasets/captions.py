"""COCO Captions, as COCO releases them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mmdet.registry import DATASETS

from .checked_records import CheckedDataset, Unusable, field


@DATASETS.register_module()
class CaptionDataset(CheckedDataset):
    """Images with captions from ``captions_train2017.json`` and the like, one sample per image.

    Samples have ``gt_caption``, the list of all captions. Karpathy's splits, in another format, are read by mmdet's
    ``CocoCaptionDataset`` with the same fields.
    """

    def load_samples(self) -> list[dict]:
        """One sample per image that has captions."""
        images, annotations = self._load(self.ann_file, 'images', 'annotations')
        # A list, for an id, cannot be looked up: it is no image's id.
        known = {image.get('id') for image in images if isinstance(image, dict) and _has_id(image)}
        captions = defaultdict(list)
        for image_id, caption in self.keep(annotations, lambda a: self._caption(a, known)):
            captions[image_id].append(caption)
        return self.keep(images, lambda image: self._image(image, captions))

    def _caption(self, annotation: Any, known: set) -> tuple[Any, str]:
        image_id = field(annotation, 'image_id', (int, str), 'captions')
        if image_id not in known:
            raise Unusable('captions of images that are not listed')
        return image_id, self._text(annotation.get('caption'), 'captions')

    def _image(self, image: Any, captions: dict[Any, list[str]]) -> dict:
        image_id = field(image, 'id', (int, str), 'images')
        file_name = field(image, 'file_name', str, 'images')
        if image_id not in captions:
            raise Unusable('images without captions')
        size = {key: image[key] for key in ('width', 'height') if isinstance(image.get(key), int)}
        return self._sample(file_name, img_id=image_id, gt_caption=captions[image_id], **size)


def _has_id(image: dict) -> bool:
    return isinstance(image.get('id'), (int, str))
