"""Answers in words (paper, 3.4): ``<bos>`` behind the instruction starts ordinary next-token prediction."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from mmvisionllm.instructions import Instruction

from ..language_models import InstructionTokenizer, LanguageModel
from ..language_models.transformers_bridge import counting_on
from .prompt import embed_prefix, instruction_ids
from .set_loss import mean_over_ranks

_UNLABELED = -100  # what torch's cross-entropy leaves out


def encode_turns(
    tokenizer: InstructionTokenizer, turns: Sequence[str], room: int = sys.maxsize
) -> tuple[list[int], list[int]]:
    """Token ids behind an instruction, and what is to be predicted at each of them.

    Args:
        tokenizer: The language model's.
        turns: An answer, or an answer, a further question, its answer, and so on; a question at the end is left out.
        room: Most ids. From the first answer on that does not fit, turns are left out, with a warning.

    Returns:
        Ids ``<bos> answer <eos> question <bos> answer <eos> ...``; for each the next id inside of an answer (its
        ``<eos>`` included), -100 elsewhere.

    Raises:
        ValueError: if a turn contains a token that VisionLLM adds: texts are made of words.
    """
    ids: list[int] = []
    labels: list[int] = []
    fits = 0  # up to the end of the last answer that does
    for number, turn in enumerate(turns):
        words = tokenizer.encode_words(turn)
        if any(word >= tokenizer.base_size for word in words):
            raise ValueError(f'the text {turn[:80]!r} contains a token that VisionLLM reserves')
        if number % 2:
            ids += words
            labels += [_UNLABELED] * len(words)
        else:
            ids += [tokenizer.start_id, *words, tokenizer.eos_id]
            labels += [*words, tokenizer.eos_id, _UNLABELED]
            if len(ids) > room:
                warnings.warn(
                    f'turns {number + 1} to {len(turns)} of {len(turns)} are left out: with instruction and image, the '
                    f'language model has no positions for them. They begin {turn[:80]!r}',
                    stacklevel=2,
                )
                break
            fits = len(ids)
    return ids[:fits], labels[:fits]


def text_loss(
    model: LanguageModel, image: Tensor, instructions: Sequence[Instruction], batch_turns: Sequence[Sequence[str]]
) -> Tensor:
    """Mean next-token cross-entropy of the answers, over the tokens of all processes.

    Args:
        model: The language model.
        image: (B, M, D) image tokens in its space.
        instructions: B instructions.
        batch_turns: Per image the turns of :func:`encode_turns`.

    Raises:
        ValueError: if an answer cannot be said, see :func:`encode_turns`, or an instruction does not fit into the
            language model, see :func:`instruction_ids`.
    """
    if not batch_turns:  # other processes may have some
        return image.sum() * 0 / mean_over_ranks(image.new_zeros(()))
    heads = [instruction_ids(model, i, image.size(1)) for i in instructions]
    encoded = [
        encode_turns(model.tokenizer, turns, model.max_length - len(head)) for head, turns in zip(heads, batch_turns)
    ]
    prefix = embed_prefix(model, instructions, image, [ids for ids, _ in encoded])
    hidden = model(prefix.embeddings, prefix.layout)
    labels = torch.full(hidden.shape[:2], _UNLABELED, device=hidden.device)
    ends = prefix.layout.valid.sum(1).tolist()
    for row, end, (ids, wanted) in zip(labels, ends, encoded):
        row[end - len(ids) : end] = torch.tensor(wanted, device=row.device)
    asked = labels != _UNLABELED
    loss = F.cross_entropy(model.word_logits(hidden[asked]), labels[asked], reduction='sum')
    return loss / mean_over_ranks(asked.sum())


def generate_texts(
    model: LanguageModel, image: Tensor, instructions: Sequence[Instruction], **generation: Any
) -> list[str]:
    """Answer by transformers' ``generate``, from a cache of the prefix.

    Args:
        model: The language model.
        image: (B, M, D) image tokens in its space.
        instructions: B instructions.
        generation: Arguments of ``generate``: ``max_new_tokens``, ``do_sample``, ``num_beams``, ...; a text ends in any
            case where the language model has no more positions, or no longer sees the beginning.

    Raises:
        ValueError: if there are no positions left for an answer.
    """
    tokenizer, prefix = model.tokenizer, embed_prefix(model, instructions, image)
    layout, cache = prefix.layout, DynamicCache()
    model(prefix.embeddings, layout, cache)
    # `generate` repeats what it is given for each beam, but not a cache.
    if generation.get('num_beams', 1) > 1:
        cache.batch_repeat_interleave(generation['num_beams'])
    batch, length = layout.valid.shape
    # transformers counts a sliding window in tokens, and image tokens share one position: it must not hide anything.
    most = min(model.max_length, model.sliding_window or sys.maxsize)
    room = most - length
    if room < 1:
        raise ValueError(f'instruction and image take all {most} positions of the language model: shorten the text')
    if 'max_new_tokens' in generation:
        generation['max_new_tokens'] = min(generation['max_new_tokens'], room)
    # What stands in the cache is not looked at again; `generate` wants its length.
    ids = torch.full((batch, length + 1), tokenizer.start_id, device=layout.valid.device)
    with counting_on(model.lm, cache, length, layout.start):
        out = model.lm.generate(
            input_ids=ids,
            attention_mask=F.pad(layout.valid, (0, 1), value=True).long(),
            pad_token_id=tokenizer.eos_id,
            eos_token_id=tokenizer.eos_id,
            # Rows of the output layer behind the tokenizer's last id are padding.
            suppress_tokens=model.padding_ids or None,
            # Processes have texts of their own, some have none: with sharded weights, `generate` would wait for the
            # others at each word, though all weights are there (FullyShardedStrategy).
            synced_gpus=False,
            **{model.cache_argument: cache},
            **generation,
        )
    return [tokenizer.decode_words(row) for row in out[:, length + 1 :].tolist()]
