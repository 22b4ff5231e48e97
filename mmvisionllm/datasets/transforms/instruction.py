"""The transform that gives a sample its instruction (paper, 3.2 and 3.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmdet.registry import TRANSFORMS
from mmvisionllm.instructions import Instruction, InstructionError, load_templates
from mmvisionllm.instructions.instruction import check_categories
from mmvisionllm.instructions.vocabulary import MAX_CATEGORIES

from ..category_names import category_names


@TRANSFORMS.register_module()
class AttachInstruction(BaseTransform):
    """Set ``data_samples.instruction``. Goes behind ``PackDetInputs``.

    Ground truth stays as it is: objects outside the category set are told to the losses by the instruction's labels.

    Required keys: data_samples. Modified keys: data_samples (``instruction``).

    Args:
        categories: All category names in the order of the dataset's labels, or a data set, see
            :func:`~mmvisionllm.datasets.category_names.category_names`.
        task: Name of the task.
        text: The instruction itself, for a fixed one. Defaults to the task's templates.
        random_template: Draw one of the task's templates per sample; otherwise the first is taken.
        template_split: ``'train'`` or ``'heldout'``.
        random_categories: Probability with which a sample gets a random subset of the categories instead of all.
        min_categories: Smallest random subset.
        max_categories: Largest category set. If there are more categories, as in LVIS, every sample must get a random
            subset (the paper draws 80 of 1,203).
        keep_present: Put the image's own categories into the random subset first; the rest of it are negatives. Otherwise
            the subset does not look at the image.
        random_order: Shuffle the category set.
        given_categories: Offer only these, in this order (for testing).
        num_bins: Location bins of the model.

    Raises:
        InstructionError: for an invalid category set, see :func:`check_categories`, or a size of it that cannot be
            drawn.
        ValueError: for an unknown task or split, or a probability out of 0..1.
    """

    def __init__(
        self,
        categories: Sequence[str] | str,
        task: str = 'detection',
        text: str | None = None,
        random_template: bool = False,
        template_split: str = 'train',
        random_categories: float = 0.0,
        min_categories: int = 1,
        max_categories: int = MAX_CATEGORIES,
        keep_present: bool = False,
        random_order: bool = False,
        given_categories: Sequence[str] | None = None,
        num_bins: int = 1025,
    ) -> None:
        names = category_names(categories)
        # Datasets may have more categories than one instruction takes, but each name must be usable.
        self.categories = check_categories(names, limit=None)
        self.templates = (text,) if text else load_templates(task, template_split)
        self.task = task
        self.random_template = random_template
        self.random_categories = float(random_categories)
        self.min_categories = min_categories
        self.max_categories = max_categories
        self.keep_present = keep_present
        self.random_order = random_order
        self.num_bins = num_bins
        self.labels = np.arange(len(self.categories))
        if given_categories is not None:
            check_categories(given_categories, limit=None)
            missing = sorted(set(given_categories) - set(self.categories))
            if missing:
                raise InstructionError(f'given_categories are not in categories: {missing}')
            self.labels = np.array([self.categories.index(n) for n in given_categories])
        self._check_sizes()
        # Fail at build time, not in a worker, if text and categories do not go together.
        self._make(self.templates[0], self.labels[:max_categories])

    def _check_sizes(self) -> None:
        count, low, high = len(self.labels), self.min_categories, self.max_categories
        if not 0 <= self.random_categories <= 1:
            raise ValueError(
                f'random_categories must be a probability, got {self.random_categories}'
            )
        if not 1 <= high <= MAX_CATEGORIES:
            raise InstructionError(f'max_categories={high} is out of 1..{MAX_CATEGORIES}')
        if not 1 <= low <= min(count, high):
            raise InstructionError(f'min_categories={low} is out of 1..{min(count, high)}')
        if count > high and self.random_categories < 1:
            raise InstructionError(
                f'{count} categories, but max_categories={high}: set random_categories=1.0 to draw a subset for every '
                'sample, or given_categories to choose one'
            )

    def _make(self, template: str, labels: Sequence[int]) -> Instruction:
        return Instruction.from_text(
            template,
            categories=[self.categories[i] for i in labels],
            label_ids=[int(i) for i in labels],
            task=self.task,
            num_bins=self.num_bins,
        )

    def _draw_labels(self, present: np.ndarray) -> np.ndarray:
        labels = self.labels
        if np.random.random() < self.random_categories:
            largest = min(len(labels), self.max_categories)
            size = np.random.randint(self.min_categories, largest + 1)
            drawn = np.random.permutation(labels)
            if self.keep_present:
                is_present = np.isin(drawn, present)
                size = min(max(size, int(is_present.sum())), largest)
                drawn = np.concatenate([drawn[is_present], drawn[~is_present]])
            chosen = set(drawn[:size].tolist())
            labels = np.array([label for label in labels if label in chosen])
        if self.random_order:
            labels = np.random.permutation(labels)
        return labels

    def transform(self, results: dict) -> dict:
        """Attach an instruction to ``results['data_samples']``."""
        template = self.templates[0]
        if self.random_template:
            template = self.templates[np.random.randint(len(self.templates))]
        sample = results['data_samples']
        present = sample.gt_instances.labels.numpy() if 'gt_instances' in sample else np.array([])
        sample.instruction = self._make(template, self._draw_labels(present))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(task={self.task!r}, num_categories={len(self.categories)}, '
            f'random_template={self.random_template}, random_categories={self.random_categories}, '
            f'random_order={self.random_order})'
        )
