"""Output formats as queries (paper, 3.4): what each object is asked with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel
from ..structures import ImageTokens


@MODELS.register_module()
class FormatQueries(nn.Module):
    """Embeddings of the format tokens ``<cls> <x1> <y1> ...`` that an instruction asks with.

    Args:
        dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings.
    """

    def __init__(self, dims: int, std: float) -> None:
        super().__init__()

    def forward(
        self,
        language_model: LanguageModel,
        instructions: Sequence[Instruction],
        tokens: ImageTokens | None = None,
        indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Queries of a batch; instructions may ask for different numbers of points.

        Args:
            language_model: For its embeddings.
            instructions: B instructions that ask for sets of objects.
            tokens: Image tokens, where what they tell enters the queries.
            indices: (B, P) those that are asked; all M by default.

        Returns:
            (B, P, K, D) embeddings for K = 1 + 2N, N the largest number of points, with P = 1 where they are the same
            for all objects; (B, N) bool, which points are asked for. Those beyond are answered all the same, and change
            nothing: queries see only those before them.

        Raises:
            ValueError: if an instruction asks for text.
        """
        formats = [instruction.output_format for instruction in instructions]
        if any(f.is_text for f in formats):
            raise ValueError('the instructions ask for text, which is not decoded in parallel')
        longest = max(formats, key=lambda f: f.num_points)
        rows = [language_model.vocabulary.index(token) for token in longest.queries]
        queries = language_model.added.input[rows].expand(len(formats), 1, -1, -1)
        numbers = torch.tensor([f.num_points for f in formats], device=queries.device)
        return queries, torch.arange(longest.num_points, device=queries.device) < numbers[:, None]
