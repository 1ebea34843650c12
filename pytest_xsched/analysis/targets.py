"""The rules of the targets: a queue and a limit become a verdict. Pure functions; none raises.

A rule judges numbers; `evidence` decides whether the numbers may be judged. Targets about the
latency of future requests use `sequential_test.decide`. Targets about the measured requests (the
longest, errors) are facts. Targets about rates use the means of batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.queue_result import QueueResult, percentile_name
from pytest_xsched.analysis.verdict import Verdict, state
from pytest_xsched.base.quantity import show_given
from pytest_xsched.base.units import format_duration
from pytest_xsched.stats.estimators import (
    BATCHES_MIN,
    CENSORED_NS,
    batch_means,
    blocks_needed,
    percentile_bounds,
)
from pytest_xsched.stats.sequential_test import (
    ALPHA,
    BETA,
    FAIL,
    FORESIGHT,
    PASS,
    UNDECIDED,
    Decision,
    Misses,
    decide,
    decide_once,
)

EARLY_MARGIN = 0.25
"""Share of a rate by which it must miss or exceed its limit to be judged before the whole duration
was measured: a loop may change its speed after the window, and no window shows that."""
_REFERENCE_ERROR = 0.01
"""Added to the error of a PASS if the limit itself was measured: a P50, or the queue alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """The probability of a wrong verdict that one check of a target may spend.

    Attributes:
        alpha: probability of a wrong FAIL.
        beta: probability of a wrong PASS.
        burst: requests that are assumed to miss together as long as no burst was seen.
        block_ns: time within which misses may depend on each other; see `sequential_test`.
        check: number of this check of the target, from 1.
        spent: whether the whole duration was measured, so that no later check follows.
        once: whether what is judged does not grow, so that this check is the only one.
    """

    alpha: float = ALPHA
    beta: float = BETA
    burst: float = 1.0
    block_ns: int = 10**9
    check: int = 1
    spent: bool = True
    once: bool = False

    def of_check(self, error: float) -> float:
        """Return the part of an error that this check may spend, if each check can be wrong."""
        return error / (self.check * (self.check + 1))


DEFAULT = ErrorBudget()
FAR_SHARE = 0.1
"""Share of beta for `far_above`; the means of batches have the rest."""


def _decide(
    queue: QueueResult,
    missed: Misses,
    allowed: float,
    budget: ErrorBudget,
    alpha: float | None = None,
) -> Decision:
    decision = (decide_once if budget.once else decide)(
        missed,
        allowed=allowed,
        block=queue.requests_in(budget.block_ns),
        alpha=budget.alpha if alpha is None else alpha,
        beta=budget.beta,
        burst=budget.burst,
    )
    noisy = queue.noisy
    if noisy.all():  # then noise distinguishes no miss
        return decision
    return replace(decision, noisy=int(np.count_nonzero(missed & noisy)))


def percentile_below(
    queue: QueueResult, q: float, limit_ns: int, budget: ErrorBudget = DEFAULT
) -> Verdict:
    """Judge P(q) < limit: at most 1 - q of the requests take as long as the limit."""
    decision = _decide(queue, queue.client_latency_ns >= limit_ns, _rest(q), budget)
    return state(
        queue,
        status=decision.status,
        rule=f"{percentile_name(q)} below",
        value=queue.percentile(q).value,
        limit=limit_ns,
        unit="ns",
        decision=decision,
    )


def attainment_at_least(
    queue: QueueResult, deadline_ns: int, fraction: float, budget: ErrorBudget = DEFAULT
) -> Verdict:
    """Judge the share of requests within a deadline >= fraction; a fraction of 1 is a fact."""
    value = queue.attainment(deadline_ns)
    missed = queue.client_latency_ns > deadline_ns
    decision, more = None, f", deadline {show_given(deadline_ns, 'ns')}"
    if fraction < 1:
        decision = _decide(queue, missed, _rest(fraction), budget)
    else:
        count = int(np.count_nonzero(missed))
        more += f", {count} miss{'es' if count != 1 else ''}, 0 allowed"
    return state(
        queue,
        status=decision.status if decision else _fact(value >= fraction),
        rule="attainment at least",
        value=value,
        limit=fraction,
        more=more,
        decision=decision,
    )


def goodput(
    queue: QueueResult, deadline_ns: int | None, kept: NDArray[np.bool_] | None = None
) -> float:
    """Return the requests per second that completed and kept their limits, in Hz.

    Args:
        queue: with at least one request.
        deadline_ns: of the latency; None: none.
        kept: which of its samples kept further limits; None: there are none.
    """
    good = _good(queue, deadline_ns, kept)
    # The share in time is one of the requests with a latency; the rate is one of all arrivals.
    of_all = len(queue.arrived) / max(1, queue.n)
    return float(np.count_nonzero(good)) * of_all / queue.seconds


def _good(
    queue: QueueResult, deadline_ns: int | None, kept: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return which measured requests completed and kept their limits: bool[n]."""
    most = CENSORED_NS - 1 if deadline_ns is None else deadline_ns
    good = queue.latency_ns <= most
    return np.asarray(good if kept is None else good & kept[queue.counts_for_latencies], np.bool_)


def goodput_at_least(
    queue: QueueResult,
    deadline_ns: int | None,
    rate_hz: float,
    budget: ErrorBudget = DEFAULT,
    *,
    kept: NDArray[np.bool_] | None = None,
    more: str | None = None,
) -> Verdict:
    """Judge the requests per second that complete and keep their limits >= rate.

    Args:
        queue: what is judged.
        deadline_ns: as of `goodput`.
        rate_hz: the limit.
        budget: see `ErrorBudget`.
        kept: as of `goodput`.
        more: the limits in words, each after a comma; None: the deadline is the only one.
    """
    value = goodput(queue, deadline_ns, kept)
    rule = "goodput at least"
    if more is None:
        assert deadline_ns is not None
        more = f", deadline {show_given(deadline_ns, 'ns')}"
    if queue.closed_loop:
        samples = queue.samples
        in_time = np.ones(len(samples), np.bool_) if kept is None else kept
        if deadline_ns is not None:
            in_time = in_time & (samples["completed_ns"] - samples["scheduled_ns"] <= deadline_ns)
        return _rate_at_least(queue, in_time, rule, value, rate_hz, more, budget)
    assert queue.offered is not None
    offered = queue.offered.value
    share = rate_hz / offered
    decision = None
    if share < 1 - 1e-9:
        decision = _decide(queue, ~_good(queue, deadline_ns, kept), 1 - share, budget)
    else:
        more += f", {queue.offered} offered"
    return state(
        queue,
        status=decision.status if decision else _fact(value >= rate_hz * (1 - 1e-9)),
        rule=rule,
        value=value,
        limit=rate_hz,
        unit="Hz",
        more=more,
        decision=decision,
    )


def max_below(queue: QueueResult, limit_ns: int) -> Verdict:
    """Judge the longest latency < limit: a fact about the measured requests."""
    value = queue.max.value
    return state(
        queue,
        status=_fact(value < limit_ns),
        rule="max below",
        value=value,
        limit=limit_ns,
        unit="ns",
    )


def longest_wait_below(queue: QueueResult, limit_ns: int) -> Verdict:
    """Judge the longest time in which nothing happened for a waiting request < limit: a fact."""
    value = queue.longest_wait.value
    return state(
        queue,
        status=_fact(value < limit_ns),
        rule="wait below",
        value=value,
        limit=limit_ns,
        unit="ns",
    )


def recovery_below(
    queue: QueueResult, within_ns: int, below_ns: int, count: int, may: int
) -> Verdict:
    """Judge how long after the begin of a part the latency is below a limit: a fact.

    Args:
        queue: the part.
        within_ns: the longest time, ns.
        below_ns: limit of the latency, ns.
        count: requests in a row that show it, at most those of the part.
        may: how many of them may take as long as the limit.
    """
    late = np.concatenate([[0], np.cumsum(queue.latency_ns >= below_ns)])
    back = np.flatnonzero(late[count:] - late[:-count] <= may)
    value = math.inf
    if len(back):
        since = queue.measured["scheduled_ns"][back[0]] - queue.windows_ns[0][0]
        value = int(since) if back[0] else 0
    shown = show_given(below_ns, "ns")
    return state(
        queue,
        status=_fact(value < within_ns),
        rule="recovery below",
        value=value,
        limit=within_ns,
        unit="ns",
        more=f", then {count - may} of {count} requests below {shown}",
    )


def tail_ratio_below(queue: QueueResult, limit: float, budget: ErrorBudget = DEFAULT) -> Verdict:
    """Judge P99 / P50 < limit: FAIL takes the upper bound of P50, PASS the lower one."""
    p50, p99 = queue.p50.value, queue.p99.value
    # A P50 of 0 ns is possible in virtual time; then any tail is infinitely longer.
    value = p99 / p50 if 0 < p50 < math.inf else (1.0 if p99 == p50 == 0 else math.inf)
    decision = against(queue, queue, 0.5, limit, 0.99, budget)
    return state(
        queue,
        status=decision.status,
        rule="P99/P50 below",
        value=value,
        limit=limit,
        more=f", P50 {queue.p50}, P99 {queue.p99}",
        decision=decision,
    )


def slowdown_below(
    queue: QueueResult, alone: QueueResult, q: float, limit: float, budget: ErrorBudget = DEFAULT
) -> Verdict:
    """Judge P(q) of a queue / P(q) of the same queue alone < limit."""
    name = percentile_name(q)
    shared_ns, alone_ns = queue.percentile(q), alone.percentile(q)
    decision = against(queue, alone, q, limit, q, budget)
    return state(
        queue,
        status=decision.status,
        rule="slowdown below",
        value=shared_ns.value / alone_ns.value if alone_ns.value else math.inf,
        limit=limit,
        more=f", {name} {shared_ns}, alone {alone_ns} (n = {alone.n})",
        decision=decision,
    )


def against(
    queue: QueueResult,
    reference: QueueResult,
    reference_q: float,
    factor: float,
    q: float,
    budget: ErrorBudget,
) -> Decision:
    """Decide whether P(q) is below a multiple of a percentile that is known only within bounds."""
    pass_ns, _ = percentile_bounds(reference.client_latency_ns, reference_q, _REFERENCE_ERROR)
    _, fail_ns = percentile_bounds(reference.client_latency_ns, reference_q, budget.alpha / 2)

    def missed(limit_ns: int) -> Misses:
        # A request that never completed misses even a limit that is beyond an int64.
        misses: Misses = queue.client_latency_ns >= min(factor * limit_ns, CENSORED_NS)
        return misses

    # The bound spends half of alpha, the bets spend the other half.
    surely = _decide(queue, missed(fail_ns), _rest(q), budget, budget.alpha / 2)
    if surely.status == FAIL:
        return surely
    perhaps = _decide(queue, missed(pass_ns), _rest(q), budget)
    if perhaps.status == FAIL:  # holds only for the lowest reference that is possible
        return _undecided(perhaps)
    return perhaps


def _undecided(decision: Decision) -> Decision:
    more = max(decision.n, decision.block)
    return Decision(**{**decision.to_dict(), "status": UNDECIDED, "needed": more})


def throughput_at_least(
    queue: QueueResult, rate_hz: float, tolerance: float, budget: ErrorBudget = DEFAULT
) -> Verdict:
    """Judge the throughput >= rate * (1 - tolerance).

    For an open loop that keeps up it is a fact: arrivals and completions were counted.
    """
    value = queue.throughput.value
    rule, more = "throughput at least", ""
    if queue.saturated:
        more = f", saturated: {queue.offered} offered"
    if queue.closed_loop or queue.saturated:
        return _rate_at_least(queue, None, rule, value, rate_hz, more, budget, tolerance)
    # A rate is a count divided by a time: 1200 in 60 s must be 20/s, however it is rounded.
    return state(
        queue,
        status=_fact(value >= rate_hz * (1 - tolerance) * (1 - 1e-9)),
        rule=rule,
        value=value,
        limit=rate_hz,
        tolerance=tolerance,
        unit="Hz",
        more=more,
    )


def _rate_at_least(
    queue: QueueResult,
    good: NDArray[np.bool_] | None,
    rule: str,
    value: float,
    rate_hz: float,
    more: str,
    budget: ErrorBudget,
    tolerance: float = 0.0,
) -> Verdict:
    """Judge the completions of a queue per second by the means of batches."""
    rates = queue.rates_per(budget.block_ns, good)
    limit_hz = rate_hz * (1 - tolerance)
    # There are two ways to a PASS, and both together may be wrong with the probability beta.
    if far_above(rates, limit_hz, replace(budget, beta=FAR_SHARE * budget.beta)):
        status, hint = PASS, ""
    else:
        status, hint = mean_at_least(
            [rates - limit_hz],
            replace(budget, beta=(1 - FAR_SHARE) * budget.beta),
            seconds=queue.seconds,
            grain=1 / queue.seconds,
            scale=rate_hz,
        )
    return state(
        queue,
        status=status,
        rule=rule,
        value=value,
        limit=rate_hz,
        tolerance=tolerance,
        unit="Hz",
        more=more,
        hint=hint,
    )


def far_above(rates: NDArray[np.float64], limit_hz: float, budget: ErrorBudget) -> bool:
    """Check whether a rate is so far above a limit that it passes, whatever its blocks are like.

    A rate is never negative. So if its true mean were the limit, the mean of its blocks would be
    1 / beta times the limit with a probability of at most beta, also where blocks depend on each
    other. Source: Markov's inequality.

    Args:
        rates: of the blocks, in Hz.
        limit_hz: above 0.
        budget: see `ErrorBudget`.
    """
    if len(rates) < BATCHES_MIN:
        return False
    return float(rates.mean()) * budget.of_check(budget.beta) >= limit_hz


def mean_at_least(
    series: Sequence[NDArray[np.float64]],
    budget: ErrorBudget,
    *,
    seconds: float,
    grain: float,
    scale: float,
) -> tuple[str, str]:
    """Judge whether all of some means are at least 0; return the status and what would decide.

    A mean that is farther from 0 than its values are from one another needs no test. Any other
    mean takes Student's t of uncorrelated batches.

    Args:
        series: for each mean its values, one for each block.
        budget: see `ErrorBudget`.
        seconds: length of the measurement.
        grain: the change of a rate by one count.
        scale: the rate; the margin of an early verdict is a share of it.
    """
    needed_s = 0.0
    alpha, beta = budget.of_check(budget.alpha) / len(series), budget.of_check(budget.beta)
    margin = 0.0 if budget.spent else EARLY_MARGIN * scale
    for values in series:
        mean = float(values.mean()) if len(values) else 0.0
        off = abs(mean)
        clear = len(values) >= BATCHES_MIN and off > max(float(np.ptp(values)) + grain, margin)
        means = batch_means(values)
        if clear:
            reach = 0.0
        elif means is None:
            needed_s = max(needed_s, blocks_needed(len(values)) * budget.block_ns / 1e9)
            continue
        else:
            reach = max(means.reach(alpha if mean < 0 else beta) + grain, margin)
        if mean < 0 and off > reach:
            return FAIL, ""
        if mean < 0 or off < reach:
            # An error falls with the root of the time, the grain faster.
            needed_s = max(needed_s, seconds * (reach / off) ** 2 if off else math.inf)
    if needed_s == 0:
        return PASS, ""
    few = f"{len(series[0])} blocks of {format_duration(budget.block_ns)} are too few to decide it"
    if needed_s > FORESIGHT * seconds:
        return (
            UNDECIDED,
            f"{few}, and the rate is too close to the limit to predict how many would do",
        )
    needed = format_duration(math.ceil(needed_s * 10) * 10**8)
    return UNDECIDED, f"{few}; a duration of about {needed} would be enough"


def fair(
    queues: Sequence[QueueResult],
    weights: Sequence[float],
    limit: float,
    budget: ErrorBudget = DEFAULT,
) -> Verdict:
    """Judge that no queue gets less than a share of what another queue gets.

    Args:
        queues: at least two.
        weights: what each would get alone; each rate is divided by its weight.
        limit: least rate of one / rate of another.
        budget: see `ErrorBudget`.
    """
    rates = [
        queue.rates_per(budget.block_ns) / own for queue, own in zip(queues, weights, strict=True)
    ]
    means = [float(rate.mean()) if len(rate) else 0.0 for rate in rates]
    least = int(np.argmin(means))
    value = means[least] / max(means) if max(means) > 0 else 0.0
    pairs: Iterable[tuple[int, int]] = (
        (i, j) for i in range(len(rates)) for j in range(len(rates)) if i != j
    )
    grain = 1 / min(queue.seconds * own for queue, own in zip(queues, weights, strict=True))
    status, hint = mean_at_least(
        [rates[i] - limit * rates[j] for i, j in pairs],
        budget,
        seconds=queues[0].seconds,
        grain=grain,
        scale=limit * max(means),
    )
    names = ", ".join(queue.name for queue in queues)
    return state(
        queues[least],
        status=status,
        rule="fairness at least",
        value=value,
        limit=limit,
        more=f", among {names}",
        hint=hint,
    )


def no_errors(queue: QueueResult) -> Verdict:
    """Judge that no command failed and every measured request completed: a fact."""
    value = queue.counts.failed + queue.unfinished
    return state(queue, status=_fact(value == 0), rule="errors exactly", value=value, limit=0)


def _fact(good: bool) -> str:
    return PASS if good else FAIL


def _rest(share: float) -> float:
    """Return 1 - share, exact to the digits that were written: 1 - 0.99 is 0.01."""
    return round(1 - share, 12)
