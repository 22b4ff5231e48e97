"""L_dec for sets (paper, 3.4): cross-entropy on the class and location tokens of matched image tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import OptConfigType, reduce_mean
from mmvisionllm.instructions import Vocabulary

from ..structures import DecodedSet


def smoothed_targets(position: Tensor, num_bins: int, sigma: float) -> Tensor:
    """Location targets: a Gaussian around the exact (fractional) bin, or one-hot on the nearest for ``sigma=0``.

    Args:
        position: (...,) bin positions.
        num_bins: Number of bins.
        sigma: Width of the Gaussian in bins.

    Returns:
        (..., num_bins) probabilities.
    """
    if sigma == 0:
        return F.one_hot(position.round().long(), num_bins).to(position.dtype)
    bins = torch.arange(num_bins, device=position.device)
    return (-0.5 * ((bins - position[..., None]) / sigma) ** 2).softmax(-1)


def expected_bins(logits: Tensor) -> Tensor:
    """(..., num_bins) scores -> (...,) expected bin.

    Not by a matrix product, which mixed precision would round to a few bins.
    """
    scale = torch.arange(logits.size(-1), device=logits.device).float()
    return (logits.float().softmax(-1) * scale).sum(-1)


def hull(points: Tensor, mask: Tensor) -> Tensor:
    """(B, P, N, 2) points, (B, N) bool which of them count -> (B, P, 4) boxes (x1, y1, x2, y2) around them.

    Two points are a box's corners and taken as they are: where they are in the wrong order, the loss shall tell.
    """
    beyond = ~mask[:, None, :, None]
    low = points.masked_fill(beyond, float('inf')).amin(2)
    high = points.masked_fill(beyond, float('-inf')).amax(2)
    is_box = (mask.sum(1) == 2)[:, None, None]
    return torch.where(is_box, points[:, :, :2].flatten(2), torch.cat([low, high], -1))


def mean_over_ranks(count: Tensor) -> Tensor:
    """A number of objects, averaged over the processes and at least 1: what losses are divided by."""
    return reduce_mean(count.float()).clamp(min=1)


@MODELS.register_module()
class SetCriterion(BaseModule):
    """The decoder's losses on a set of objects.

    Args:
        vocabulary: The added tokens.
        class_weight: Weight of the cross-entropy on class tokens.
        location_weight: Weight of the cross-entropy on location tokens.
        location_sigma: Width in bins of the location targets; 0 for the paper's one-hot targets.
        loss_bbox: mmdet loss on the expected corners, normalised; None to leave it out, as the paper does.
        loss_iou: mmdet IoU loss on the expected corners, normalised; None to leave it out, as the paper does.
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
        super().__init__()
        self.vocabulary = vocabulary
        self.class_weight = class_weight
        self.location_weight = location_weight
        self.location_sigma = location_sigma
        self.loss_bbox = MODELS.build(loss_bbox) if loss_bbox else None
        self.loss_iou = MODELS.build(loss_iou) if loss_iou else None

    def forward(
        self,
        decoded: DecodedSet,
        classes: Tensor,
        points: Tensor,
        present: Tensor,
    ) -> dict[str, Tensor]:
        """Losses of decoded objects against their matched ground truth.

        Args:
            decoded: Answers for P objects per image.
            classes: (B, P) index in the instruction's category set; -1 for objects it does not ask for.
            points: (B, P, N, 2) corners of boxes or points of polygons, normalised.
            present: (B, P) bool, False for padding.
        """
        losses = self.class_loss(decoded, classes, present)
        asked = present & (classes >= 0)
        losses.update(self._location_losses(decoded, points, asked))
        return losses

    def class_loss(self, decoded: DecodedSet, classes: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Cross-entropy on class tokens; arguments as in :meth:`forward`."""
        logits = decoded.class_logits
        # Objects outside the category set are answered by the last column, <none>.
        targets = torch.where(classes >= 0, classes, logits.size(-1) - 1)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none')
        loss = (loss * present.flatten()).sum() / mean_over_ranks(present.sum())
        return dict(loss_dec_cls=loss * self.class_weight)

    def _location_losses(self, decoded: DecodedSet, points: Tensor, asked: Tensor) -> dict[str, Tensor]:
        codec = self.vocabulary.codec
        count = mean_over_ranks(asked.sum())
        # Every object weighs the same, whatever the number of its points.
        mask = decoded.point_mask
        share = (mask / mask.sum(1, keepdim=True))[:, None, :, None].expand_as(points) * asked[..., None, None]
        locations = decoded.locations.detach()[:, :, None]  # the tokenizer's own losses move them
        offsets = points - locations
        targets = smoothed_targets(codec.position(offsets), codec.num_bins, self.location_sigma)
        logits = decoded.point_logits.float()
        entropy = -(targets * logits.log_softmax(-1)).sum(-1)
        losses = dict(loss_dec_loc=(entropy * share).sum() / (2 * count) * self.location_weight)
        if self.loss_bbox is None and self.loss_iou is None:
            return losses
        expected = codec.decode(expected_bins(logits)) + locations
        if self.loss_bbox is not None:
            # Twice the mean over an object's points: for the two corners of a box their sum, as everywhere in mmdet.
            losses['loss_dec_bbox'] = self.loss_bbox(expected, points, 2 * share, avg_factor=count)
        if self.loss_iou is not None:
            hulls = (hull(p, mask)[asked] for p in (expected, points))
            losses['loss_dec_iou'] = self.loss_iou(*hulls, avg_factor=count)
        return losses
