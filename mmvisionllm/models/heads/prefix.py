"""Instructions and image tokens -> one padded batch of LLM inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel, SharedPrefixLayout


def embed_prefix(
    language_model: LanguageModel, instructions: Sequence[Instruction], image: Tensor
) -> tuple[Tensor, SharedPrefixLayout]:
    """Embed the instructions with the image tokens in the place of ``<image>``.

    Args:
        language_model: For its tokenizer and embeddings.
        instructions: B instructions.
        image: (B, M, D) image tokens in the language model's space.

    Returns:
        (B, L, D) embeddings, padded on the right, and the layout of a sequence without objects.
    """
    tokenizer = language_model.tokenizer
    num_tokens = image.size(1)
    rows = []
    for instruction in instructions:
        ids = tokenizer.encode(instruction.text, bos=True)
        where = ids.index(tokenizer.image_id)
        rows.append(ids[:where] + [tokenizer.image_id] * num_tokens + ids[where + 1 :])
    length = max(map(len, rows))
    padded = [row + [0] * (length - len(row)) for row in rows]
    ids = torch.tensor(padded, device=image.device)
    lengths = torch.tensor([len(row) for row in rows], device=image.device)
    valid = torch.arange(length, device=image.device) < lengths[:, None]
    is_image = (ids == tokenizer.image_id) & valid
    embeddings = language_model.embed(ids)
    embeddings = embeddings.masked_scatter(is_image[..., None], image.to(embeddings.dtype))
    return embeddings, SharedPrefixLayout(valid, is_image)
