"""docs/drop_in.md."""

from . import models, data, running, tools, apis  # noqa: F401, I001  add the rows, in the order of the page
from .rows import ROWS


def render() -> str:
    """docs/drop_in.md."""
    lines = [
        '# What an mmdet user has',
        '',
        'What becomes of it with VisionLLM: `pytest -m slow tests/test_drop_in.py` tries every row on a tiny model, and',
        '`cd tests && python -m drop_in` writes the page.',
    ]
    for group in dict.fromkeys(r.group for r in ROWS):
        lines += ['', f'## {group}', '', '| | |', '|---|---|']
        lines += [f'| {r.what} | {r.outcome} |' for r in ROWS if r.group == group]
    return '\n'.join(lines) + '\n'
