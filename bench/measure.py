"""What the scripts of this folder share: the order of repetitions, tables, targets.

Figures of one machine differ from hour to hour, so two things are only compared within one run of a
script, interleaved: A B B A A B B A ..., which cancels a drift.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NoReturn

from pytest_xsched.errors import XSchedError
from pytest_xsched.reporting.table_layout import aligned


def finish(main: Callable[[], int]) -> NoReturn:
    """Leave with the status of `main`, or with 1 and the sentence of a run that means nothing."""
    try:
        sys.exit(main())
    except XSchedError as error:
        sys.exit(f"no figures: {error}")


def alternate(repetitions: int, arms: Sequence[str]) -> Iterator[str]:
    """Yield every arm once in each repetition, in every other repetition backwards."""
    for repetition in range(repetitions):
        yield from arms if repetition % 2 == 0 else reversed(arms)


def wall_ns(function: Callable[[], object]) -> int:
    """Return the wall time of one call."""
    start = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - start


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns: the first to the left, the others to the right."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    print("\n".join(aligned(lines, left=header[:1])), end="\n\n")


def judge(targets: Iterable[tuple[str, bool]]) -> int:
    """Print whether the targets were met; return the exit status."""
    status = 0
    for text, met in targets:
        print(f"{'met' if met else 'MISSED'}: {text}")
        status |= not met
    return status
