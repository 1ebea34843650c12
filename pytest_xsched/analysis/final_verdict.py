"""Judge targets again on all that their runs measured, after the last test.

A target is judged when its assertion is called. Later targets of the same run may measure on. What
the report shows in the end is the verdict on everything. A missed target stays missed.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from pytest_xsched.analysis.assertion import level_of_the_test
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.errors import InvalidRun, TargetMissed, TargetUndecided, XSchedWarning
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a verdict was reached: what it takes to judge the target again.

    Attributes:
        rule: returns the verdict on what was measured so far.
        windows: returns how many windows each run has that the rule reads.
        judged: what `windows` returned when the verdict was given.
    """

    rule: Callable[[], Verdict]
    windows: Callable[[], tuple[int, ...]]
    judged: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A verdict that was good enough for its test and does not hold for the whole run.

    Attributes:
        nodeid: of the test that asserted the target.
        sentence: says what the run shows in the end, and what the verdict was before.
        verdict: the verdict on all that was measured; None if the run gives none any more.
    """

    nodeid: str
    sentence: str
    verdict: Verdict | None


def good_enough(verdict: Verdict, undecided: str) -> bool:
    """Check whether a verdict fails no test; `undecided` is ``"fail"`` or ``"warn"``."""
    return verdict.status == PASS or (verdict.status == UNDECIDED and undecided == "warn")


def require_good(verdict: Verdict, undecided: str, sentence: str = "") -> None:
    """Raise, or warn, unless a verdict is PASS.

    Args:
        verdict: of an assertion.
        undecided: what UNDECIDED does, ``"fail"`` or ``"warn"``.
        sentence: of the error or the warning; "": that of the verdict.

    Raises:
        TargetMissed: it is FAIL.
        TargetUndecided: it is UNDECIDED, and that does not only warn.

    Warns:
        XSchedWarning: it is UNDECIDED, and that only warns.
    """
    __tracebackhide__ = True
    sentence = sentence or verdict.sentence
    if not good_enough(verdict, undecided):
        missed = verdict.status == FAIL
        raise (TargetMissed if missed else TargetUndecided)(sentence, verdict=verdict)
    if verdict.status == UNDECIDED:
        warnings.warn(f"UNDECIDED: {sentence}", XSchedWarning, stacklevel=level_of_the_test())


def judge_again(
    verdicts: list[Verdict],
    judgements: list[Judgement],
    refused: list[dict[str, str]],
    undecided: str,
) -> list[Withdrawn]:
    """Judge the targets again whose runs measured on since; return the verdicts that fell.

    Args:
        verdicts: are replaced by those on all that was measured.
        judgements: one for each verdict, in the same order.
        refused: gets the targets that have no verdict any more; see `Run`.
        undecided: see `good_enough`.
    """
    found, kept = [], []
    for verdict, judgement in zip(verdicts, judgements, strict=True):
        latest: Verdict | None = verdict
        now = judgement.windows()
        if now != judgement.judged:
            latest, withdrawn = _final(verdict, judgement.rule, undecided)
            found += [] if withdrawn is None else [withdrawn]
        if latest is not None:
            kept.append((latest, dataclasses.replace(judgement, judged=now)))
        else:
            refused.append({"sentence": found[-1].sentence, "nodeid": verdict.nodeid})
    verdicts[:] = [verdict for verdict, _ in kept]
    judgements[:] = [judgement for _, judgement in kept]
    return found


def _final(
    verdict: Verdict, rule: Callable[[], Verdict], undecided: str
) -> tuple[Verdict | None, Withdrawn | None]:
    """Return the verdict on all that was measured, and the earlier one if that falls."""
    before = f"it was {verdict.status} at n = {verdict.n}, before later targets measured on"
    missed = not good_enough(verdict, undecided)
    try:
        latest = rule()
    except InvalidRun as error:
        if missed:
            return verdict, None
        reason = str(error).removeprefix("no verdict: ")
        sentence = f"{verdict.judged}: no verdict on {verdict.rule}: {reason}; {before}"
        return None, Withdrawn(nodeid=verdict.nodeid, sentence=sentence, verdict=None)
    latest = dataclasses.replace(latest, nodeid=verdict.nodeid, limit_origin=verdict.limit_origin)
    if latest.status == verdict.status:
        return latest, None
    if missed:
        after = f"at n = {latest.n} it would be {latest.status}, which excuses nothing"
        return dataclasses.replace(verdict, sentence=f"{verdict.sentence}; {after}"), None
    latest = dataclasses.replace(latest, sentence=f"{latest.sentence}; {before}")
    if good_enough(latest, undecided):
        return latest, None
    of = f"; limit of {latest.limit_origin}" if latest.limit_origin else ""
    sentence = f"{latest.sentence}{of}"
    return latest, Withdrawn(nodeid=latest.nodeid, sentence=sentence, verdict=latest)
