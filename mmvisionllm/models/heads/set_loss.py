"""L_dec for sets (paper, 3.4): which objects are compared with what, and cross-entropy on their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmvisionllm.instructions import CoordinateCodec, Instruction, Vocabulary

from ..structures import DecodedSet, Match


@dataclass
class SetTargets:
    """Ground truth of P decoded objects per image.

    Args:
        indices: (B, P) which of the image tokens the objects are.
        classes: (B, P) index in the instruction's category set; -1 for objects it does not ask for.
        points: (B, P, N, 2) corners of boxes or points of polygons, normalized.
        present: (B, P) bool, False for objects without ground truth.
    """

    indices: Tensor
    classes: Tensor
    points: Tensor
    present: Tensor


def class_indices(instruction: Instruction, labels: Tensor) -> Tensor:
    """The dataset's labels (n,) -> their indices in the instruction's category set, -1 outside of it."""
    order = {label: c for c, label in enumerate(instruction.label_ids)}
    return torch.tensor([order.get(x, -1) for x in labels.tolist()], dtype=torch.long, device=labels.device)


def set_targets(
    matches: Sequence[Match],
    instructions: Sequence[Instruction],
    batch_gt_instances: Sequence[InstanceData],
    batch_img_metas: Sequence[dict],
    num_objects: int | None = None,
) -> SetTargets:
    """Ground truth of matched tokens.

    Args:
        matches: Per image.
        instructions: B instructions that ask for sets of objects.
        batch_gt_instances: ``bboxes`` (n, 4) in pixels, ``labels`` (n,), and ``points`` (n, N, 2) in pixels where the
            instruction asks for polygons.
        batch_img_metas: With ``img_shape`` (height, width).
        num_objects: M, to have a target for every token, in their order. By default only for matched ones, P the largest
            number of them in an image; images with fewer are padded.

    Raises:
        ValueError: if an instruction asks for polygons, and there are none.
    """
    device = matches[0][0].device
    size = num_objects or max(1, *(len(index) for index, _ in matches))
    numbers = [instruction.output_format.num_points for instruction in instructions]
    indices = torch.zeros(len(matches), size, dtype=torch.long, device=device)
    if num_objects:
        indices += torch.arange(size, device=device)
    classes = torch.full_like(indices, -1)
    points = torch.zeros(*indices.shape, max(numbers), 2, device=device)
    present = torch.zeros_like(indices, dtype=torch.bool)
    for i, (index, gt_index) in enumerate(matches):
        gt = batch_gt_instances[i]
        height, width = batch_img_metas[i]['img_shape'][:2]
        places = index if num_objects else torch.arange(len(index), device=device)
        indices[i, places], present[i, places] = index, True
        classes[i, places] = class_indices(instructions[i], gt.labels[gt_index])
        target = target_points(gt, numbers[i])[gt_index]
        points[i, places, : numbers[i]] = target / target.new_tensor([width, height])
    return SetTargets(indices, classes, points, present)


def target_points(gt_instances: InstanceData, num_points: int) -> Tensor:
    """(n, N, 2) pixels: corners of boxes, or points of polygons.

    Raises:
        ValueError: if there are no polygons of N points.
    """
    if num_points == 2:
        return gt_instances.bboxes.unflatten(-1, (2, 2))
    points = gt_instances.get('points')
    if points is None or points.size(1) != num_points:
        raise ValueError(
            f'the instruction asks for {num_points} points per object, but the ground truth has '
            f'{"boxes alone" if points is None else points.size(1)}: load masks '
            "(dict(type='LoadAnnotations', with_bbox=True, with_mask=True)) before AttachInstruction"
        )
    return points


@torch.no_grad()
def match_predictions(
    assigner: BaseAssigner,
    decoded: DecodedSet,
    boxes: Tensor,
    instructions: Sequence[Instruction],
    batch_gt_instances: Sequence[InstanceData],
    batch_img_metas: Sequence[dict],
) -> list[Match]:
    """Bipartite matching of the decoder's own predictions to objects, as the paper has it (3.4).

    Args:
        assigner: mmdet's.
        decoded: Of all M tokens.
        boxes: (B, M, 4) boxes around their points, normalized (x1, y1, x2, y2).
        instructions: B instructions.
        batch_gt_instances: ``bboxes`` in pixels and ``labels``; objects outside of the category set are of class C.
        batch_img_metas: With ``img_shape`` (height, width).
    """
    matches = []
    none = decoded.class_logits.size(-1) - 1
    for i, gt in enumerate(batch_gt_instances):
        height, width = batch_img_metas[i]['img_shape'][:2]
        sides = boxes.new_tensor([width, height, width, height])
        predicted = InstanceData(scores=decoded.class_logits[i], bboxes=boxes[i] * sides)
        classes = class_indices(instructions[i], gt.labels)
        wanted = InstanceData(bboxes=gt.bboxes, labels=classes.where(classes >= 0, none))
        gt_inds = assigner.assign(predicted, wanted, batch_img_metas[i]).gt_inds
        index = (gt_inds > 0).nonzero().flatten()
        matches.append((index, gt_inds[index] - 1))
    return matches


def hull(points: Tensor, mask: Tensor) -> Tensor:
    """(B, P, N, 2) points, (B, N) bool which of them count -> (B, P, 4) boxes (x1, y1, x2, y2) around them.

    Corners in the wrong order are put in order, as GIoU has no lower bound for boxes of negative sides.
    """
    beyond = ~mask[:, None, :, None]
    low = points.masked_fill(beyond, float('inf')).amin(2)
    high = points.masked_fill(beyond, float('-inf')).amax(2)
    return torch.cat([low, high], -1)


def expected_points(decoded: DecodedSet, codec: CoordinateCodec) -> Tensor:
    """(B, P, N, 2) points by the expected bins of their scores, normalized.

    Not by a matrix product, which mixed precision would round to a few bins.
    """
    bins = torch.arange(codec.num_bins, device=decoded.point_logits.device).float()
    expected = (decoded.point_logits.float().softmax(-1) * bins).sum(-1)
    return codec.decode(expected) + decoded.locations[:, :, None]


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
        self.codec = vocabulary.codec
        self.class_weight = class_weight
        self.location_weight = location_weight

    def forward(self, decoded: DecodedSet, classes: Tensor, points: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Losses of decoded objects against their matched ground truth.

        Args:
            decoded: Answers for P objects per image.
            classes: (B, P) index in the instruction's category set; -1 for objects it does not ask for, which are
                answered by ``<none>``.
            points: (B, P, N, 2) corners of boxes or points of polygons, normalized; N = 0 where classes alone were asked.
            present: (B, P) bool, False for padding.
        """
        none = decoded.class_logits.size(-1) - 1
        targets, asked = classes.where(classes >= 0, none), present & (classes >= 0)
        entropy = F.cross_entropy(decoded.class_logits.flatten(0, 1), targets.flatten(), reduction='none')
        loss = (entropy * present.flatten()).sum() / mean_over_ranks(present.sum())
        losses = dict(loss_dec_cls=loss * self.class_weight)
        if points.size(2):
            # An object's points add up to 1, whatever their number.
            shares = decoded.point_mask / decoded.point_mask.sum(1, keepdim=True)
            weights = shares[:, None, :, None] * asked[..., None, None]
            losses.update(self.location_loss(decoded, points, asked, weights.expand_as(points)))
        return losses

    def location_loss(self, decoded: DecodedSet, points: Tensor, asked: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Cross-entropy on location tokens.

        Args:
            decoded: As in :meth:`forward`, like ``points``.
            points: (B, P, N, 2).
            asked: (B, P) bool, objects that the instruction asks for.
            weights: (B, P, N, 2) what each coordinate weighs.
        """
        targets = self.location_targets(self.codec.position(points - decoded.locations[:, :, None]))
        entropy = -(targets * decoded.point_logits.float().log_softmax(-1)).sum(-1)
        loss = (entropy * weights).sum() / (2 * mean_over_ranks(asked.sum()))
        return dict(loss_dec_loc=loss * self.location_weight)

    def location_targets(self, position: Tensor) -> Tensor:
        """(...,) exact positions in bins -> (..., num_bins) probabilities: the nearest bin's is 1."""
        return F.one_hot(position.round().long(), self.codec.num_bins).to(position.dtype)
