"""What paired runs of two sides show of a queue: worse, better, or why that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.effect import Effect
from pytest_xsched.comparison.episode import Episode, falls_behind, first_with_a_figure
from pytest_xsched.errors import InvalidRun
from pytest_xsched.stats.paired import episodes_needed, show_bounds

MARGIN = 0.1
"""B is worse only if it is worse by more than this share: how far equal runs of two sessions differ
is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the paired runs show of one queue.

    Attributes:
        status: ``"worse"``, ``"better"``, ``"no difference shown"``, ``"undecided"`` (too few
            pairs, or B looks worse and the pairs do not show it), ``"not compared"`` (a run of
            one side has no figure) or ``"no figure"`` (on neither side).
        sentence: with the figures.
    """

    status: str
    sentence: str


def judge_pairs(
    comparison: Comparison,
    name: str,
    latency: str = "",
    *,
    sides: tuple[str, str] = ("A", "B"),
    margin: float = MARGIN,
) -> Judgement:
    """Judge the P99 of an open loop, or a lower percentile; of a closed one the throughput.

    Args:
        comparison: of two arms, whose runs are paired in their order.
        name: of a queue.
        latency: of it to a milestone, also of a closed loop; "": the one to the completion.
        sides: what the sentence calls the arms.
        margin: share by which the second side must be worse, or better.
    """
    closed = not latency and _is_closed(comparison, name)
    return first_with_a_figure(
        lambda q: judge_figure(comparison, name, None if closed else q, latency, sides, margin),
        lambda found: found.status,
    )


def _is_closed(comparison: Comparison, name: str) -> bool:
    """Check whether a queue is a closed loop."""
    first = comparison.episodes(comparison.baseline)[0]
    return first.numbers(name)["offered_hz"] is None


def judge_figure(
    comparison: Comparison,
    name: str,
    q: float | None,
    latency: str = "",
    sides: tuple[str, str] = ("A", "B"),
    margin: float = MARGIN,
) -> Judgement:
    """Judge one figure of a queue; see `judge_pairs`.

    Args:
        comparison: of two arms, whose runs are paired in their order.
        name: of a queue.
        q: of the percentile, in (0, 1); None: the throughput.
        latency: whose percentile it is.
        sides: what the sentence calls the arms.
        margin: share by which the second side must be worse, or better.
    """
    queue = comparison[name].latencies[latency] if latency else comparison[name]
    a, b = (comparison.episodes(arm) for arm in (comparison.baseline, *comparison.schedulers))
    what = "throughput" if q is None else percentile_name(q)
    broken = _count_broken(a, name), _count_broken(b, name)
    if any(broken) and not all(broken):
        return _judge_broken(name, broken, len(a), sides)
    reasons = [[_no_figure(one, name, q, latency) for one in arm] for arm in (a, b)]
    missing = [reason for reason in (*reasons[0], *reasons[1]) if reason]
    if missing:
        nowhere = len(missing) == len(a) + len(b)
        return Judgement(status="no figure" if nowhere else "not compared", sentence=missing[0])
    try:
        effect: Effect = queue.throughput() if q is None else queue.latency(q)
    except InvalidRun as error:  # arms under unlike noise
        return Judgement(status="not compared", sentence=_reason(error))
    ratio = effect.ratio
    pairs = len(ratio.episodes)
    first, second = sides
    sentence = (
        f"{queue.label}: {what} of {second} is {ratio.value:.4g} times that of {first} "
        f"({show_bounds(ratio)})"
    )
    if pairs < episodes_needed():
        few = f"{pairs} pair{'s' * (pairs > 1)} of runs, and {episodes_needed()} are needed"
        return Judgement(status="undecided", sentence=f"{sentence}; {few}")
    higher, lower = ratio.low > 1 + margin, ratio.high < 1 - margin
    if higher or lower:
        return Judgement(
            status="worse" if higher == (q is not None) else "better", sentence=sentence
        )
    looks_worse = ratio.value < 1 - margin if q is None else ratio.value > 1 + margin
    if looks_worse:
        more = f"{second} looks worse, but the pairs differ too much to show it"
        return Judgement(status="undecided", sentence=f"{sentence}; {more}")
    return Judgement(status="no difference shown", sentence=sentence)


def _count_broken(episodes: Sequence[Episode], name: str) -> int:
    """Count the runs in which a queue is saturated or completes nothing."""
    return sum(falls_behind(one.record, one.numbers(name)) for one in episodes)


def _judge_broken(
    name: str, broken: tuple[int, int], pairs: int, sides: tuple[str, str]
) -> Judgement:
    """Judge a queue that is saturated, or completes nothing, in runs of one side only."""
    side, other = sides if broken[0] else reversed(sides)
    sentence = (
        f"{name}: saturated, or without a completed request, in {max(broken)} of {pairs} "
        f"run{'s' * (pairs > 1)} of {side} and in none of {other}"
    )
    return Judgement(status="worse" if broken[1] else "better", sentence=sentence)


def _no_figure(episode: Episode, name: str, q: float | None, latency: str) -> str:
    """Describe why a run has no figure of a queue; "" if it has one."""
    try:
        _ = episode.throughput_hz(name) if q is None else episode.percentile_ns(name, q, latency)
    except InvalidRun as error:
        return _reason(error)
    return ""


def _reason(error: InvalidRun) -> str:
    return str(error).removeprefix("no verdict: ")
