"""The transform that gives a sample its instruction (paper, 3.2 and 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmdet.registry import TRANSFORMS
from mmvisionllm.instructions import (
    FormatError,
    Instruction,
    InstructionError,
    categories_of_prompt,
    get_task,
    load_templates,
)
from mmvisionllm.instructions.instruction import check_categories
from mmvisionllm.instructions.vocabulary import IMAGE_TOKEN, MAX_CATEGORIES
from mmvisionllm.structures import SAMPLINGS

from ..category_names import category_names
from .sample_fields import LoadedFields, PackedFields, fields_of

Fields = PackedFields | LoadedFields


@TRANSFORMS.register_module()
class AttachInstruction(BaseTransform):
    """Set a sample's ``instruction``, and what it is to be answered by. Goes behind ``PackDetInputs`` or before it.

    Behind it, what a task needs beside the image (an expression, a question, captions, answers) is read off the data
    sample, so that ``PackDetInputs(meta_keys=...)`` must pass it on; :data:`~mmvisionllm.instructions.TASKS` tells the
    fields. Before it, ``meta_keys`` must pass on ``instruction``, and ``gt_turns`` for texts to learn.

    Boxes stay as they are: objects outside the category set are told to the losses by the instruction's labels. For
    polygons, ``gt_instances.points`` (n, N, 2) in pixels is made of the masks, which are dropped; so are objects of which
    no mask is left, as after a crop. Texts to learn are in ``gt_turns``, see
    :func:`~mmvisionllm.models.heads.text_decoding.encode_turns`; one of several captions or answers is drawn. Of a list
    of questions, the first of a random order is the instruction's, and the others follow as further turns.

    In testing, categories that a sample names (``text`` and ``custom_entities``, mmdet's text prompt) take the place of
    the dataset's, with labels in their own order.

    Required keys: data_samples, or what is loaded. Modified keys: data_samples (``instruction``, ``gt_instances``,
    ``gt_turns``), or ``instruction``, ``gt_turns``, and for polygons ``gt_masks``, which points take the place of.

    Args:
        categories: By default the dataset's own names, its ``metainfo['classes']``; a mapping names some of them in words
            of one's own. Or all names in the order of the dataset's labels, or those of a dataset, see
            :func:`~mmvisionllm.datasets.category_names.category_names`: where the dataset knows its names, they must be
            the same. Tasks with an expression or a question have none. Where nobody knows names, as in mmdet's
            ``DetInferencer``, nothing is attached, and the detector asks with its own, see :class:`VisionLLM`.
        task: Name of the task.
        num_points: Points per object; a pair is the range from which a number is drawn for every sample. Defaults to the
            task's own.
        sampling: Which points stand for a mask, see :func:`~mmvisionllm.structures.sampling.sample_outline`. ``'fitted'``
            loses least; with ``'uniform'``, a point is where it is whatever the number of points.
        templates: ``'train'`` or ``'heldout'`` of the task's own, a YAML file as ``tools/widen_templates.py`` writes it,
            or sentences of one's own.
        random_instruction: Draw one of the templates per sample, and shuffle the category set; otherwise the first
            template is taken, with the categories in their order.
        random_categories: Probability with which a sample gets a random subset of the categories instead of all.
        min_categories: Smallest random subset.
        max_categories: Largest category set. If there are more categories, as in LVIS, every sample must get a random
            subset (the paper draws 80 of 1,203).
        given_categories: Offer only these, in this order (for testing).
        num_bins: Location bins of the model.

    Raises:
        InstructionError: for an invalid category set, see :func:`check_categories`, or a size of it that cannot be
            drawn.
        ValueError: for an unknown task, sampling or templates, or a probability out of 0..1.
    """

    def __init__(
        self,
        categories: Sequence[str] | Mapping[str, str] | str | None = None,
        task: str = 'detection',
        num_points: int | tuple[int, int] | None = None,
        sampling: str = 'fitted',
        templates: str | Sequence[str] = 'train',
        random_instruction: bool = False,
        random_categories: float = 0.0,
        min_categories: int = 1,
        max_categories: int = MAX_CATEGORIES,
        given_categories: Sequence[str] | None = None,
        num_bins: int = 1025,
    ) -> None:
        self.task = get_task(task)
        self.with_categories = '<class>' in self.task.placeholders
        if categories is not None and not self.with_categories:
            raise InstructionError(f'task {task!r} takes no categories=...')
        self.templates = self._read(templates)
        low, high = num_points if isinstance(num_points, (tuple, list)) else (num_points,) * 2
        if low is not None and low > high:
            raise FormatError(f'num_points={num_points} is no range')
        self.num_points = (low, high)
        if sampling not in SAMPLINGS:
            raise ValueError(f'sampling must be one of {SAMPLINGS}, got {sampling!r}')
        self.sampling = sampling
        self.random_instruction = random_instruction
        self.random_categories = float(random_categories)
        self.min_categories = min_categories
        self.max_categories = max_categories
        self.num_bins = num_bins
        self.given_categories = given_categories
        self.wordings = dict(categories) if isinstance(categories, Mapping) else None
        self.categories: tuple[str, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.labels = np.arange(0)
        if categories is not None and self.wordings is None:
            self._name(category_names(categories))
        elif not self.with_categories:
            self._try()

    def set_classes(self, classes: Sequence[str]) -> None:
        """Tell the names of the dataset's labels.

        Raises:
            InstructionError: if other names were given, or ``categories`` has words for a class that there is not.
        """
        if not self.with_categories:
            return
        words = self.wordings or {}
        if unknown := sorted(set(words) - set(classes)):
            raise InstructionError(f'categories has words for {unknown}, but the classes are {list(classes)[:20]}')
        if not self.categories:
            self._name([words.get(name, name) for name in classes])
        elif self.wordings is None and _spaced(self.categories) != _spaced(classes):
            raise InstructionError(
                f'AttachInstruction calls the labels {list(self.categories)[:20]}, but the classes of the dataset are '
                f'{list(classes)[:20]}: leave categories out, or give words of your own as a mapping, '
                "categories={'name in the file': 'own words'}"
            )
        self.classes = categories_of_prompt(classes)

    def _name(self, names: Sequence[str]) -> None:
        # Datasets may have more categories than one instruction takes, but each name must be usable.
        self.categories = check_categories(names, limit=None)
        self.labels = np.arange(len(self.categories))
        if self.given_categories is not None:
            check_categories(self.given_categories, limit=None)
            names = _spaced(self.categories)
            missing = sorted(name for name in self.given_categories if name.replace('_', ' ') not in names)
            if missing:
                raise InstructionError(f'given_categories are not in categories: {missing}')
            self.labels = np.array([names.index(name) for name in _spaced(self.given_categories)])
        self._check_sizes()
        self._try()

    def _try(self) -> None:
        """Fail when it is built, not in a worker, if text, categories and points do not go together."""
        for number in self.num_points:
            example = f'{IMAGE_TOKEN} ?' if self.task.name == 'conversation' else '?'
            self._make(self.templates[0], number, self.labels[: self.max_categories], example)

    def _read(self, templates: str | Sequence[str]) -> tuple[str, ...]:
        if not isinstance(templates, str):
            if not templates:
                raise InstructionError('templates=[] leaves nothing to ask with')
            return tuple(templates)
        if templates.endswith(('.yaml', '.yml')):
            return load_templates(self.task.name, path=templates)
        return load_templates(self.task.name, templates)

    def _check_sizes(self) -> None:
        count, low, high = len(self.labels), self.min_categories, self.max_categories
        if not 0 <= self.random_categories <= 1:
            raise ValueError(f'random_categories must be a probability, got {self.random_categories}')
        if not 1 <= high <= MAX_CATEGORIES:
            raise InstructionError(f'max_categories={high} is out of 1..{MAX_CATEGORIES}')
        if not 1 <= low <= min(count, high):
            raise InstructionError(f'min_categories={low} is out of 1..{min(count, high)}')
        if count > high and self.random_categories < 1:
            raise InstructionError(
                f'{count} categories, but max_categories={high}: set random_categories=1.0 to draw a subset for every '
                'sample, or given_categories to choose one'
            )

    def _make(
        self,
        template: str,
        num_points: int | None,
        labels: Sequence[int] = (),
        query: str | None = None,
        names: Sequence[str] | None = None,
    ) -> Instruction:
        names, ids = names or [self.categories[i] for i in labels], [int(i) for i in labels]
        if '<expression>' in self.task.placeholders:
            names, ids, query = [query], [0], None
        return Instruction.from_text(
            template,
            categories=names or None,
            label_ids=ids or None,
            task=self.task.name,
            num_points=num_points,
            num_bins=self.num_bins,
            question=query,
        )

    def _draw_labels(self) -> np.ndarray:
        labels = self.labels
        if np.random.random() < self.random_categories:
            largest = min(len(labels), self.max_categories)
            size = np.random.randint(self.min_categories, largest + 1)
            drawn = np.random.permutation(labels)
            chosen = set(drawn[:size].tolist())
            labels = np.array([label for label in labels if label in chosen])
        if self.random_instruction:
            labels = np.random.permutation(labels)
        return labels

    def transform(self, results: dict) -> dict:
        """Attach an instruction to a sample."""
        template = self.templates[0]
        if self.random_instruction:
            template = self.templates[np.random.randint(len(self.templates))]
        low, high = self.num_points
        num_points = low if low == high else int(np.random.randint(low, high + 1))
        sample = fields_of(results)
        labels: Sequence[int] = ()
        names = self._prompted(sample)
        if names:
            labels = range(len(names))
        elif self.with_categories:
            if not self.categories:
                return results
            labels = self._draw_labels()
            highest = int(max(sample.labels, default=-1))
            if highest >= len(self.categories):
                raise InstructionError(
                    f'an object has the label {highest}, but AttachInstruction names {len(self.categories)} categories: '
                    "name all of the dataset's, or take CheckedCocoDataset and leave categories out"
                )
        query = self._field(sample, self.task.query) if self.task.query else None
        if self.task.name == 'conversation':
            query, *turns = (turn['value'] for turn in query)
            sample.set('gt_turns', turns)
        elif isinstance(query, list):
            order = np.random.permutation(len(query))
            answers, weights = self._answers(sample)
            weights = weights or [None] * len(query)
            pairs = [(query[i], self._draw(answers[i], weights[i])) for i in order]
            query, *turns = (turn for pair in pairs for turn in pair)
            sample.set('gt_turns', turns)
        elif self.task.answer and sample.get(self.task.answer) is not None:
            sample.set('gt_turns', [self._draw(*self._answers(sample))])
        instruction = self._make(template, num_points, labels, query, names)
        sample.set('instruction', instruction)
        if instruction.output_format.num_points > 2:
            sample.set_points(instruction.output_format.num_points, self.sampling)
        return results

    def _prompted(self, sample: Fields) -> tuple[str, ...]:
        """Categories of a text prompt, if there is one; a dataset's own names (``return_classes``) are none."""
        if not self.with_categories or self.random_instruction or sample.get('text') is None:
            return ()
        names = categories_of_prompt(sample.get('text'), sample.get('custom_entities', False))
        return () if names == self.classes else names

    @staticmethod
    def _field(sample: Fields, name: str) -> Any:
        if sample.get(name) is None:
            raise InstructionError(sample.missing.format(name))
        return sample.get(name)

    def _answers(self, sample: Fields) -> tuple[Any, Any]:
        """What can be answered, and the answers' weights, if there are any."""
        return self._field(sample, self.task.answer), sample.get(f'{self.task.answer}_weight')

    @staticmethod
    def _draw(answers: str | Sequence[str], weights: Sequence[float] | None) -> str:
        if isinstance(answers, str):
            return answers
        weights = np.ones(len(answers)) if weights is None else np.asarray(weights, float)
        return answers[np.random.choice(len(answers), p=weights / weights.sum())]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(task={self.task.name!r}, num_points={self.num_points}, '
            f'num_categories={len(self.categories)}, '
            f'random_instruction={self.random_instruction}, random_categories={self.random_categories})'
        )


def _spaced(names: Sequence[str]) -> list[str]:
    """Names as words: datasets such as LVIS have underscores for spaces in some of their lists."""
    return [name.replace('_', ' ') for name in names]
