"""mmdet's metric of RefCOCO, for models that may predict nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdet.evaluation import RefExpMetric
from mmdet.registry import METRICS


@METRICS.register_module()
class RefCOCOMetric(RefExpMetric):
    """mmdet's ``RefExpMetric``, where an expression without any predicted box is a miss.

    mmdet's takes the largest IoU of the predictions, which fails where there are none, as of a language model that takes
    the instruction for one that asks for text.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the boxes of every sample; one without any gets a box of no size."""
        super().process(data_batch, data_samples)
        for result in self.results[len(self.results) - len(data_samples) :]:
            if not len(result['bboxes']):
                result.update(bboxes=np.zeros((1, 4), np.float32), scores=np.zeros(1, np.float32))
