"""Instructions and image tokens -> one padded batch of LLM inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvisionllm.instructions import Instruction

from ..language_models import LanguageModel, Prefix, SharedPrefixLayout


def instruction_ids(
    language_model: LanguageModel, instruction: Instruction, num_tokens: int, continuation: Sequence[int] = ()
) -> list[int]:
    """Token ids of an instruction with the places of ``num_tokens`` image tokens in it, and what goes on behind it.

    Raises:
        ValueError: if it speaks of location tokens that the model does not have, or is longer than the model has
            positions for.
    """
    tokenizer = language_model.tokenizer
    unknown = tokenizer.vocabulary.unknown(instruction.text)
    if unknown:
        raise ValueError(
            f'the instruction speaks of {", ".join(unknown)}, but the language model has '
            f'num_bins={tokenizer.vocabulary.num_bins}: give AttachInstruction or Instruction.from_text the same'
        )
    ids = tokenizer.encode(instruction.text, bos=True)
    where = ids.index(tokenizer.image_id)
    ids[where : where + 1] = [tokenizer.image_id] * num_tokens
    ids += continuation
    if len(ids) > language_model.max_length:
        raise ValueError(
            f'{len(ids)} tokens of instruction and image, but the language model has positions for '
            f'{language_model.max_length}: shorten the text, which begins {instruction.text[:80]!r}'
        )
    return ids


def embed_prefix(
    language_model: LanguageModel,
    instructions: Sequence[Instruction],
    image: Tensor | None,
    continuations: Sequence[Sequence[int]] | None = None,
) -> Prefix:
    """Embed the instructions with the image tokens in the place of ``<image>``.

    Args:
        language_model: For its tokenizer and embeddings.
        instructions: B instructions.
        image: (B, M, D) image tokens in the language model's space; None leaves the one token ``<image>`` itself.
        continuations: Token ids that go on behind each instruction.

    Raises:
        ValueError: see :func:`instruction_ids`.
    """
    num_tokens = 1 if image is None else image.size(1)
    continuations = continuations or [()] * len(instructions)
    rows = [instruction_ids(language_model, i, num_tokens, ids) for i, ids in zip(instructions, continuations)]
    return embed_rows(language_model, rows, image)


def embed_rows(language_model: LanguageModel, rows: Sequence[Sequence[int]], image: Tensor | None) -> Prefix:
    """Embed token ids, of :func:`instruction_ids` and what goes on behind them; arguments as there."""
    image_id, device = language_model.tokenizer.image_id, language_model.added.input.device
    heads = {tuple(row[: row.index(image_id)]) for row in rows}
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    valid = torch.arange(length, device=device) < lengths[:, None]
    is_image = (ids == image_id) & valid
    embeddings = language_model.embed(ids)
    if image is not None:
        embeddings = embeddings.masked_scatter(is_image[..., None], image.to(embeddings.dtype))
    return Prefix(embeddings, SharedPrefixLayout(valid, is_image), heads.pop() if len(heads) == 1 else ())
