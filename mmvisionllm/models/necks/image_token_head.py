"""Objectness and location of the image tokens, and their loss L_tok (paper, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import OptConfigType

from ..structures import Match


@MODELS.register_module()
class ImageTokenHead(DeformableDETRHead):
    """mmdet's Deformable DETR head, category-agnostic: is there an object?

    It regresses the center point alone: the assigner needs a cost on centers (:class:`CenterL1Cost`).

    Args:
        num_classes: Classes of the Deformable DETR that it starts from. Objectness is the log-sum-exp of their logits: at
            first what the detector says, and learned with one class from then on.

    Raises:
        ValueError: for a ``loss_iou`` where there are no boxes.
    """

    with_extent = False  # whether width and height are regressed, too

    def __init__(self, *args, num_classes: int = 1, loss_iou: OptConfigType = None, **kwargs) -> None:
        loss_iou = loss_iou or dict(type='GIoULoss', loss_weight=0.0)
        super().__init__(*args, num_classes=num_classes, loss_iou=loss_iou, **kwargs)
        self.num_classes = self.cls_out_channels = 1  # of targets and losses
        if not self.with_extent and self.loss_iou.loss_weight:
            raise ValueError("centers have no box to overlap: leave loss_iou out, or set type='BoxTokenHead'")

    def init_weights(self) -> None:
        """Initialize as mmdet does: objectness begins at 0.01, of however many logits it is made."""
        super().init_weights()
        for branch in self.cls_branches:
            nn.init.constant_(branch.bias, bias_init_with_prob(0.01 / branch.out_features))

    def forward(self, hidden_states: Tensor, references: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness and boxes of every decoder layer.

        Args:
            hidden_states: (L, B, M, D).
            references: L + 1 reference points, (B, M, 2 or 4).

        Returns:
            (L, B, M, 1) logits, (L, B, M, 4) normalized (cx, cy, w, h).
        """
        logits, boxes = super().forward(hidden_states, references)
        return logits.logsumexp(-1, keepdim=True), boxes

    @torch.no_grad()
    def match(
        self, scores: Tensor, boxes: Tensor, batch_gt_instances: Sequence[InstanceData], batch_img_metas: list[dict]
    ) -> list[Match]:
        """Bipartite matching of one layer's tokens to objects, the same as in ``loss_by_feat``.

        Args:
            scores: (B, M, 1) logits.
            boxes: (B, M, 4) normalized (cx, cy, w, h).
            batch_gt_instances: ``bboxes`` (n, 4) in pixels, whatever their categories.
            batch_img_metas: With ``img_shape`` (height, width).
        """
        matches = []
        for score, box, gt, meta in zip(scores, boxes, batch_gt_instances, batch_img_metas):
            height, width = meta['img_shape'][:2]
            pixels = bbox_cxcywh_to_xyxy(box) * box.new_tensor([width, height, width, height])
            predicted = InstanceData(scores=score, bboxes=pixels)
            objects = InstanceData(bboxes=gt.bboxes, labels=torch.zeros_like(gt.labels))
            gt_inds = self.assigner.assign(predicted, objects, meta).gt_inds
            index = (gt_inds > 0).nonzero().flatten()
            matches.append((index, gt_inds[index] - 1))
        return matches

    def _get_targets_single(
        self, cls_score: Tensor, bbox_pred: Tensor, gt_instances: InstanceData, img_meta: dict
    ) -> tuple:
        """mmdet's targets of one image; weights of width and height are zero without extent."""
        targets = super()._get_targets_single(cls_score, bbox_pred, gt_instances, img_meta)
        if not self.with_extent:
            bbox_weights = targets[3]
            bbox_weights[:, 2:] = 0
        return targets
