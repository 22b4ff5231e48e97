"""Task descriptions with placeholders, one YAML file per task: ``train`` for training, ``heldout`` for testing only."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from ..tasks import get_task

SPLITS = ('train', 'heldout')


@cache
def load_templates(task: str, split: str = 'train', path: str | None = None) -> tuple[str, ...]:
    """The templates of a task.

    Args:
        task: Name of the task.
        split: ``'train'`` or ``'heldout'``.
        path: YAML file to read instead of the task's own, such as ``tools/widen_templates.py`` writes.

    Raises:
        ValueError: for an unknown task or split, a file that is not as it should be, or a template that lacks one of
            the task's placeholders.
    """
    if split not in SPLITS:
        raise ValueError(f'unknown templates {split!r}; choose one of {SPLITS}, a .yaml file, or a list of sentences')
    placeholders = get_task(task).placeholders
    source = Path(path) if path else files(__package__).joinpath(f'{task}.yaml')
    try:
        pool = yaml.safe_load(source.read_text('utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'cannot read templates from {source}: {error}') from error
    pool = pool.get(split) if isinstance(pool, dict) else None
    if not isinstance(pool, list) or not pool or not all(isinstance(t, str) for t in pool):
        raise ValueError(f'{source} must hold a list of templates under {split!r}')
    templates = tuple(' '.join(t.split()) for t in pool)
    for template in templates:
        for placeholder in placeholders:
            if template.count(placeholder) != 1:
                raise ValueError(f'template of task {task!r} must contain {placeholder} exactly once: {template!r}')
    return templates
