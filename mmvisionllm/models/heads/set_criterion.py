"""L_dec for sets (paper, 3.4): cross-entropy on the class and location tokens of matched image tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmvisionllm.instructions import Vocabulary

from ..structures import DecodedSet


def expected_bins(logits: Tensor) -> Tensor:
    """(..., num_bins) scores -> (...,) expected bin.

    Not by a matrix product, which mixed precision would round to a few bins.
    """
    scale = torch.arange(logits.size(-1), device=logits.device).float()
    return (logits.float().softmax(-1) * scale).sum(-1)


def hull(points: Tensor, mask: Tensor) -> Tensor:
    """(B, P, N, 2) points, (B, N) bool which of them count -> (B, P, 4) boxes (x1, y1, x2, y2) around them.

    Corners in the wrong order are put in order, as GIoU has no lower bound for boxes of negative sides.
    """
    beyond = ~mask[:, None, :, None]
    low = points.masked_fill(beyond, float('inf')).amin(2)
    high = points.masked_fill(beyond, float('-inf')).amax(2)
    return torch.cat([low, high], -1)


def mean_over_ranks(count: Tensor) -> Tensor:
    """A number of objects, averaged over the processes and at least 1: what losses are divided by."""
    return reduce_mean(count.float()).clamp(min=1)


@MODELS.register_module()
class SetCriterion(BaseModule):
    """The decoder's losses on a set of objects, as in the paper: cross-entropy, with one-hot targets.

    Args:
        vocabulary: The added tokens.
        class_weight: Weight of the cross-entropy on class tokens.
        location_weight: Weight of the cross-entropy on location tokens.
    """

    def __init__(self, vocabulary: Vocabulary, class_weight: float = 1.0, location_weight: float = 1.0) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.class_weight = class_weight
        self.location_weight = location_weight

    def forward(self, decoded: DecodedSet, classes: Tensor, points: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Losses of decoded objects against their matched ground truth.

        Args:
            decoded: Answers for P objects per image.
            classes: (B, P) index in the instruction's category set; -1 for objects it does not ask for.
            points: (B, P, N, 2) corners of boxes or points of polygons, normalized.
            present: (B, P) bool, False for padding.
        """
        losses = self.class_loss(decoded, classes, present)
        losses.update(self.location_loss(decoded, points, present & (classes >= 0)))
        return losses

    def class_loss(self, decoded: DecodedSet, classes: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Cross-entropy on class tokens; arguments as in :meth:`forward`."""
        logits = decoded.class_logits
        # Objects outside the category set are answered by the last column, <none>.
        targets = torch.where(classes >= 0, classes, logits.size(-1) - 1)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none')
        loss = (loss * present.flatten()).sum() / mean_over_ranks(present.sum())
        return dict(loss_dec_cls=loss * self.class_weight)

    def location_loss(self, decoded: DecodedSet, points: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """Cross-entropy on location tokens of the objects that are ``asked`` for, (B, P) bool."""
        # The tokenizer's own losses move its locations.
        offsets = points - decoded.locations.detach()[:, :, None]
        targets = self.location_targets(self.vocabulary.codec.position(offsets))
        entropy = -(targets * decoded.point_logits.float().log_softmax(-1)).sum(-1)
        loss = (entropy * point_weights(decoded, asked)).sum() / (2 * mean_over_ranks(asked.sum()))
        return dict(loss_dec_loc=loss * self.location_weight)

    def location_targets(self, position: Tensor) -> Tensor:
        """(...,) exact positions in bins -> (..., num_bins) probabilities: the nearest bin's is 1."""
        return F.one_hot(position.round().long(), self.vocabulary.codec.num_bins).to(position.dtype)


def point_weights(decoded: DecodedSet, asked: Tensor) -> Tensor:
    """(B, P, N, 2) what each coordinate weighs: an object's points add up to 1, whatever their number."""
    mask = decoded.point_mask
    share = (mask / mask.sum(1, keepdim=True))[:, None, :, None]
    return share.expand(-1, asked.size(1), -1, 2) * asked[..., None, None]
