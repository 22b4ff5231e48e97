"""COCO-format detection data that says what of it cannot be used."""

from __future__ import annotations

import logging
import os.path as osp
from typing import Any

from mmengine.dataset import Compose
from mmengine.logging import print_log

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .coco_file import CheckedCOCO
from .coco_report import CocoReport
from .image_files import check_sizes, size_of
from .photos import ImageReadError
from .transforms.load_photo import LoadPhoto
from .transforms.nested import every_transform


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's ``CocoDataset`` behind a gate (:class:`CheckedCOCO`): what can be repaired in a file is repaired.

    What cannot be used is left out. Both are logged, with counts and an example. :class:`CheckedCocoMetric` reads files
    through the same gate. Labels follow the order of ``metainfo['classes']``, whatever that of the file is. A sample of
    the images is compared with what the file says of their sizes, and an error in the pipeline names its image.
    :class:`AttachInstruction` gets the classes, and photos of every kind are read (:class:`LoadPhoto`).

    Args:
        with_masks: Whether masks are in use, and annotations that give none are left out. By default, whether a transform
            of ``pipeline`` loads them; say it if that transform stands elsewhere, as in a wrapper of the dataset.
        skip_unreadable: Train on without photos that cannot be read, of which each is logged once, with their number.

    Attributes:
        report: What was repaired and left out.

    Raises:
        AnnotationFileError: if the file cannot be used.
    """

    report: CocoReport
    _classes_known = False

    def __init__(self, *args: Any, with_masks: bool | None = None, skip_unreadable: bool = False, **kwargs: Any) -> None:
        self._with_masks = with_masks
        self.skip_unreadable = skip_unreadable
        self._unreadable: set[str] = set()
        super().__init__(*args, **kwargs)
        self._classes_known = True
        self.pipeline = self._pipeline

    @property
    def pipeline(self) -> Compose:
        """As in mmengine; one that is set later, as by mmdet's ``PipelineSwitchHook``, is told the classes, too."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Compose) -> None:
        self._pipeline = pipeline
        if not self._classes_known:
            return
        pipeline.transforms = [LoadPhoto.in_place_of(t) for t in pipeline.transforms]
        for transform in every_transform(pipeline):
            if hasattr(transform, 'set_classes'):
                transform.set_classes(self.metainfo['classes'])

    def COCOAPI(self, path: str) -> CheckedCOCO:
        """Read the file through the gate."""
        transforms = list(every_transform(self.pipeline))
        loaders = [t for t in transforms if getattr(t, 'with_mask', False)]
        with_masks: bool | str = bool(loaders) if self._with_masks is None else self._with_masks
        if with_masks and any(not getattr(t, 'poly2mask', True) for t in loaders):
            with_masks = 'polygons'
        turned = not any('orientation' in getattr(t, 'color_type', '') for t in transforms)
        backend_args = self.backend_args
        found = CheckedCOCO(
            self.ann_file,
            self.metainfo['classes'],
            with_masks,
            read_size=lambda _, name: size_of(self._path(name), turned, backend_args),
            backend_args=backend_args,
        )
        self.report = found.report
        sizes = {self._path(image['file_name']): (image['width'], image['height']) for image in found.dataset['images']}
        check_sizes(sizes, self.ann_file, turned, backend_args)
        return found

    def _path(self, file_name: str) -> str:
        return osp.join(self.data_prefix.get('img', ''), file_name)

    def prepare_data(self, idx: int) -> dict | None:
        """Run a sample through the pipeline.

        Raises:
            RuntimeError: if that fails; the message names the image.
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)['img_path']
            if self.skip_unreadable and isinstance(error, ImageReadError) and not self.test_mode:
                if path not in self._unreadable:
                    self._unreadable.add(path)
                    number = len(self._unreadable)
                    print_log(f'{error}: left out, with {number - 1} others so far', 'current', logging.WARNING)
                return None  # mmengine takes another one
            raise RuntimeError(f'sample {idx}, {path}: {type(error).__name__}: {error}') from error
