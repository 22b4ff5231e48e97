"""Visual question answering in the format of VQA v2."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mmdet.registry import DATASETS

from .checked_records import MAX_QUERY_LENGTH, CheckedDataset, Unusable, field

_NOUN = 'questions'


@DATASETS.register_module()
class VQADataset(CheckedDataset):
    """Questions about images, one sample per question, or per image.

    Samples have ``question``, ``question_id``, ``img_id`` and, with an ``ann_file``, ``gt_answer``: the different answers
    of the people asked, the most frequent first, and ``gt_answer_weight``, the share of people who gave each.

    Args:
        question_file: JSON with ``questions``: ``question``, ``question_id``, ``image_id``.
        ann_file: JSON with ``annotations``: ``question_id``, ``answers``. Empty if the answers are not known, as for
            VQA v2's test splits.
        img_name_tmpl: File name of an image by its id, as VQA v2 gives nothing else:
            ``'COCO_train2014_{:012d}.jpg'``.
        max_question_length: Longest question in bytes of UTF-8; longer ones are left out.
        per_image: One sample per image, for training: its fields are lists, and its questions are asked one after another
            in one answer, which teaches as much as a sample for each in a fraction of the time.
        kwargs: See :class:`CheckedDataset`.

    Raises:
        ValueError: if ``img_name_tmpl`` is not a format of one number.
    """

    def __init__(
        self,
        question_file: str,
        ann_file: str = '',
        img_name_tmpl: str = '{:012d}.jpg',
        max_question_length: int = MAX_QUERY_LENGTH,
        per_image: bool = False,
        **kwargs: Any,
    ) -> None:
        try:
            distinct = img_name_tmpl.format(1) != img_name_tmpl.format(2)
        except (IndexError, KeyError, ValueError):
            distinct = False
        if not distinct:
            raise ValueError(f"img_name_tmpl must be like 'COCO_train2014_{{:012d}}.jpg', got {img_name_tmpl!r}")
        self.question_file = question_file
        self.img_name_tmpl = img_name_tmpl
        self.per_image = per_image
        super().__init__(ann_file=ann_file, max_text_length=max_question_length, **kwargs)

    @property
    def source(self) -> str:
        """The questions' file, and the answers'."""
        return ' and '.join(filter(None, [self.question_file, self.ann_file]))

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.question_file = self._join_root(self.question_file)

    def load_samples(self) -> list[dict]:
        """One sample per question or per image, in the order of the file."""
        (questions,) = self._load(self.question_file, 'questions')
        answers = None
        if self.ann_file:
            (annotations,) = self._load(self.ann_file, 'annotations')
            answers = dict(self.keep(annotations, self._answers))
        samples = self.keep(questions, lambda question: self._question(question, answers))
        if not self.per_image:
            return samples
        images: dict[str, list[dict]] = {}
        for sample in samples:
            images.setdefault(sample['img_path'], []).append(sample)
        fields = ('question', 'question_id', *(('gt_answer', 'gt_answer_weight') if answers is not None else ()))
        return [group[0] | {name: [s[name] for s in group] for name in fields} for group in images.values()]

    def _answers(self, annotation: Any) -> tuple[int | str, dict[str, float]]:
        noun = 'annotations'
        question_id = field(annotation, 'question_id', (int, str), noun)
        texts = self.keep(field(annotation, 'answers', list, noun), self._answer)
        if not texts:
            raise Unusable(f'{noun} without answers')
        return question_id, {t: n / len(texts) for t, n in Counter(texts).most_common()}

    def _answer(self, answer: Any) -> str:
        return self._text(field(answer, 'answer', str, 'answers'), 'answers')

    def _question(self, question: Any, answers: dict[Any, dict[str, float]] | None) -> dict:
        question_id = field(question, 'question_id', (int, str), _NOUN)
        image_id = field(question, 'image_id', int, _NOUN)
        fields = dict(question=self._text(question.get('question'), _NOUN), question_id=question_id)
        if answers is not None:
            if question_id not in answers:
                raise Unusable(f'{_NOUN} without answers')
            given = answers[question_id]
            fields |= dict(gt_answer=list(given), gt_answer_weight=list(given.values()))
        return self._sample(self.img_name_tmpl.format(image_id), img_id=image_id, **fields)
