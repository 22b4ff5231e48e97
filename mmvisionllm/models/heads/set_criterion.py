"""L_dec for sets (paper, 3.4): cross-entropy on the class and location tokens of matched image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmvisionllm.instructions import Instruction, Vocabulary

from ..structures import DecodedSet, ImageTokens

if TYPE_CHECKING:
    from .open_ended_decoder import OpenEndedDecoder


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


def mean_over_ranks(count: Tensor) -> Tensor:
    """A number of objects, averaged over the processes and at least 1: what losses are divided by."""
    count = count.float()
    if get_world_size() > 1:
        all_reduce(count, 'mean')
    return count.clamp(min=1)


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
        decoder: OpenEndedDecoder,
        tokens: ImageTokens,
        instructions: Sequence[Instruction],
        batch_gt_instances: list[InstanceData],
        matches: list[tuple[Tensor, Tensor]],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """See :meth:`OpenEndedDecoder.loss`."""
        device = tokens.embeddings.device
        # Only matched tokens are answered for; images with fewer of them are padded with token 0 at weight 0.
        most = max(1, *(len(index) for index, _ in matches))
        indices = torch.zeros(len(matches), most, dtype=torch.long, device=device)
        classes = torch.full_like(indices, -1)
        corners = tokens.locations.new_zeros(*indices.shape, 4)
        present = torch.zeros_like(indices, dtype=torch.bool)
        for i, (index, gt_index) in enumerate(matches):
            n = len(index)
            gt, instruction = batch_gt_instances[i], instructions[i]
            height, width = batch_img_metas[i]['img_shape'][:2]
            size = corners.new_tensor([width, height, width, height])
            order = {label: c for c, label in enumerate(instruction.label_ids)}
            indices[i, :n], present[i, :n] = index, True
            labels = gt.labels[gt_index].tolist()
            classes[i, :n] = torch.tensor([order.get(x, -1) for x in labels], device=device)
            corners[i, :n] = gt.bboxes[gt_index] / size
        if decoder.rehearsal is None:
            decoded = decoder(tokens, instructions, indices)
            return self.set_losses(decoded, classes, corners, present, decoder.detach_location)
        words, word_classes = decoder.rehearsal(decoder.language_model, instructions)
        decoded, rehearsed = decoder(tokens, instructions, indices, words).split(most)
        losses = self.set_losses(decoded, classes, corners, present, decoder.detach_location)
        loss = self.class_loss(rehearsed, word_classes, torch.ones_like(word_classes, dtype=bool))
        losses['loss_rehearsal'] = loss['loss_dec_cls'] * decoder.rehearsal.loss_weight
        return losses

    def set_losses(
        self,
        decoded: DecodedSet,
        classes: Tensor,
        corners: Tensor,
        present: Tensor,
        detach_location: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of decoded objects against their matched ground truth.

        Args:
            decoded: Answers for P objects per image.
            classes: (B, P) index in the instruction's category set; -1 for objects it does not ask for.
            corners: (B, P, 4) boxes (x1, y1, x2, y2), normalised.
            present: (B, P) bool, False for padding.
            detach_location: Keep box losses from moving the token's location.

        Raises:
            ValueError: if more than the two points of a box were asked for: there is no ground truth for them.
        """
        if decoded.point_logits.size(2) != 2:
            raise ValueError(
                f'the instructions ask for {decoded.point_logits.size(2)} points per object, but the ground truth is '
                'boxes of 2: train with the format (c, x1, y1, x2, y2)'
            )
        losses = self.class_loss(decoded, classes, present)
        asked = present & (classes >= 0)
        losses.update(self._location_losses(decoded, corners, asked, detach_location))
        return losses

    def class_loss(
        self, decoded: DecodedSet, classes: Tensor, present: Tensor
    ) -> dict[str, Tensor]:
        """Cross-entropy on class tokens; arguments as in :meth:`set_losses`."""
        logits = decoded.class_logits
        # Objects outside the category set are answered by the last column, <none>.
        targets = torch.where(classes >= 0, classes, logits.size(-1) - 1)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none')
        loss = (loss * present.flatten()).sum() / mean_over_ranks(present.sum())
        return dict(loss_dec_cls=loss * self.class_weight)

    def _location_losses(
        self, decoded: DecodedSet, corners: Tensor, asked: Tensor, detach_location: bool
    ) -> dict[str, Tensor]:
        codec = self.vocabulary.codec
        count = mean_over_ranks(asked.sum())
        weight = asked[..., None, None].float()
        locations = decoded.locations[:, :, None]
        offsets = corners.unflatten(-1, (-1, 2)) - locations.detach()
        targets = smoothed_targets(codec.position(offsets), codec.num_bins, self.location_sigma)
        logits = decoded.point_logits.float()
        entropy = -(targets * logits.log_softmax(-1)).sum(-1)
        per_object = count * entropy.shape[2:].numel()
        losses = dict(loss_dec_loc=(entropy * weight).sum() / per_object * self.location_weight)
        if self.loss_bbox is None and self.loss_iou is None:
            return losses
        bins = expected_bins(logits)
        start = locations.detach() if detach_location else locations
        expected = (codec.decode(bins) + start).flatten(2)[asked]
        target = corners[asked]
        if self.loss_bbox is not None:
            losses['loss_dec_bbox'] = self.loss_bbox(expected, target, avg_factor=count)
        if self.loss_iou is not None:
            losses['loss_dec_iou'] = self.loss_iou(expected, target, avg_factor=count)
        return losses
