"""Hints from outside: XSched's server gets one while two programs run under it, as from xcli.

Rounds of the programs are counted, and no times. A round launches many kernels, so a program that
waits for a processor between two rounds, when it has no work, lets the other one do a small part
of a round meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_xsched.conformance.observed_program import POLL_S, Observed, Skipped
from pytest_xsched.workers.xserver import Server

LOWER, HIGHER, HINTED = 1, 2, 3
"""Priorities: of both programs when they start, and of the hint for the lower one."""
_BEGIN = 3
"""Rounds of a program that has begun."""
_ROUNDS = 10
"""Rounds of the program that comes first. The other may do half as many meanwhile."""
_SETTLE = 4
"""Rounds of both together after a hint, which do not count."""
_TRIES = 2
"""On a machine with other load, one may show the wrong order."""


class _Stopped(Exception):
    """A program has ended or hangs; the message says how."""


def hint_without_effect(start: Callable[[int], Observed], server: Server) -> str:
    """Hint that the lower of two programs comes first; return a sentence if it does not then.

    Args:
        start: starts a program with a priority under the server.
        server: which gets the hint.

    Raises:
        Skipped: priorities have no effect even before the hint, or there is nothing to be hinted.
    """
    try:
        lower, higher = _begun(start(LOWER)), _begun(start(HIGHER))
        if disorder := _disorder(higher, lower, (HIGHER, LOWER)):
            raise Skipped(f"the order of priorities does not show before the hint: {disorder}")
    except _Stopped as stopped:
        raise Skipped(f"before the hint, {stopped}") from None
    handles = server.xqueues_of(lower.pid)
    if not handles:
        raise Skipped("the server names no XQueue of the program that is to get a hint")
    for handle in handles:
        if refusal := server.hint_priority(handle, HINTED):
            return f"the server refuses a hint of priority {HINTED}: {refusal}"
    try:
        _rounds_until(lower, higher, lambda *rounds: sum(rounds) >= _SETTLE)
        disorder = _disorder(lower, higher, (HINTED, HIGHER))
        lower.close_input()
        higher.close_input()
        _end(lower)
        _end(higher)
    except _Stopped as stopped:
        return f"after the server has taken a hint, {stopped}"
    return disorder and f"after the server has taken a hint, {disorder}"


def _begun(program: Observed) -> Observed:
    if not program.goes_on(_BEGIN):
        raise _Stopped(program.end().phrase)
    return program


def _end(program: Observed) -> None:
    program.allow(program.limit_s)
    ended = program.end()
    if ended.status != 0:
        raise _Stopped(ended.phrase)


def _disorder(first: Observed, other: Observed, priorities: tuple[int, int]) -> str:
    """Return the rounds of both, as a sentence, if the first one does not come first, else ""."""
    for _ in range(_TRIES):
        done, others = _rounds_until(
            first, other, lambda done, others: done >= _ROUNDS or 2 * others > _ROUNDS
        )
        if 2 * others <= _ROUNDS:
            return ""
    return (
        f"the program of priority {priorities[0]} completes {done} rounds while that of priority "
        f"{priorities[1]} completes {others}"
    )


def _rounds_until(
    first: Observed, other: Observed, is_enough: Callable[[int, int], bool]
) -> tuple[int, int]:
    """Return the rounds that two programs complete from now on until they are enough.

    Raises:
        _Stopped: one has ended, or neither completes a round in time.
    """
    both = (first, other)
    for program in both:
        program.drain()
    begun, others_begun = first.rounds, other.rounds
    last = -1
    while not is_enough(done := first.rounds - begun, others := other.rounds - others_begun):
        if done + others > last:
            last = done + others
            first.allow(first.limit_s)
        for program in both:
            if not program.is_running():
                raise _Stopped(program.end().phrase)
            program.listen(POLL_S)
        if first.is_late():
            raise _Stopped(first.end().phrase)
    return done, others
