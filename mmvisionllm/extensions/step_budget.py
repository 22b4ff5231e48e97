"""How much a training step asks of the language model."""

from __future__ import annotations

from collections.abc import Sequence

from mmvisionllm.instructions import Instruction
from mmvisionllm.models.language_models import InstructionTokenizer


def images_within(
    budget: int, tokenizer: InstructionTokenizer, instructions: Sequence[Instruction], counts: Sequence[int], tokens: int
) -> list[int]:
    """Which images of a batch a training step answers for: from the first on, as many as a number of tokens allows.

    Args:
        budget: Most tokens of the language model, image tokens and instructions included; the first image may be more.
        tokenizer: The language model's.
        instructions: B instructions.
        counts: Objects of each image.
        tokens: M, image tokens of each image.
    """
    spent = 0
    for i, (instruction, count) in enumerate(zip(instructions, counts)):
        size = 1 + len(instruction.output_format.queries)
        spent += tokens + len(tokenizer.encode(instruction.text)) + count * size
        if i and spent > budget:
            return list(range(i))
    return list(range(len(instructions)))
