"""Instructions to practise reading output formats on, in words that no template has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from mmdet.registry import MODELS
from mmvisionllm.instructions import Instruction, get_task, load_templates
from mmvisionllm.instructions.tasks import TASKS
from mmvisionllm.models.heads.format_parser import FormatParser

# Of a category set: reading a format does not take more, and costs by the word.
_CATEGORIES = 3


@MODELS.register_module()
class PracticingFormatParser(FormatParser):
    """:class:`FormatParser` that also practices on instructions made up in each iteration.

    What is hardest to read is the number of points, and the batches of one task alone tell it.

    Args:
        args: See :class:`FormatParser`.
        num_practice: Further instructions, see :func:`practice_instructions`.
        num_points: Range of their numbers of points.
    """

    # Whether a box or a polygon is asked for is easier to read than the number of points.
    practice_boxes = 0.25

    def __init__(self, *args, num_practice: int = 2, num_points: tuple[int, int] = (8, 24), **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.num_practice = num_practice
        self.num_points = num_points

    def choose(self, instructions: Sequence[Instruction], num_bins: int) -> list[Instruction]:
        """See :class:`FormatParser`."""
        sets = [i.categories for i in instructions]
        practice = practice_instructions(self.num_practice, sets, self.num_points, self.practice_boxes, num_bins)
        return [*super().choose(instructions, num_bins), *practice]


def practice_instructions(
    number: int, category_sets: Sequence[Sequence[str]], num_points: tuple[int, int], boxes: float, num_bins: int
) -> list[Instruction]:
    """Instructions for boxes and polygons whose words are partly drawn at random.

    The templates of a task are few. Learned as they are, a model may know a task's format by its words; where each of
    them may be any other, only the format that is written there tells it.

    Args:
        number: How many.
        category_sets: Sets to ask for, of one category at least.
        num_points: Range of the polygons' numbers of points.
        boxes: Share of instructions that ask for boxes.
        num_bins: Location bins of the model.

    Returns:
        Instructions; everything random is drawn from torch's generator.
    """

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), device='cpu'))

    found = []
    for _ in range(number):
        task = 'segmentation'
        if torch.rand((), device='cpu') < boxes:
            task = ('detection', 'grounding')[draw(0, 2)]
        templates = load_templates(task)
        words = templates[draw(0, len(templates))].split()
        replaced = torch.rand(len(words), device='cpu') < torch.rand((), device='cpu')
        others = _plain_words()
        words = [
            others[draw(0, len(others))] if change and '<' not in word else word
            for word, change in zip(words, replaced.tolist())
        ]
        categories = category_sets[draw(0, len(category_sets))]
        found.append(
            Instruction.from_text(
                ' '.join(words),
                categories=categories[: 1 if task == 'grounding' else _CATEGORIES],
                task=task,
                num_points=draw(num_points[0], num_points[1] + 1) if task == 'segmentation' else None,
                num_bins=num_bins,
            )
        )
    return found


@cache
def _plain_words() -> tuple[str, ...]:
    """The words of all tasks' templates."""
    tasks = [task for task in TASKS if get_task(task).placeholders]
    words = {word for task in tasks for template in load_templates(task) for word in template.split()}
    return tuple(sorted(word for word in words if '<' not in word))
