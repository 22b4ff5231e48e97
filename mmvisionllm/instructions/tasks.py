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


TASKS: dict[str, Task] = {
    task.name: task
    for task in (Task('detection', OutputFormat(2), ('<image>', '<class>', '<range>', '<format>')),)
}


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ValueError: if there is no such task; the message lists those there are.
    """
    if name not in TASKS:
        raise ValueError(f'unknown task {name!r}; known tasks: {", ".join(sorted(TASKS))}')
    return TASKS[name]
