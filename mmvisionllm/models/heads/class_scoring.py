"""Class tokens of an instruction as a classifier (paper, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel
from ..structures import DecodedSet


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


def detection_scores(objectness: Tensor, decoded: DecodedSet) -> Tensor:
    """(B, M, C) objectness of the tokens (B, M) x probability of the class among the categories and ``<none>``."""
    probabilities = decoded.class_logits.softmax(-1)[..., :-1]
    return objectness.float().sigmoid()[..., None] * probabilities
