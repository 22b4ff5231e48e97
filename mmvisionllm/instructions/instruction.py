"""The unified language instruction (paper, 3.2): a task, a text for the models and the category set behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .formats import OutputFormat
from .tasks import get_task
from .vocabulary import ADDED_TOKEN_PATTERN, IMAGE_TOKEN, MAX_CATEGORIES, CoordinateCodec

_ENTRY = re.compile(r'("(?:[^"\\]|\\.)*")\s*:\s*<c(\d+)>')
_CLASS_TOKEN = re.compile(r'<c\d+>')
_FREE_TEXT = re.compile('<class>|<question>')
_MAPPING = re.compile(r'\{\s*' + _ENTRY.pattern + r'(?:\s*,\s*' + _ENTRY.pattern + r')*\s*\}')


class InstructionError(ValueError):
    """An instruction that no model could follow."""


def _check_unicode(text: str) -> None:
    if any('\ud800' <= character <= '\udfff' for character in text):
        raise InstructionError(f'{text!r} is not valid Unicode: it holds half a surrogate pair')


def check_categories(categories: Sequence[str], limit: int | None = MAX_CATEGORIES) -> tuple[str, ...]:
    """Validate a category set, or the names of a dataset with ``limit=None``.

    Raises:
        InstructionError: if it is empty, has more than ``limit`` entries, an empty name, a name twice, or a name that
            contains one of VisionLLM's own tokens or is not valid Unicode.
    """
    if isinstance(categories, str):
        raise InstructionError(f'categories must be a list of names, got the string {categories!r}')
    names = tuple(categories)
    if not names:
        raise InstructionError('the category set is empty; name at least one category')
    if limit is not None and len(names) > limit:
        raise InstructionError(
            f'{len(names)} categories in one instruction, but there are {limit} class tokens; '
            'split them over several instructions'
        )
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InstructionError(f'a category must be a non-empty text, got {name!r}')
        if ADDED_TOKEN_PATTERN.search(name):
            raise InstructionError(f'category {name!r} contains a token that VisionLLM reserves')
        _check_unicode(name)
    if len(set(names)) != len(names):
        doubles = sorted({n for n in names if names.count(n) > 1})
        raise InstructionError(f'categories given more than once: {doubles}')
    return names


def render_categories(categories: Sequence[str]) -> str:
    """``('person', 'car')`` -> ``{"person":<c0>,"car":<c1>}``; without spaces, which cost two tokens per category."""
    entries = (f'{json.dumps(n, ensure_ascii=False)}:<c{i}>' for i, n in enumerate(categories))
    return '{' + ','.join(entries) + '}'


def parse_categories(text: str) -> tuple[str, ...] | None:
    """The category set written out in a text, or None if it holds no mapping.

    Raises:
        InstructionError: if the mapping's class tokens do not run ``<c0>, <c1>, ...``, a name is not a JSON string, or
            there are two mappings.
    """
    mappings = list(_MAPPING.finditer(text))
    if not mappings:
        return None
    if len(mappings) > 1:
        raise InstructionError('the instruction holds more than one category mapping; leave one')
    entries = _ENTRY.findall(mappings[0][0])
    if [i for _, i in entries] != [str(i) for i in range(len(entries))]:
        raise InstructionError(
            f'the class tokens of {mappings[0][0]!r} must run <c0>, <c1>, ... in the order of the categories'
        )
    try:
        names = [json.loads(name, strict=False) for name, _ in entries]
    except json.JSONDecodeError as error:
        raise InstructionError(
            f'a category of {mappings[0][0]!r} is not a JSON string ({error.msg}); write quotes as \\" '
            'and backslashes as \\\\'
        ) from None
    return check_categories(names)


def without_categories(text: str) -> str:
    """The text with ``<class>`` for its mapping: names are free text, which may spell a format or a placeholder."""
    return _MAPPING.sub('<class>', text)


@dataclass(frozen=True)
class Instruction:
    """One instruction, ready for the models.

    Args:
        task: Name of the task, see :data:`~mmvisionllm.instructions.tasks.TASKS`.
        text: The whole text with the category set and the range filled in and ``<image>`` where the image tokens go.
        categories: The category set; category ``i`` is answered by class token ``<ci>``.
        label_ids: The dataset's label of each category, so that predictions speak the dataset's language.
        output_format: What is asked for, as parsed from the text.

    Attributes:
        plain_text: The text for an ordinary text encoder: category names instead of the mapping, no added tokens.
        with_mask: Whether the task or the instruction itself asks for polygons: metrics of masks need some of whatever
            format is read.

    Raises:
        InstructionError: if the text lacks ``<image>`` or has it twice, is not valid Unicode, or the category set is
            invalid.
        ValueError: for an unknown task.
    """

    task: str
    text: str
    categories: tuple[str, ...] = ()
    label_ids: tuple[int, ...] = ()
    output_format: OutputFormat = OutputFormat(2)
    plain_text: str = field(init=False, repr=False, compare=False)
    with_mask: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        formats = self.output_format, get_task(self.task).default_format
        object.__setattr__(self, 'with_mask', max(f.num_points for f in formats) > 2)
        plain = _MAPPING.sub(lambda _: ', '.join(self.categories), self.text)
        object.__setattr__(self, 'plain_text', ' '.join(ADDED_TOKEN_PATTERN.sub(' ', plain).split()))
        _check_unicode(self.text)
        count = self.text.count(IMAGE_TOKEN)
        if count != 1:
            raise InstructionError(
                f'an instruction must contain {IMAGE_TOKEN} exactly once (where the image goes), '
                f'found {count} times in {self.text!r}'
            )
        if not self.output_format.is_text:
            check_categories(self.categories)
            if len(self.label_ids) != len(self.categories):
                raise InstructionError(f'{len(self.categories)} categories but {len(self.label_ids)} label ids')

    @property
    def names(self) -> dict[int, str]:
        """The instruction's own name for each of the dataset's labels that it asks for."""
        return dict(zip(self.label_ids, self.categories))

    @classmethod
    def from_text(
        cls,
        text: str,
        categories: Sequence[str] | None = None,
        label_ids: Sequence[int] | None = None,
        task: str = 'detection',
        num_points: int | None = None,
        num_bins: int = 1025,
        question: str | None = None,
    ) -> Instruction:
        """Make an instruction from a template or from a sentence of one's own.

        ``<class>``, ``<range>``, ``<format>`` and ``<question>`` are filled in where they stand; ``<expression>`` is
        another name for ``<class>``. Without ``<class>``, the category set is read from a mapping in the text and
        written as the templates write it, or, if ``categories`` are given, put in front. A vision task whose text names
        no output format gets the task's own put in front: the models answer what the text asks for.

        Args:
            text: Template or sentence; must contain ``<image>``.
            categories: The category set, in the order of its class tokens.
            label_ids: Dataset labels of the categories. Defaults to 0, 1, ...
            task: Name of the task.
            num_points: Points per object, for ``<format>``. Defaults to the task's own.
            num_bins: Location bins of the model, for ``<range>``.
            question: Text for ``<question>``; a text task without the placeholder gets it put behind.

        Raises:
            InstructionError, FormatError: see there.
        """
        spec = get_task(task)
        wanted = spec.default_format if num_points is None else OutputFormat(num_points)
        if wanted.is_text != spec.default_format.is_text:
            raise InstructionError(f'task {task!r} cannot answer with num_points={num_points}')
        written = parse_categories(text)
        text = without_categories(text).replace('<expression>', '<class>')
        if text.count('<class>') > 1:
            raise InstructionError('the instruction holds more than one category mapping; leave one')
        stray = _CLASS_TOKEN.search(text)
        if stray is not None:
            raise InstructionError(
                f'{stray[0]} stands outside of a category mapping; write the mapping as JSON: '
                '{"person": <c0>, "car": <c1>}'
            )
        radius = CoordinateCodec(num_bins).radius
        text = ' '.join(text.split())
        text = text.replace('<range>', f'<p-{radius}>..<p{radius}>')
        text = text.replace('<format>', wanted.describe())
        output_format = OutputFormat.parse(text)
        if output_format.is_text and not wanted.is_text:
            output_format = wanted
            text = f'Answer as {wanted.describe()}. {text}'
        if wanted.is_text and not output_format.is_text:
            raise InstructionError(
                f'task {task!r} answers by text, but the instruction asks for {output_format.describe()}'
            )
        if num_points is not None and output_format != wanted:
            raise InstructionError(f'num_points={num_points}, but the text asks for {output_format.describe()}')
        names = cls._category_set(categories, written)
        if names is not None and '<class>' not in text:
            text = f'Categories: <class>. {text}'
        elif names is None and '<class>' in text:
            raise InstructionError('the text contains <class>, but no categories were given')
        elif names is None and not output_format.is_text:
            raise InstructionError(
                'the instruction has no category set: give categories=[...], or write a mapping '
                'such as {"person": <c0>, "car": <c1>} into it'
            )
        if question is not None:
            question = cls._check_question(question)
            text = text if '<question>' in text else f'{text} <question>'
        elif '<question>' in text:
            raise InstructionError('the text contains <question>, but no question was given')
        # In one go and last of all: both are free text, and may spell a format or each other's placeholder.
        filled = {'<class>': names and render_categories(names), '<question>': question}
        text = _FREE_TEXT.sub(lambda match: filled[match[0]], text)
        names = names or ()
        ids = tuple(label_ids) if label_ids is not None else tuple(range(len(names)))
        return cls(task, text, names, ids, output_format)

    @staticmethod
    def _check_question(question: str) -> str:
        question = ' '.join(question.split())
        if not question:
            raise InstructionError('the question is empty')
        if ADDED_TOKEN_PATTERN.search(question.replace(IMAGE_TOKEN, '')):
            raise InstructionError(f'question {question!r} contains a token that VisionLLM reserves')
        return question

    @staticmethod
    def _category_set(given: Sequence[str] | None, written: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if given is None:
            return written
        names = check_categories(given)
        if written is not None and written != names:
            raise InstructionError(f'the text maps {list(written)}, but categories={list(names)}; give one of the two')
        return names
