"""Boxes instead of centers: what goes on from a Deformable DETR's boxes, and losses that know how far apart two bins are.

Tokenizer, language model and losses, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType
from mmvisionllm.instructions import Instruction, Vocabulary
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.set_loss import SetCriterion, expected_points, hull, mean_over_ranks, set_targets
from mmvisionllm.models.necks.image_token_head import ImageTokenHead
from mmvisionllm.models.structures import DecodedSet, ImageTokens, Match

from .step_budget import images_within


@MODELS.register_module()
class BoxTokenHead(ImageTokenHead):
    """:class:`ImageTokenHead` that regresses width and height, too.

    Tokens are matched by their boxes, and every layer of the tokenizer is supervised as in Deformable DETR. The boxes
    supervise, and enter the language model (:class:`BoxDecoder`), from which all results come.

    Args:
        loss_iou: mmdet IoU loss on the boxes.
    """

    with_extent = True

    def __init__(self, *args, loss_iou: OptConfigType = None, **kwargs) -> None:
        super().__init__(*args, loss_iou=loss_iou or dict(type='GIoULoss', loss_weight=2.0), **kwargs)


@MODELS.register_module()
class BoxDecoder(OpenEndedDecoder):
    """:class:`OpenEndedDecoder` that goes on from a Deformable DETR's boxes (:class:`BoxTokenHead`).

    Tokens enter the language model by their boxes: with boxes refined from layer to layer, embeddings hold what a layer
    changes of a box, and not the box. The tokens that the tokenizer has matched are decoded alone. Coordinates are read
    off their bins as expectations.

    Args:
        tokens_per_step: Most tokens that the language model sees at once in training on sets of objects, see
            :func:`images_within`: the tokenizer learns from all images of a batch, the language model from those that
            fit, at least one. None for all.

    Raises:
        ValueError: for an ``assigner``, which has nothing to match.
    """

    num_coordinates = 4

    def __init__(self, language_model: ConfigType, *args, tokens_per_step: int | None = None, **kwargs) -> None:
        super().__init__(language_model, *args, **kwargs)
        if self.assigner is not None:
            raise ValueError('BoxDecoder learns from the matches of the tokenizer: leave the assigner out of train_cfg')
        self.tokens_per_step = tokens_per_step

    def project(self, tokens: ImageTokens) -> Tensor:
        """(B, M, D) image tokens in the language model's space, by their boxes (cx, cy, w, h)."""
        return self.projector(tokens.embeddings, torch.cat([tokens.locations, tokens.extents], -1).detach())

    def points(self, decoded: DecodedSet) -> Tensor:
        """(B, M, N, 2) expected points in the image, normalized, not clipped."""
        return expected_points(decoded, self.vocabulary.codec)

    def loss(
        self,
        tokens: ImageTokens,
        instructions: Sequence[Instruction],
        batch_gt_instances: list[InstanceData],
        matches: list[Match],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """See :class:`OpenEndedDecoder`."""
        if self.tokens_per_step is not None:
            counts, per_image = [len(index) for index, _ in matches], tokens.embeddings.size(1)
            images = images_within(self.tokens_per_step, self.language_model.tokenizer, instructions, counts, per_image)
            tokens = tokens.select(images)
            matches, instructions, batch_gt_instances, batch_img_metas = (
                [part[i] for i in images] for part in (matches, instructions, batch_gt_instances, batch_img_metas)
            )
        targets = set_targets(matches, instructions, batch_gt_instances, batch_img_metas)
        return self.loss_by_feat(self(tokens, instructions, targets.indices), targets)


@MODELS.register_module()
class BoxCriterion(SetCriterion):
    """:class:`SetCriterion` that knows how far one bin is from another.

    Args:
        vocabulary: The added tokens.
        class_weight: Weight of the cross-entropy on class tokens.
        location_weight: Weight of the cross-entropy on location tokens.
        location_sigma: Width of the location targets in bins, Gaussians around the exact position; 0 for one-hot ones.
        loss_bbox: mmdet loss on the expected corners, normalized; None leaves it out.
        loss_iou: mmdet IoU loss on the expected corners, normalized; None leaves it out.
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
        bins = torch.arange(self.codec.num_bins, device=position.device)
        return (-0.5 * ((bins - position[..., None]) / self.location_sigma) ** 2).softmax(-1)

    def location_loss(self, decoded: DecodedSet, points: Tensor, asked: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """See :class:`SetCriterion`."""
        losses = super().location_loss(decoded, points, asked, weights)
        expected, count = expected_points(decoded, self.codec), mean_over_ranks(asked.sum())
        if self.loss_bbox is not None:
            # Twice the mean over an object's points: for the two corners of a box their sum, as everywhere in mmdet.
            losses['loss_dec_bbox'] = self.loss_bbox(expected, points, 2 * weights, avg_factor=count)
        if self.loss_iou is not None:
            hulls = (hull(p, decoded.point_mask)[asked] for p in (expected, points))
            losses['loss_dec_iou'] = self.loss_iou(*hulls, avg_factor=count)
        return losses
