"""Class tokens of an instruction as a classifier (paper, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmvisionllm.instructions import Instruction

from ..structures import DecodedSet, ImageTokens

if TYPE_CHECKING:
    from .open_ended_decoder import OpenEndedDecoder


def score_classes(
    decoder: OpenEndedDecoder, hidden: Tensor, contexts: Tensor, instructions: Sequence[Instruction]
) -> Tensor:
    """Score class queries against the category set.

    Args:
        decoder: For its output embeddings and, with ``class_logits='contextual'``, its projection of class tokens.
        hidden: (B, M, D) hidden states of the class queries.
        contexts: (B, C, D) hidden states of the class tokens in the instructions.
        instructions: B instructions of at most C categories.

    Returns:
        (B, M, C + 1), ``<none>`` last, -inf for the categories an instruction does not have.
    """
    largest = contexts.size(1)
    start = decoder.vocabulary.class_slice.start
    rows = [*range(start, start + largest), decoder.vocabulary.none_index]
    logits = decoder.language_model.added_logits(hidden, torch.tensor(rows, device=hidden.device))
    if decoder.class_projection is not None:
        with torch.autocast(hidden.device.type, enabled=False):
            meaning = decoder.class_projection(contexts.float()) * contexts.size(-1) ** -0.5
            similarity = hidden.float() @ meaning.transpose(1, 2)
        logits = logits + nn.functional.pad(similarity, (0, 1))
    counts = torch.tensor([len(i.categories) for i in instructions], device=hidden.device)
    column = torch.arange(largest + 1, device=hidden.device)
    absent = (column >= counts[:, None]) & (column < largest)
    return logits.masked_fill(absent[:, None], float('-inf'))


def detection_scores(tokens: ImageTokens, decoded: DecodedSet) -> Tensor:
    """(B, M, C) objectness of the token x probability of the class among the categories and ``<none>``."""
    probabilities = decoded.class_logits.softmax(-1)[..., :-1]
    return tokens.objectness.float().sigmoid()[..., None] * probabilities
