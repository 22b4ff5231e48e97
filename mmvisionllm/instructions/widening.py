"""Widening a pool of templates by a language model (paper, 3.2, after self-instruct): prompt, filter, loop."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .formats import FormatError
from .instruction import Instruction, InstructionError
from .tasks import get_task
from .templates import load_templates

#: Share of words in common, in order, from which on two templates are the same. The shipped ones stay below.
NEAR = 0.6
MAX_CHARACTERS = 300

_PLACEHOLDER = re.compile(r'<[^<>\s]*>')
_NUMBERING = re.compile(r'^\s*(?:[-*\u2022]|\(?\d+[.):]\)?)\s+')
_QUOTES = '"\'`*\u201c\u201d'

PROMPT = """\
Below are instructions for a model that looks at an image. All of them mean the same and contain each of the \
placeholders {placeholders} exactly once. Write {wanted} more that mean the same in clearly other words and other \
sentence structures. Write one per line, numbered, with each placeholder exactly once and nothing else.

{examples}
"""


def make_prompt(task: str, examples: Sequence[str], wanted: int) -> str:
    """The request for new templates, ending with the numbered examples."""
    lines = '\n'.join(f'{i}. {example}' for i, example in enumerate(examples, 1))
    placeholders = ', '.join(get_task(task).placeholders)
    return PROMPT.format(placeholders=placeholders, wanted=wanted, examples=lines)


def parse_candidates(text: str) -> list[str]:
    """The lines of a model's answer without numbers, bullets and quotation marks around them."""
    lines = (_NUMBERING.sub('', line).strip() for line in text.splitlines())
    unquoted = (line.strip(_QUOTES).strip() for line in lines)
    return [' '.join(line.split()) for line in unquoted if line]


def words(template: str) -> list[str]:
    """The words of a template in lower case, without placeholders and punctuation."""
    return re.findall(r"[\w']+", _PLACEHOLDER.sub(' ', template).lower())


def is_near(first: str, second: str) -> bool:
    """Whether two templates are the same but for a few words."""
    matcher = SequenceMatcher(None, words(first), words(second), autojunk=False)
    return matcher.quick_ratio() >= NEAR and matcher.ratio() >= NEAR


def refusal(candidate: str, task: str, pool: Collection[str]) -> str | None:
    """Why a candidate is not kept, or None if it is as good a template as those of the pool."""
    spec = get_task(task)
    if len(candidate.splitlines()) != 1 or not candidate.isprintable():
        return 'not a single printable line'
    if len(words(candidate)) < 2 or len(candidate) > MAX_CHARACTERS:
        return f'fewer than 2 words or more than {MAX_CHARACTERS} characters'
    if sorted(_PLACEHOLDER.findall(candidate)) != sorted(spec.placeholders):
        return 'not each placeholder exactly once, and no other'
    filled = candidate.replace('<expression>', '<class>').replace('<question>', 'What is it?')
    names = ['person'] if '<class>' in filled else None
    try:
        made = Instruction.from_text(filled, categories=names, task=task)
    except (FormatError, InstructionError) as error:
        return f'no instruction: {type(error).__name__}'
    if made.output_format != spec.default_format:
        return 'no instruction: another output format'
    if any(is_near(candidate, other) for other in pool):
        return 'too near to another template'
    return None


def _load_state(out: Path, task: str, settings: dict[str, Any]) -> dict[str, Any]:
    if not out.exists():
        pool = {split: list(load_templates(task, split)) for split in ('train', 'heldout')}
        return pool | dict(widened=dict(settings, seeds=len(pool['train']), rounds=0))
    try:
        state = yaml.safe_load(out.read_text('utf-8'))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'{out} is not YAML, choose another file: {error}') from error
    made_with = state.get('widened') if isinstance(state, dict) else None
    if not isinstance(made_with, dict) or {k: made_with.get(k) for k in settings} != settings:
        raise ValueError(f'{out} was made with other settings ({made_with}) than {settings}; choose another file')
    return state


def _save_state(out: Path, state: dict[str, Any]) -> None:
    partial = out.with_name(out.name + '.partial')
    text = yaml.safe_dump(state, allow_unicode=True, sort_keys=False, width=10_000)
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, out)


def widen(
    task: str,
    out: Path,
    generate: Callable[[str, int], str],
    count: int,
    settings: dict[str, Any] | None = None,
    shots: int = 8,
    seed: int = 0,
    patience: int = 10,
    report: Callable[[str], None] = print,
) -> tuple[int, Counter[str]]:
    """Ask for new templates until there are enough, or none come any more.

    ``out`` is written after every round, in the form of the task's own file: its templates and the new ones under
    ``train``, its own ``heldout``. An ``out`` that is there already is carried on with, as if it had never stopped.

    Args:
        task: Name of the task.
        out: YAML file.
        generate: (prompt, seed) -> what the language model answers.
        count: How many templates to add.
        settings: What else ``out`` must have been made with to be carried on, such as the model's name.
        shots: Templates shown per round, and asked for.
        seed: Decides which templates are shown and what is sampled.
        patience: Rounds without a new template after which to stop.
        report: Takes a line per round.

    Returns:
        Number of templates added to the task's own, and number of candidates refused in this run, by reason.

    Raises:
        ValueError: for an unknown task, or if ``out`` was made with other settings.
    """
    state = _load_state(out, task, dict(settings or {}, task=task, shots=shots, seed=seed))
    train, progress = state['train'], state['widened']
    refused: Counter[str] = Counter()
    idle = 0
    while len(train) - progress['seeds'] < count and idle < patience:
        rng = np.random.default_rng([seed, progress['rounds']])
        shown = rng.choice(train, min(shots, len(train)), replace=False).tolist()
        answer = generate(make_prompt(task, shown, shots), int(rng.integers(2**31)))
        before = len(train)
        for candidate in parse_candidates(answer):
            reason = refusal(candidate, task, train + state['heldout'])
            if reason is None and len(train) - progress['seeds'] < count:
                train.append(candidate)
            elif reason is not None:
                refused[reason] += 1
        idle = idle + 1 if len(train) == before else 0
        progress['rounds'] += 1
        _save_state(out, state)
        report(f'round {progress["rounds"]}: {len(train) - before} kept, {len(train)} templates in all')
    return len(train) - progress['seeds'], refused
