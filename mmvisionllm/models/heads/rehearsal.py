"""Words among the objects: an option that keeps a small language model's reading alive, the paper has none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel


class WordRehearsal(nn.Module):
    """Category names with noise, to be answered for beside an image's own objects.

    A small language model that was pretrained to look names up forgets it while image tokens do not resemble names yet.
    Words that play further objects of the same images keep asking for it: they share the prefix, so that they cost
    little.

    Args:
        num_words: Words per image.
        noise: Standard deviation of the noise in units of the word embeddings' own.
        loss_weight: Weight of their cross-entropy.
    """

    def __init__(self, num_words: int = 8, noise: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.num_words = num_words
        self.noise = noise
        self.loss_weight = loss_weight

    def forward(
        self, language_model: LanguageModel, instructions: Sequence[Instruction]
    ) -> tuple[Tensor, Tensor]:
        """Draw words from the category sets of the whole batch.

        Returns:
            (B, num_words, D) words with noise in the language model's space, without gradient; (B, num_words) their
            index in the instruction's category set, -1 where it does not offer them.
        """
        names = sorted({name for i in instructions for name in i.categories})
        with torch.no_grad():
            embeddings = language_model.name_embeddings(names)
        device = embeddings.device
        drawn = torch.randint(len(names), (len(instructions), self.num_words), device=device)
        orders = [{name: c for c, name in enumerate(i.categories)} for i in instructions]
        table = [[order.get(name, -1) for name in names] for order in orders]
        classes = torch.tensor(table, device=device).gather(1, drawn)
        words = embeddings[drawn]
        return words + torch.randn_like(words) * language_model.added.std * self.noise, classes
