"""LLaVA-Instruct-150K: conversations about COCO's images."""

from __future__ import annotations

from typing import Any

from mmdet.registry import DATASETS
from mmvisionllm.instructions.vocabulary import IMAGE_TOKEN

from .checked_records import MAX_QUERY_LENGTH, CheckedDataset, Unusable, check_text, field

_NOUN = 'conversations'
_SPEAKERS = ('human', 'gpt')


@DATASETS.register_module()
class LLaVAInstructDataset(CheckedDataset):
    """Conversations as LLaVA releases them: a list of ``id``, ``image`` and ``conversations``.

    Samples have ``conversation``, a list of ``dict(from='human' | 'gpt', value=text)`` as it stands in the file: human
    first, taking turns, with ``<image>`` at the beginning or end of the first turn and nowhere else. ``img_id`` is the
    record's place in the file: released ids repeat.
    """

    def load_samples(self) -> list[dict]:
        """One sample per conversation."""
        (records,) = self._load(self.ann_file)
        return self.keep(enumerate(records), lambda pair: self._read(*pair))

    def _read(self, index: int, record: Any) -> dict:
        turns = field(record, 'conversations', list, _NOUN)
        # Mixtures of later releases hold text without images.
        file_name = field(record, 'image', str, _NOUN)
        if len(turns) < 2 or len(turns) % 2:
            raise Unusable(f'{_NOUN} without an answer to each question')
        conversation = [self._turn(t, _SPEAKERS[i % 2], i == 0) for i, t in enumerate(turns)]
        return self._sample(file_name, img_id=index, conversation=conversation)

    def _turn(self, turn: Any, speaker: str, first: bool) -> dict[str, str]:
        if field(turn, 'from', str, _NOUN) != speaker:
            raise Unusable(f'{_NOUN} that do not take turns, human first')
        value = text = field(turn, 'value', str, _NOUN)
        if first:
            text = value.strip()
            if not text.startswith(IMAGE_TOKEN) and not text.endswith(IMAGE_TOKEN):
                raise Unusable(f'{_NOUN} without {IMAGE_TOKEN} at an end of the first turn')
            text = text.replace(IMAGE_TOKEN, '', 1)
        limit = min(MAX_QUERY_LENGTH, self.max_text_length) if first else self.max_text_length
        check_text(text, f'turns of {_NOUN}', limit)
        return {'from': speaker, 'value': value}
