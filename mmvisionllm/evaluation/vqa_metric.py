"""The VQA challenge's accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdet.registry import METRICS
from mmvisionllm.datasets.checked_records import load_lists

from .vqa_answers import answer_accuracy


@METRICS.register_module()
class VQAMetric(BaseMetric):
    """Accuracy of answers, see :func:`answer_accuracy`: over all questions (``accuracy``), and by type of answer
    (``accuracy_yes_no``, ``accuracy_number``, ``accuracy_other``), 0..1.

    Reads ``question_id`` and ``pred_answer`` of the data samples; questions that were not predicted do not count.

    Args:
        ann_file: Annotations in the format of VQA v2.
        backend_args: For mmengine's file backends.
        kwargs: mmengine's ``BaseMetric``.

    Raises:
        ValueError: if ``ann_file`` has another structure, or lacks a question that was predicted.
    """

    default_prefix = 'vqa'

    def __init__(self, ann_file: str, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ann_file = ann_file
        (annotations,) = load_lists(ann_file, 'annotations', backend_args=backend_args)
        try:
            self._truth = {
                a['question_id']: ([x['answer'] for x in a['answers']], a.get('answer_type')) for a in annotations
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{ann_file} is not in VQA v2's format, question_id and answers: {error!r}") from error

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note the answers of a batch."""
        self.results += [(sample['question_id'], sample['pred_answer']) for sample in data_samples]

    def compute_metrics(self, results: list[tuple[int, str]]) -> dict[str, float]:
        """Mean accuracies of all results."""
        scores = defaultdict(list)
        for question_id, answer in results:
            if question_id not in self._truth:
                raise ValueError(f'{self.ann_file} has no answers to question {question_id!r}')
            given, answer_type = self._truth[question_id]
            score = answer_accuracy(answer, given)
            scores['accuracy'].append(score)
            if answer_type:
                scores[f'accuracy_{answer_type.replace("/", "_")}'].append(score)
        return {name: float(np.mean(values)) for name, values in scores.items()}
