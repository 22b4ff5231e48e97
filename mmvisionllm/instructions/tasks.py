"""The tasks an instruction can define. A new task is an entry here and a template file beside the others."""

from __future__ import annotations

from dataclasses import dataclass

from .formats import OutputFormat

_SET = ('<image>', '<class>', '<range>', '<format>')


@dataclass(frozen=True)
class Task:
    """What a task's instructions contain.

    Args:
        name: Its name, and that of its template file.
        default_format: The output format when neither a template nor a user says otherwise.
        placeholders: What every template of the task must contain.
        query: Field of a data sample that fills ``<expression>`` or ``<question>``; None if the task has neither.
        answer: Field of a data sample that holds the text to answer with; None if the answer is a set of objects.
        prediction: Field of a data sample under which the text that is generated goes, as metrics expect it.
    """

    name: str
    default_format: OutputFormat
    placeholders: tuple[str, ...]
    query: str | None = None
    answer: str | None = None
    prediction: str = 'pred_text'


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task('detection', OutputFormat(2), _SET),
        Task('segmentation', OutputFormat(24), _SET),
        # Grounding is detection with the expression as its only category (paper, 3.2).
        Task('grounding', OutputFormat(2), ('<image>', '<expression>', '<range>', '<format>'), 'text'),
        Task('captioning', OutputFormat(0), ('<image>',), None, 'gt_caption', 'pred_caption'),
        Task('vqa', OutputFormat(0), ('<image>', '<question>'), 'question', 'gt_answer', 'pred_answer'),
        # The data words the instruction itself, and it may go on for several turns.
        Task('conversation', OutputFormat(0), ('<question>',), 'conversation', 'conversation'),
    )
}


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ValueError: if there is no such task; the message lists those there are.
    """
    if name not in TASKS:
        raise ValueError(f'unknown task {name!r}; known tasks: {", ".join(sorted(TASKS))}')
    return TASKS[name]
