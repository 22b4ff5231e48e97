"""Alignment of image tokens with the names of what they show: an option, the paper has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from mmvisionllm.instructions import Instruction, get_task

from ..structures import ImageTokens
from .set_criterion import mean_over_ranks

if TYPE_CHECKING:
    from .open_ended_decoder import OpenEndedDecoder


def alignment_loss(
    decoder: OpenEndedDecoder,
    tokens: ImageTokens,
    instructions: Sequence[Instruction],
    batch_gt_instances: list[InstanceData],
    layer_matches: list[list[tuple[Tensor, Tensor]]],
) -> Tensor:
    """Cross-entropy of matched tokens among the word embeddings of the instruction's category names.

    It does for the tokenizer what the classification loss of every layer does for a Deformable DETR. The embeddings are
    targets and get no gradient. An expression is the only one of its instruction: it is told from those of the whole
    batch, so that what they speak of (colours, sizes, places) gets into the tokens.

    Args:
        decoder: For the linear part of its projector and its word embeddings.
        tokens: With the hidden states of every decoder layer, or else the last one's.
        instructions: B instructions.
        batch_gt_instances: With ``labels`` (n,) in the dataset's numbering.
        layer_matches: Per decoder layer and image the matched tokens and their objects, both (n,).

    Returns:
        The sum over the layers of the mean over objects that the instruction asks for.
    """
    referring = ['<expression>' in get_task(i.task).placeholders for i in instructions]
    expressions = {n: None for r, i in zip(referring, instructions) if r for n in i.categories}
    candidates = [tuple(expressions) if r else i.categories for r, i in zip(referring, instructions)]
    embed = decoder.language_model.name_embeddings
    unique = dict.fromkeys(candidates)  # all images with expressions share theirs
    embedded = {c: F.normalize(embed(c).detach().float(), dim=-1) for c in unique}
    names = [embedded[c] for c in candidates]
    orders = [
        {label: c.index(name) for label, name in zip(i.label_ids, i.categories)}
        for c, i in zip(candidates, instructions)
    ]
    total = tokens.embeddings.new_zeros((), dtype=torch.float32)
    layers = tokens.embeddings[None] if tokens.hidden_states is None else tokens.hidden_states
    for hidden, matches in zip(layers, layer_matches):
        image = decoder.projector.linear(hidden).float()
        losses, count = total.new_zeros(()), total.new_zeros(())
        for i, (index, gt_index) in enumerate(matches):
            labels = batch_gt_instances[i].labels[gt_index].tolist()
            classes = torch.tensor(
                [orders[i].get(x, -1) for x in labels], device=index.device
            ).long()
            similarity = image[i, index] @ names[i].T
            losses = losses + F.cross_entropy(similarity, classes, ignore_index=-1, reduction='sum')
            count = count + (classes >= 0).sum()
        total = total + losses / mean_over_ranks(count)
    return total
