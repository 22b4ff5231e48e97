"""mmdet's text prompts, as in ``DetInferencer(texts=...)``: which categories they name."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.detectors.glip import clean_label_name, run_ner

from .instruction import InstructionError

SEPARATOR = '. '


def categories_of_prompt(text: str | Sequence[str], custom_entities: bool = False) -> tuple[str, ...]:
    """Categories that a text prompt names, in the order of their labels, as mmdet's Grounding DINO reads it.

    Args:
        text: Names, or a text whose noun phrases are the categories; mmdet finds them with nltk.
        custom_entities: A text holds the names themselves, with ``' . '`` or ``'. '`` between them.

    Raises:
        InstructionError: if nltk is needed and not installed.
    """
    if isinstance(text, str) and not custom_entities:
        try:
            names = run_ner(text)[1]
        except RuntimeError as error:
            raise InstructionError(
                f'the noun phrases of {text!r} are found by nltk, which is not installed: pip install nltk, or '
                "custom_entities=True with names that ' . ' parts"
            ) from error
    else:
        names = text.strip(SEPARATOR).split(SEPARATOR) if isinstance(text, str) else text
    cleaned = (clean_label_name(name).strip() for name in names)
    return tuple(dict.fromkeys(name for name in cleaned if name))
