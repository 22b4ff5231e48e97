"""Objectness and location of the image tokens, and their loss L_tok (paper, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.registry import MODELS


@MODELS.register_module()
class ImageTokenHead(DeformableDETRHead):
    """mmdet's Deformable DETR head with one class, "an object that the instruction asks for".

    Args:
        with_extent: Also regress width and height. The paper regresses the centre point alone; with the extent, the
            tokens are matched by their boxes and every layer of the tokenizer is supervised as in Deformable DETR. The
            extent supervises, and it may enter the language model, from which all boxes come. Without it, ``loss_iou``
            needs weight 0 and the assigner a cost on centres (:class:`CentreL1Cost`).
    """

    def __init__(self, *args, with_extent: bool = True, num_classes: int = 1, **kwargs) -> None:
        super().__init__(*args, num_classes=num_classes, **kwargs)
        self.with_extent = with_extent
        if not with_extent and self.loss_iou.loss_weight:
            raise ValueError('with_extent=False leaves no box to overlap: set loss_iou=dict(loss_weight=0.0)')

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """What is matched meanwhile, in a list: (M,) ``gt_inds`` of mmdet's assigners, layer by layer, image by image."""
        assigner, found = self.assigner, []

        def assign(*args: Any, **kwargs: Any) -> Any:
            result = assigner.assign(*args, **kwargs)
            found.append(result.gt_inds)
            return result

        self.assigner = SimpleNamespace(assign=assign)
        try:
            yield found
        finally:
            self.assigner = assigner

    def _get_targets_single(
        self, cls_score: Tensor, bbox_pred: Tensor, gt_instances: InstanceData, img_meta: dict
    ) -> tuple:
        """mmdet's targets of one image; weights of width and height are zero without extent."""
        targets = super()._get_targets_single(cls_score, bbox_pred, gt_instances, img_meta)
        if not self.with_extent:
            bbox_weights = targets[3]
            bbox_weights[:, 2:] = 0
        return targets
