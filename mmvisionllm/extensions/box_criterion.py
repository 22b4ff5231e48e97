"""Losses on boxes and not on bins alone: soft location targets, L1 and GIoU on the expected corners."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmvisionllm.instructions import Vocabulary
from mmvisionllm.models.heads.set_criterion import SetCriterion, expected_bins, hull, mean_over_ranks, point_weights
from mmvisionllm.models.structures import DecodedSet


@MODELS.register_module()
class BoxCriterion(SetCriterion):
    """:class:`SetCriterion` that knows how far one bin is from another.

    Args:
        vocabulary: The added tokens.
        class_weight: Weight of the cross-entropy on class tokens.
        location_weight: Weight of the cross-entropy on location tokens.
        location_sigma: Width of the location targets in bins, Gaussians around the exact position; 0 for one-hot ones.
        loss_bbox: mmdet loss on the expected corners, normalised; None leaves it out.
        loss_iou: mmdet IoU loss on the expected corners, normalised; None leaves it out.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        class_weight: float = 1.0,
        location_weight: float = 1.0,
        location_sigma: float = 0.0,
        loss_bbox: OptConfigType = None,
        loss_iou: OptConfigType = None,
    ) -> None:
        super().__init__(vocabulary, class_weight, location_weight)
        self.location_sigma = location_sigma
        self.loss_bbox = MODELS.build(loss_bbox) if loss_bbox else None
        self.loss_iou = MODELS.build(loss_iou) if loss_iou else None

    def location_targets(self, position: Tensor) -> Tensor:
        """(...,) exact positions in bins -> (..., num_bins) probabilities."""
        if self.location_sigma == 0:
            return super().location_targets(position)
        bins = torch.arange(self.vocabulary.codec.num_bins, device=position.device)
        return (-0.5 * ((bins - position[..., None]) / self.location_sigma) ** 2).softmax(-1)

    def location_loss(self, decoded: DecodedSet, points: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """See :class:`SetCriterion`."""
        losses = super().location_loss(decoded, points, asked)
        if self.loss_bbox is None and self.loss_iou is None:
            return losses
        count = mean_over_ranks(asked.sum())
        bins = expected_bins(decoded.point_logits.float())
        expected = self.vocabulary.codec.decode(bins) + decoded.locations.detach()[:, :, None]
        if self.loss_bbox is not None:
            # Twice the mean over an object's points: for the two corners of a box their sum, as everywhere in mmdet.
            weights = 2 * point_weights(decoded, asked)
            losses['loss_dec_bbox'] = self.loss_bbox(expected, points, weights, avg_factor=count)
        if self.loss_iou is not None:
            hulls = (hull(p, decoded.point_mask)[asked] for p in (expected, points))
            losses['loss_dec_iou'] = self.loss_iou(*hulls, avg_factor=count)
        return losses
