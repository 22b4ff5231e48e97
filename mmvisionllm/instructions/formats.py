"""Output formats: what an answer looks like, and the query tokens that ask for it (paper, 3.2 and 3.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .vocabulary import CLASS_QUERY, MAX_POINTS

MIN_POINTS = 2

_QUERIES = re.compile(r'<cls>((?:\s*<[xy]\d+>)*)')
_TUPLE = re.compile(r'\(\s*(?:c|class)\s*,([^()]*)\)', re.IGNORECASE)
_COORDINATE = re.compile(r'([xy])(\d{1,4})', re.IGNORECASE | re.ASCII)
_ELLIPSIS = ('...', '\N{HORIZONTAL ELLIPSIS}')


class FormatError(ValueError):
    """An output format that cannot be understood or served."""


@dataclass(frozen=True)
class OutputFormat:
    """A tuple ``(C, P)`` with ``num_points`` points per object, or free text (``num_points=0``).

    Two points are a box (top-left, bottom-right corner); more are a polygon.

    Attributes:
        is_text: Whether it is free text.
        queries: The query tokens of one object, ``<cls> <x1> <y1> ...``; empty for text, which starts from ``<bos>``.

    Raises:
        FormatError: if ``num_points`` is neither 0 nor within 2..64.
    """

    num_points: int = 2
    is_text: bool = field(init=False, repr=False, compare=False)
    queries: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num_points and not MIN_POINTS <= self.num_points <= MAX_POINTS:
            raise FormatError(f'an output format has {MIN_POINTS} (a box) to {MAX_POINTS} points, got {self.num_points}')
        points = (f'<{a}{i}>' for i in range(1, self.num_points + 1) for a in 'xy')
        object.__setattr__(self, 'is_text', self.num_points == 0)
        object.__setattr__(self, 'queries', () if self.is_text else (CLASS_QUERY, *points))

    def describe(self) -> str:
        """The format as an instruction words it, e.g. ``(c, x1, y1, x2, y2)``; long ones are shortened."""
        if self.is_text:
            return 'text'
        if self.num_points <= 4:
            points = [f'{a}{i}' for i in range(1, self.num_points + 1) for a in 'xy']
        else:
            points = ['x1', 'y1', '...', f'x{self.num_points}', f'y{self.num_points}']
        return f'(c, {", ".join(points)})'

    @classmethod
    def parse(cls, text: str) -> OutputFormat:
        """Read the format out of an instruction by rule.

        A tuple such as ``(c, x1, y1, x2, y2)`` or ``(c, x1, y1, ..., x24, y24)``, or the query tokens themselves, name
        a set of objects; an instruction with neither asks for text.

        Raises:
            FormatError: if the tuple's coordinates do not run x1, y1, x2, y2, ... or their number is out of range, or
                if several tuples contradict each other.
        """
        found = [cls._from_queries(m) for m in _QUERIES.finditer(text)]
        found += [cls._from_tuple(m) for m in _TUPLE.finditer(text)]
        if not found:
            return cls(num_points=0)
        if len(set(found)) > 1:
            names = ', '.join(sorted({f.describe() for f in found}))
            raise FormatError(f'the instruction names several output formats ({names}); leave one')
        return found[0]

    @classmethod
    def _from_queries(cls, match: re.Match[str]) -> OutputFormat:
        return cls._from_parts(re.findall(r'<([xy]\d+)>', match[1]), match[0])

    @classmethod
    def _from_tuple(cls, match: re.Match[str]) -> OutputFormat:
        parts = [p.strip() for p in match[1].split(',')]
        return cls._from_parts(parts, match[0])

    @classmethod
    def _from_parts(cls, parts: list[str], source: str) -> OutputFormat:
        def fail(reason: str) -> FormatError:
            return FormatError(
                f'cannot read the output format {source!r}: {reason}; '
                'write it as (c, x1, y1, x2, y2) or (c, x1, y1, ..., xN, yN)'
            )

        dots = [i for i, p in enumerate(parts) if p in _ELLIPSIS]
        if len(dots) > 1:
            raise fail('more than one ellipsis')
        names = []
        for part in (p for p in parts if p not in _ELLIPSIS):
            match = _COORDINATE.fullmatch(part)
            if match is None:
                raise fail(f'{part!r} is not a coordinate')
            names.append((match[1].lower(), int(match[2])))
        if not names or names[-1][0] != 'y':
            raise fail('it does not end with a y coordinate')
        num_points = names[-1][1]
        if not MIN_POINTS <= num_points <= MAX_POINTS:
            raise fail(f'{num_points} points are out of {MIN_POINTS}..{MAX_POINTS}')
        wanted = [(a, i) for i in range(1, num_points + 1) for a in 'xy']
        if dots:
            head, tail = names[: dots[0]], names[dots[0] :]
            complete = head == wanted[: len(head)] and tail == wanted[len(wanted) - len(tail) :]
            complete = complete and len(head) >= 2 and bool(tail) and len(names) <= len(wanted)
        else:
            complete = names == wanted
        if not complete:
            raise fail('the coordinates do not run x1, y1, x2, y2, ...')
        return cls(num_points=num_points)
