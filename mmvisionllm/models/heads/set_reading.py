"""Hidden states of queries -> scores of classes, and with decoded points -> boxes, masks and labels of the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.models.layers import multiclass_nms
from mmvisionllm.instructions import Instruction
from mmvisionllm.structures import points_to_masks

from ..language_models import LanguageModel


def score_classes(model: LanguageModel, hidden: Tensor, instructions: Sequence[Instruction]) -> Tensor:
    """Score class queries against the category set.

    Args:
        model: The language model.
        hidden: (B, M, D) hidden states of the class queries.
        instructions: B instructions of at most C categories.

    Returns:
        (B, M, C + 1), ``<none>`` last, -inf for the categories an instruction does not have.
    """
    largest = max(len(i.categories) for i in instructions)
    start = model.vocabulary.class_slice.start
    rows = [*range(start, start + largest), model.vocabulary.none_index]
    logits = model.added_logits(hidden, torch.tensor(rows, device=hidden.device))
    counts = torch.tensor([len(i.categories) for i in instructions], device=hidden.device)
    column = torch.arange(largest + 1, device=hidden.device)
    absent = (column >= counts[:, None]) & (column < largest)
    return logits.masked_fill(absent[:, None], float('-inf'))


def no_set(instruction: Instruction, img_meta: dict, like: Tensor) -> InstanceData:
    """What :func:`read_set` returns of an image in which there is nothing; ``like`` tells device and type."""
    labels = torch.zeros(0, dtype=torch.long, device=like.device)
    result = InstanceData(bboxes=like.new_zeros(0, 4), scores=like.new_zeros(0), labels=labels, label_names=[])
    if instruction.with_mask:
        result.masks = labels.new_zeros(0, *img_meta['ori_shape'][:2], dtype=torch.bool)
    return result


def read_set(
    scores: Tensor,
    points: Tensor,
    instruction: Instruction,
    img_meta: dict,
    max_per_img: int = 100,
    rescale: bool = True,
    score_thr: float = -1.0,
    nms: dict | None = None,
) -> InstanceData:
    """Read off what scores best, by mmdet's ``multiclass_nms``.

    Args:
        scores: (M, C), of which the instruction's own categories come first.
        points: (M, N, 2), normalized, of which the instruction's own number come first.
        instruction: With the dataset's label of each category and the output format.
        img_meta: ``img_shape`` (height, width), and ``scale_factor`` and ``ori_shape`` if ``rescale``.
        max_per_img: Most results; an object may be among them with several categories.
        rescale: Results for the original image, not for the network's input.
        score_thr: What scores lower is no result.
        nms: Arguments of mmcv's ``batched_nms``, which takes one class at a time; by default none: a set of objects has
            each of them once.

    Returns:
        ``bboxes`` (n, 4) in pixels, around the points; ``scores`` (n,); ``labels`` (n,) in the dataset's numbering;
        ``label_names``, the instruction's own words for them, which mmdet's visualizer draws; and if the task or the
        instruction asks for polygons, ``masks`` (n, height, width), bool.

    Raises:
        ValueError: to rescale without ``scale_factor``.
    """
    scores = scores[:, : len(instruction.categories)]
    height, width = img_meta['img_shape'][:2]
    pixels = points[:, : instruction.output_format.num_points]
    pixels = pixels * pixels.new_tensor([width, height])
    if rescale:
        if 'scale_factor' not in img_meta:
            raise ValueError(
                'a sample has no scale_factor, by which results go back to its original image: the test pipeline lacks a '
                "Resize, or PackDetInputs 'scale_factor' in its meta_keys"
            )
        pixels = pixels / pixels.new_tensor(img_meta['scale_factor'])
        height, width = img_meta['ori_shape'][:2]
    # A polygon's points may lie outside of the image, where its sides then cut the image's edge as they should.
    inside = pixels.clamp(min=0).minimum(pixels.new_tensor([width, height]))
    boxes = torch.cat([inside.amin(1), inside.amax(1)], -1)
    with_background = torch.nn.functional.pad(scores, (0, 1))
    found, classes, index = multiclass_nms(boxes, with_background, score_thr, nms, max_per_img, return_inds=True)
    objects = index // scores.size(1)
    label_ids = torch.tensor(instruction.label_ids, device=index.device)
    result = InstanceData(bboxes=found[:, :4], scores=found[:, 4], labels=label_ids[classes])
    result.label_names = [instruction.categories[c] for c in classes.tolist()]
    if instruction.with_mask:
        # An object's mask is drawn once, whatever the number of categories it is listed with.
        kept, rows = objects.unique(return_inverse=True)
        masks = points_to_masks(pixels[kept].float().cpu().numpy(), height, width)
        result.masks = torch.from_numpy(masks).to(index.device)[rows]
    return result
