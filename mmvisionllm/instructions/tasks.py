"""The tasks an instruction can define. A new task is a line here and a template file beside the others."""

from __future__ import annotations

from dataclasses import dataclass

from .formats import OutputFormat


@dataclass(frozen=True)
class Task:
    """What a task's instructions contain.

    Args:
        name: Its name, and that of its template file.
        default_format: The output format when neither a template nor a user says otherwise.
        placeholders: What every template of the task must contain.
    """

    name: str
    default_format: OutputFormat
    placeholders: tuple[str, ...]


_SET = ('<image>', '<class>', '<range>', '<format>')
_EXPRESSION = ('<image>', '<expression>', '<range>', '<format>')

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task('detection', OutputFormat(2), _SET),
        Task('segmentation', OutputFormat(24), _SET),
        Task('grounding', OutputFormat(2), _EXPRESSION),
        Task('captioning', OutputFormat(0), ('<image>',)),
        Task('vqa', OutputFormat(0), ('<image>', '<question>')),
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
