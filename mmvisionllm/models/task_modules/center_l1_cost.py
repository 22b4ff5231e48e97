"""Match cost on center points alone, for image tokens without extent (paper, 3.3)."""

from __future__ import annotations

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class CenterL1Cost(BaseMatchCost):
    """L1 distance of the boxes' centers, in units of the image's sides.

    Args:
        weight: Weight of the cost.
    """

    def __call__(
        self, pred_instances: InstanceData, gt_instances: InstanceData, img_meta: dict | None = None, **kwargs: object
    ) -> Tensor:
        """Compute the cost.

        Args:
            pred_instances: ``bboxes`` (n, 4) in pixels (x1, y1, x2, y2).
            gt_instances: ``bboxes`` (k, 4), likewise.
            img_meta: With ``img_shape`` (height, width).

        Returns:
            (n, k) costs.
        """
        height, width = img_meta['img_shape'][:2]
        found, wanted = (
            instances.bboxes.float().unflatten(-1, (2, 2)).mean(1) / instances.bboxes.new_tensor([width, height]).float()
            for instances in (pred_instances, gt_instances)
        )
        return torch.cdist(found, wanted, p=1) * self.weight
