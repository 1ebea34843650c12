"""The layout of everything that is printed: columns, and sentences next to them."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence

GAP = 2
"""Spaces between two columns."""
_QUANTITY = re.compile(r"(?<=\d) (?=(?:ns|us|ms|s|min|%)(?:\W|$))")
_KEPT = "\ue000"
"""Stands for a space at which no line is broken."""


def aligned(
    table: Sequence[Sequence[str]],
    *,
    left: Collection[str] | None = None,
    least: Mapping[int, int] | None = None,
) -> list[str]:
    """Return the rows of a table as lines, in columns.

    Args:
        table: rows of cells; the first row holds the heads.
        left: heads of the columns that are aligned to the left; None: all columns are.
        least: the least width of some columns, by their numbers from 0.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for column, width in (least or {}).items():
        widths[column] = max(widths[column], width)
    sides = ["<" if left is None or head in left else ">" for head in table[0]]
    return [
        (" " * GAP)
        .join(f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True))
        .rstrip()
        for row in table
    ]


def fitted(
    table: Sequence[Sequence[str]], *, left: Collection[str], keys: int, columns: int | None
) -> list[str]:
    """Return a table as `aligned` does; where it is too wide, as tables one after the other.

    A cell that is too wide for a table of its own goes on in the next line, between two words. Each
    of the tables leaves out what has no cell there but one in another: a row, with the rows after
    it whose first key is empty.

    Args:
        table: rows of cells; the first row holds the heads.
        left: see `aligned`.
        keys: how many columns at the left each of the tables begins with.
        columns: of the terminal; None: any width fits.
    """
    lines = aligned(table, left=left)
    if columns is None or max(map(len, lines)) <= columns:
        return lines
    groups = _folded(table, keys, columns)
    rows = [row for group in groups for row in group]
    widths = [max(map(len, column)) + GAP for column in zip(*rows, strict=True)]
    parts: list[list[int]] = [[]]
    for column in range(keys, len(widths)):
        used = sum(widths[:keys]) + sum(widths[one] for one in parts[-1])
        if parts[-1] and used + widths[column] - GAP > columns:
            parts.append([])
        parts[-1].append(column)
    lines = []
    for part in parts:
        shown = [
            group
            for group in groups
            if any(row[i] for row in group for i in part)
            or not any(cell for row in group for cell in row[keys:])
        ]
        lines += aligned(
            [[*row[:keys], *(row[i] for i in part)] for group in shown for row in group], left=left
        )
    return lines


def _folded(table: Sequence[Sequence[str]], keys: int, columns: int) -> list[list[list[str]]]:
    """Return a table whose cells go on in rows of their own where no line has room for them.

    A row whose first key is empty is in one group with the row above it. The keys get half of the
    width, and more where a word is longer and the other columns have shorter ones.
    """
    room = columns - max(_longest_word(row[keys:]) for row in table)
    word = max(_longest_word(row[:keys]) for row in table)
    key_width = max(1, columns // (2 * keys) - GAP, min(word, room // keys - GAP))
    used = sum(min(key_width, max(len(row[i]) for row in table)) + GAP for i in range(keys))
    groups: list[list[list[str]]] = []
    for row in table:
        cells = [
            textwrap.wrap(
                cell,
                key_width if i < keys else max(1, columns - used),
                break_on_hyphens=False,
            )
            or [""]
            for i, cell in enumerate(row)
        ]
        rows = [list(line) for line in itertools.zip_longest(*cells, fillvalue="")]
        if row[0] or not groups:
            groups.append(rows)
        else:
            groups[-1] += rows
    return groups


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def wrapped(line: str, columns: int | None) -> list[str]:
    """Return a line as lines that fit; those after the first begin four columns further right."""
    if columns is None or len(line) <= columns:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    lines = textwrap.wrap(
        _QUANTITY.sub(_KEPT, line.lstrip()),
        max(40, columns),
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [one.replace(_KEPT, " ") for one in lines]


def hanging(head: str, sentences: Iterable[str], *, indent: int, columns: int | None) -> list[str]:
    """Return sentences next to a head, each from the same column on.

    Args:
        head: shorter than `indent`.
        sentences: one or more; each begins a line.
        indent: column where the sentences begin.
        columns: of the terminal, to wrap at; None, and where it is narrow: one line a sentence.
    """
    lines = []
    for sentence in sentences:
        wrapped = [sentence]
        if columns is not None and columns >= 2 * indent:
            wrapped = textwrap.wrap(
                sentence, columns - indent, break_long_words=False, break_on_hyphens=False
            ) or [""]
        lines += wrapped
    return [
        (head if i == 0 else "").ljust(indent) + line if line or i else head
        for i, line in enumerate(lines)
    ]


def percent(share: float, digits: int = 0) -> str:
    """Show a share in [0, 1]: "98 %"."""
    return f"{100 * share:.{digits}f} %"
