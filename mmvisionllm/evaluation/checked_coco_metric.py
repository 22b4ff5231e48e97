"""mmdet's COCO metric on files that have gone through the gate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from mmvisionllm.datasets.coco_file import CheckedCOCO


@METRICS.register_module()
class CheckedCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``, which counts the objects that :class:`CheckedCocoDataset` sees.

    On a file without faults every figure is mmdet's. Where nothing is predicted at all, AP is 0. Where instructions ask
    for some of the classes alone, the others, whose AP is 0, are in the mean as everywhere; a further figure, with
    ``_asked`` behind its name, is the mean over those that were asked for.

    Args:
        ann_file: The annotation file; without it, objects are read off the data samples.
        metric: As in mmdet. With ``'segm'``, annotations without a mask are left out.
        kwargs: As in mmdet.

    Raises:
        AnnotationFileError: if the file cannot be used.
        ValueError: for ``format_only`` where category ids had to be changed.
    """

    def __init__(self, ann_file: str | None = None, metric: str | Sequence[str] = 'bbox', **kwargs: Any) -> None:
        super().__init__(ann_file=None, metric=metric, **kwargs)
        self.ann_file = ann_file
        self.iou_thrs = np.atleast_1d(np.asarray(self.iou_thrs, float))  # pycocotools takes no list

    @property
    def dataset_meta(self) -> dict | None:
        """As in mmengine; as soon as the classes are known, the annotation file is read."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if self.ann_file is None or self._coco_api is not None or 'classes' not in dataset_meta:
            return
        coco = self._read()
        if self.format_only and coco.renumbered:
            raise ValueError(
                f'format_only: results would have other category ids than {self.ann_file}, whose categories are in '
                "another order than metainfo.classes; name the classes in the file's order"
            )
        self._coco_api = coco

    def _read(self, read_size: Callable[[Hashable, str], tuple[int, int] | None] | None = None) -> CheckedCOCO:
        classes, with_masks = self.dataset_meta['classes'], 'segm' in self.metrics
        return CheckedCOCO(self.ann_file, classes, with_masks, read_size, self.backend_args)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """See mmdet.

        Raises:
            ValueError: for the metric ``'segm'`` where boxes alone are predicted.
        """
        if 'segm' in self.metrics and any('masks' not in sample['pred_instances'] for sample in data_samples):
            raise ValueError(
                "metric='segm' compares masks, but boxes alone are predicted: ask for polygons, as "
                "AttachInstruction(task='segmentation') in the test pipeline, or leave 'segm' out of the metric"
            )
        super().process(data_batch, data_samples)
        for (truth, _), sample in zip(self.results[-len(data_samples) :], data_samples):
            instruction = sample.get('instruction')
            truth['asked'] = None if instruction is None else instruction.label_ids

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See mmdet."""
        if self.ann_file is not None and any('width' not in image for image in self._coco_api.imgs.values()):
            sizes = {truth['img_id']: (truth['width'], truth['height']) for truth, _ in results}
            self._coco_api = self._read(lambda key, _: sizes.get(key, sizes.get(str(key))))
        every = set(range(len(self.dataset_meta['classes'])))
        asked = set().union(*(every if truth['asked'] is None else truth['asked'] for truth, _ in results))
        if not any(len(prediction['scores']) for _, prediction in results):
            print_log('nothing was predicted on any image: AP is 0', 'current', logging.WARNING)
            results = [(results[0][0], self._nowhere(results[0][1])), *results[1:]]
        metrics = super().compute_metrics(results)
        if metrics and asked & every < every:
            metrics.update(self._of_classes(asked & every, results))
        return metrics

    def _nowhere(self, prediction: dict) -> dict:
        """A prediction that no object can match; pycocotools refuses to evaluate none."""
        found = dict(
            prediction, bboxes=np.array([[-10.0, -10.0, -9.0, -9.0]]), scores=np.zeros(1), labels=np.zeros(1, int)
        )
        if 'masks' in prediction:
            found['masks'] = encode_mask_results(np.zeros((1, 1, 1), np.uint8))
        return found

    def _of_classes(self, labels: set[int], results: list) -> dict[str, float]:
        """The means over some classes: without the objects of the others, those have no AP."""
        whole, ids = self._coco_api, {self.cat_ids[label] for label in labels}
        part = CheckedCOCO.__new__(CheckedCOCO)
        part.dataset = dict(
            whole.dataset, annotations=[a for a in whole.dataset['annotations'] if a['category_id'] in ids]
        )
        part.createIndex()
        prefix, classwise = self.outfile_prefix, self.classwise
        self._coco_api, self.outfile_prefix, self.classwise = part, None, False
        try:
            found = super().compute_metrics(results)
        finally:
            self._coco_api, self.outfile_prefix, self.classwise = whole, prefix, classwise
        return {f'{key}_asked': value for key, value in found.items() if key.endswith('mAP')}
