"""How well referring expressions are located, and those that nothing fits are recognized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdet.evaluation import RefExpMetric, bbox_overlaps
from mmdet.registry import METRICS
from mmvisionllm.datasets.checked_records import Unusable, load_lists
from mmvisionllm.datasets.expressions import read_box


@METRICS.register_module()
class ExpressionMetric(RefExpMetric):
    """mmdet's ``RefExpMetric`` for the files of ``RefExpDataset``, which have no RefCOCO in them.

    ``precision@k`` is the share of expressions whose box overlaps one of the k best predictions;
    ``absent_rejected``, over the expressions that nothing fits, the share without any prediction above a score. Reads
    ``img_id`` and ``pred_instances`` (``bboxes`` in pixels, ``scores``) of the data samples; expressions that were not
    predicted do not count.

    Args:
        ann_file: The dataset's annotation file.
        topk: The values of k.
        iou_thr: IoU from which on a prediction is right.
        score_thr: Score above which a prediction claims that there is something.
        backend_args: For mmengine's file backends.
        kwargs: mmengine's ``BaseMetric``.

    Raises:
        ValueError: if ``ann_file`` has another structure, or no usable expression at the place that ``img_id`` says.
    """

    def __init__(
        self,
        ann_file: str,
        topk: Sequence[int] = (1,),
        iou_thr: float = 0.5,
        score_thr: float = 0.3,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        BaseMetric.__init__(self, **kwargs)  # mmdet's own wants a COCO file
        self.ann_file = ann_file
        self.topk = topk
        self.iou_thr = iou_thr
        self.score_thr = score_thr
        (self._records,) = load_lists(ann_file, backend_args=backend_args)

    def _target(self, img_id: int) -> list[float] | None:
        try:
            return read_box(self._records[img_id])
        except (IndexError, TypeError, Unusable) as error:
            raise ValueError(f'{self.ann_file}, expression {img_id!r}: {error}') from error

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The shares over all results; those without any expression to take them of are left out."""
        hits: dict[int, list[bool]] = {k: [] for k in self.topk}
        rejected = []
        for result in results:
            target = self._target(result['img_id'])
            if target is None:
                rejected.append(not (result['scores'] > self.score_thr).any())
                continue
            best_first = result['bboxes'][np.argsort(-result['scores'], kind='stable')]
            right = bbox_overlaps(best_first, np.array([target]))[:, 0] >= self.iou_thr
            for k in self.topk:
                hits[k].append(bool(right[:k].any()))
        shares = {f'precision@{k}': values for k, values in hits.items()}
        shares['absent_rejected'] = rejected
        return {name: float(np.mean(values)) for name, values in shares.items() if values}
