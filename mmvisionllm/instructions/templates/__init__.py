"""Task descriptions with placeholders, one YAML file per task: ``train`` for training, ``heldout`` for testing only."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from ..tasks import get_task

SPLITS = ('train', 'heldout')


@cache
def load_templates(task: str, split: str = 'train') -> tuple[str, ...]:
    """The templates of a task.

    Raises:
        ValueError: for an unknown task or split, or a template that lacks one of the task's placeholders.
    """
    if split not in SPLITS:
        raise ValueError(f'unknown template split {split!r}; choose one of {SPLITS}')
    placeholders = get_task(task).placeholders
    pool = yaml.safe_load(files(__package__).joinpath(f'{task}.yaml').read_text('utf-8'))
    templates = tuple(' '.join(t.split()) for t in pool[split])
    for template in templates:
        for placeholder in placeholders:
            if template.count(placeholder) != 1:
                raise ValueError(
                    f'template of task {task!r} must contain {placeholder} exactly once: {template!r}'
                )
    return templates
