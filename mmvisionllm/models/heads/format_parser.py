"""Output formats read out of the instruction by the language model itself (paper, 3.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction, OutputFormat
from mmvisionllm.instructions.formats import MIN_POINTS
from mmvisionllm.instructions.vocabulary import CLASS_QUERY, MAX_POINTS

from ..language_models import LanguageModel
from .prompt import embed_prefix, instruction_ids
from .set_loss import mean_over_ranks


@MODELS.register_module()
class FormatParser(nn.Module):
    """Behind the instruction's text, without the image, comes its format: ``<cls> <x1> ... <yN> <eos>``, or ``<bos>``.

    It is learned by next-token prediction over these tokens. Constrained to what makes a format, most of the tokens are
    forced: the model has to choose between ``<cls>`` and ``<bos>``, and behind each ``<yi>`` between ``<x(i+1)>`` and
    ``<eos>``. What comes before a choice is the same whatever the later ones are, so that a single pass over the longest
    format holds all of them, and greedy generation is read off it.

    Args:
        loss_weight: Weight of the loss.
        num_samples: Instructions of a batch that are learned from; formats are simple, and texts are long.
    """

    max_cached = 10_000  # texts whose formats are kept: expressions differ from image to image

    def __init__(self, loss_weight: float = 1.0, num_samples: int = 4) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.num_samples = num_samples
        self.cache: dict[str, OutputFormat] = {}

    def train(self, mode: bool = True) -> FormatParser:
        """What was read with other weights is forgotten."""
        self.cache.clear()
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.cache.clear()
        super()._load_from_state_dict(*args)

    def loss(self, language_model: LanguageModel, instructions: Sequence[Instruction]) -> Tensor:
        """Next-token cross-entropy of the formats, over the format tokens, ``<bos>`` and ``<eos>``.

        Summed over a format, averaged over the instructions of all processes: in a mean over tokens, the one choice that
        says how many points there are would drown among the tokens that are forced. Nothing is learned from instructions
        without categories, which are answered by a text in any case: where no process has others, the loss is 0.
        """
        with_sets = [i for i in instructions if i.categories]
        if not with_sets:
            nothing = language_model.added.input.sum() * 0
            return nothing / mean_over_ranks(nothing.detach())
        asked = self.choose(with_sets, language_model.vocabulary.num_bins)
        # A text that comes several times is read once.
        counts = Counter(i.text for i in asked)
        chosen = list({i.text: i for i in asked}.values())
        longest = max(i.output_format.num_points for i in chosen)
        rows = format_logits(language_model, chosen, max(longest, MIN_POINTS))
        losses = []
        for logits, instruction in zip(rows, chosen):
            output_format = instruction.output_format
            # Columns: the format tokens in their order, <bos>, <eos>.
            wanted = [*range(len(output_format.queries)), -1] if output_format.queries else [-2]
            wanted = torch.tensor(wanted, device=logits.device) % logits.size(1)
            loss = F.cross_entropy(logits[: len(wanted)], wanted, reduction='sum')
            losses.append(loss * counts[instruction.text])
        total = torch.tensor(counts.total(), device=rows.device)
        return torch.stack(losses).sum() / mean_over_ranks(total)

    def choose(self, instructions: Sequence[Instruction], num_bins: int) -> list[Instruction]:
        """Which instructions to learn from.

        Args:
            instructions: Those of a batch that have category sets, one at least.
            num_bins: Location bins of the model.
        """
        return list(instructions[: self.num_samples])

    def forward(self, language_model: LanguageModel, instructions: Sequence[Instruction]) -> list[Instruction]:
        """The instructions with the formats that the language model reads; each text is read once."""
        new = {i.text: i for i in instructions if i.text not in self.cache}
        for text, instruction in new.items():
            # Without a category set there is nothing but a text to answer with.
            self.cache[text] = OutputFormat(0)
            if instruction.categories:
                (logits,) = format_logits(language_model, [instruction], most_points(language_model, instruction))
                self.cache[text] = read_format(logits)
        read = [replace(i, output_format=self.cache[i.text]) for i in instructions]
        for text in list(self.cache)[: -self.max_cached]:  # the oldest
            del self.cache[text]
        return read


def read_format(logits: Tensor) -> OutputFormat:
    """Constrained greedy generation, from (1 + 1 + 2 * longest, columns) logits."""
    if logits[0, -2] > logits[0, 0]:
        return OutputFormat(0)
    longest = len(logits) // 2 - 1
    for num_points in range(MIN_POINTS, longest):
        # Row 0 stands behind the text, and column 0 for <cls>: behind <yN> and for <x(N+1)>, both are 1 + 2N.
        place = 1 + 2 * num_points
        if logits[place, -1] > logits[place, place]:
            return OutputFormat(num_points)
    return OutputFormat(longest)


def most_points(language_model: LanguageModel, instruction: Instruction) -> int:
    """Points of the longest format that the language model has positions for behind an instruction."""
    room = language_model.max_length - len(instruction_ids(language_model, instruction, 1))
    return max(MIN_POINTS, min(MAX_POINTS, (room - 1) // 2))


def format_logits(language_model: LanguageModel, instructions: Sequence[Instruction], num_points: int) -> Tensor:
    """(B, 2 + 2 * num_points, columns): what comes behind the text, behind ``<cls>``, behind ``<x1>``, ..."""
    tokenizer, vocabulary = language_model.tokenizer, language_model.vocabulary
    forced = [tokenizer.token_id(token) for token in OutputFormat(num_points).queries]
    prefix = embed_prefix(language_model, instructions, None, [forced] * len(instructions))
    hidden = language_model(prefix.embeddings, prefix.layout)
    ends = prefix.layout.valid.sum(1).tolist()
    hidden = torch.stack([row[end - len(forced) - 1 : end] for row, end in zip(hidden, ends)])
    start = vocabulary.index(CLASS_QUERY)
    formats = language_model.added_logits(hidden, slice(start, start + 1 + 2 * MAX_POINTS))
    words = language_model.word_logits(hidden)
    return torch.cat([formats, words[..., [tokenizer.start_id, tokenizer.eos_id]]], -1)
