"""The rules: a queue and a limit become a verdict. Pure functions, nothing is raised.

Each judges numbers only; whether numbers may be judged at all is `evidence`'s question. Targets
about latencies to come are one question, `gate.decide`; targets about the requests that were
measured (the longest, errors) are facts; rates are means of batches.
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
)

EARLY_MARGIN = 0.25
"""Share of a rate by which it must miss or exceed its limit to be judged before the whole duration
was measured: a loop may change its speed after the window, and no window shows that."""
_REFERENCE_ERROR = 0.01
"""Added to the error of a PASS whose limit is itself measured: a P50, or the queue alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a verdict is given.

    Attributes:
        alpha: probability of a wrong FAIL.
        beta: of a wrong PASS.
        burst: requests that are taken to miss together while no burst was seen.
        block_ns: time in which misses may hang together; see `gate`.
        look: number of this look at the run, from 1.
        spent: whether the whole duration was measured, so that there is no later look.
    """

    alpha: float = ALPHA
    beta: float = BETA
    burst: float = 1.0
    block_ns: int = 10**9
    look: int = 1
    spent: bool = True

    def of_look(self, error: float) -> float:
        """Return this look's part of an error, where looking again is not free."""
        return error / (self.look * (self.look + 1))


DEFAULT = Terms()


def _decide(
    queue: QueueResult, missed: Misses, allowed: float, terms: Terms, alpha: float | None = None
) -> Decision:
    decision = decide(
        missed,
        allowed=allowed,
        block=queue.requests_in(terms.block_ns),
        alpha=terms.alpha if alpha is None else alpha,
        beta=terms.beta,
        burst=terms.burst,
    )
    noisy = queue.noisy
    if noisy.all():  # which sets no miss apart
        return decision
    return replace(decision, noisy=int(np.count_nonzero(missed & noisy)))


def percentile_below(
    queue: QueueResult, q: float, limit_ns: int, terms: Terms = DEFAULT
) -> Verdict:
    """Judge P(q) < limit: at most 1 - q of the requests take as long as the limit."""
    decision = _decide(queue, queue.client_latency_ns >= limit_ns, _rest(q), terms)
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
    queue: QueueResult, deadline_ns: int, fraction: float, terms: Terms = DEFAULT
) -> Verdict:
    """Judge the share of requests done within a deadline >= fraction; all of them is a fact."""
    value = queue.attainment(deadline_ns)
    missed = queue.client_latency_ns > deadline_ns
    decision, more = None, f", deadline {show_given(deadline_ns, 'ns')}"
    if fraction < 1:
        decision = _decide(queue, missed, _rest(fraction), terms)
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


def goodput_at_least(
    queue: QueueResult, deadline_ns: int, rate_hz: float, terms: Terms = DEFAULT
) -> Verdict:
    """Judge the requests per second that are done within a deadline >= rate."""
    good = queue.latency_ns <= deadline_ns
    # Of what counts for latencies, the share in time; of what arrived, the rate.
    of_all = len(queue.arrived) / max(1, queue.n)
    value = float(np.count_nonzero(good)) * of_all / queue.seconds
    rule, more = "goodput at least", f", deadline {show_given(deadline_ns, 'ns')}"
    if queue.closed_loop:
        return _rate_at_least(queue, deadline_ns, rule, value, rate_hz, more, terms)
    assert queue.offered is not None
    offered = queue.offered.value
    share = rate_hz / offered
    decision = None
    if share < 1 - 1e-9:
        decision = _decide(queue, ~good, 1 - share, terms)
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
    """Judge the longest latency < limit: a fact about the requests that were measured."""
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
    """Judge the longest time for which a request waited for its first launch: a fact, too."""
    value = queue.longest_wait.value
    return state(
        queue,
        status=_fact(value < limit_ns),
        rule="wait below",
        value=value,
        limit=limit_ns,
        unit="ns",
    )


def tail_ratio_below(queue: QueueResult, limit: float, terms: Terms = DEFAULT) -> Verdict:
    """Judge P99 / P50 < limit: against the upper bound of P50 for FAIL, the lower one for PASS."""
    p50, p99 = queue.p50.value, queue.p99.value
    # A P50 of 0 ns is possible in virtual time; then any tail at all is infinitely longer.
    value = p99 / p50 if 0 < p50 < math.inf else (1.0 if p99 == p50 == 0 else math.inf)
    decision = _against(queue, queue, 0.5, limit, 0.99, terms)
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
    queue: QueueResult, alone: QueueResult, q: float, limit: float, terms: Terms = DEFAULT
) -> Verdict:
    """Judge P(q) of a queue / P(q) of the same queue alone < limit."""
    name = percentile_name(q)
    shared_ns, alone_ns = queue.percentile(q), alone.percentile(q)
    decision = _against(queue, alone, q, limit, q, terms)
    return state(
        queue,
        status=decision.status,
        rule="slowdown below",
        value=shared_ns.value / alone_ns.value if alone_ns.value else math.inf,
        limit=limit,
        more=f", {name} {shared_ns}, alone {alone_ns} (n = {alone.n})",
        decision=decision,
    )


def _against(
    queue: QueueResult,
    reference: QueueResult,
    reference_q: float,
    factor: float,
    q: float,
    terms: Terms,
) -> Decision:
    """Decide whether P(q) is below a multiple of a percentile that is only known within bounds."""
    pass_ns, _ = percentile_bounds(reference.client_latency_ns, reference_q, _REFERENCE_ERROR)
    _, fail_ns = percentile_bounds(reference.client_latency_ns, reference_q, terms.alpha / 2)

    def missed(limit_ns: int) -> Misses:
        # What never completed misses even a limit that is beyond an int64.
        misses: Misses = queue.client_latency_ns >= min(factor * limit_ns, CENSORED_NS)
        return misses

    # Half of alpha for the bound, half for the bets.
    surely = _decide(queue, missed(fail_ns), _rest(q), terms, terms.alpha / 2)
    if surely.status == FAIL:
        return surely
    perhaps = _decide(queue, missed(pass_ns), _rest(q), terms)
    if perhaps.status == FAIL:  # only if the reference is as low as it may be
        return _undecided(perhaps)
    return perhaps


def _undecided(decision: Decision) -> Decision:
    more = max(decision.n, decision.block)
    return Decision(**{**decision.to_dict(), "status": UNDECIDED, "needed": more})


def throughput_at_least(
    queue: QueueResult, rate_hz: float, tolerance: float, terms: Terms = DEFAULT
) -> Verdict:
    """Judge the throughput >= rate * (1 - tolerance).

    Of an open loop that keeps up it is a fact: so many arrived, so many were completed.
    """
    value = queue.throughput.value
    rule, more = "throughput at least", ""
    if queue.saturated:
        more = f", saturated: {queue.offered} offered"
    if queue.closed_loop or queue.saturated:
        return _rate_at_least(queue, None, rule, value, rate_hz, more, terms, tolerance)
    # Rates are counts over a time: 1200 in 60 s must be 20/s, however the division rounds.
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
    deadline_ns: int | None,
    rule: str,
    value: float,
    rate_hz: float,
    more: str,
    terms: Terms,
    tolerance: float = 0.0,
) -> Verdict:
    """Judge the completions of a queue per second, by the means of batches."""
    rates = queue.rates_per(terms.block_ns, deadline_ns)
    above = rates - rate_hz * (1 - tolerance)
    status, hint = mean_at_least(
        [above], terms, seconds=queue.seconds, grain=1 / queue.seconds, scale=rate_hz
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


def mean_at_least(
    series: Sequence[NDArray[np.float64]],
    terms: Terms,
    *,
    seconds: float,
    grain: float,
    scale: float,
) -> tuple[str, str]:
    """Judge whether all of some means are at least 0, and say what would decide.

    A mean is clear of 0 where it is farther from 0 than its values are from one another. A mean
    closer than that takes Student's t of uncorrelated batches.

    Args:
        series: of each mean its values, one a block.
        terms: see `Terms`.
        seconds: that were measured.
        grain: one count more or less.
        scale: the rate that the margin of an early verdict is a share of.
    """
    needed_s = 0.0
    alpha, beta = terms.of_look(terms.alpha) / len(series), terms.of_look(terms.beta)
    margin = 0.0 if terms.spent else EARLY_MARGIN * scale
    for values in series:
        mean = float(values.mean()) if len(values) else 0.0
        off = abs(mean)
        clear = len(values) >= BATCHES_MIN and off > max(float(np.ptp(values)) + grain, margin)
        means = batch_means(values)
        if clear:
            reach = 0.0
        elif means is None:
            needed_s = max(needed_s, blocks_needed(len(values)) * terms.block_ns / 1e9)
            continue
        else:
            reach = max(means.reach(alpha if mean < 0 else beta) + grain, margin)
        if mean < 0 and off > reach:
            return FAIL, ""
        if mean < 0 or off < reach:
            # An error goes down with the root of the time, one count by more.
            needed_s = max(needed_s, seconds * (reach / off) ** 2 if off else math.inf)
    if needed_s == 0:
        return PASS, ""
    few = f"{len(series[0])} blocks of {format_duration(terms.block_ns)} are too few to decide it"
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
    terms: Terms = DEFAULT,
) -> Verdict:
    """Judge that no queue gets less than a share of what another one gets.

    Args:
        queues: at least two.
        weights: what each would get by itself; rates are compared as multiples of them.
        limit: least rate of one / rate of another.
        terms: see `Terms`.
    """
    rates = [
        queue.rates_per(terms.block_ns) / own for queue, own in zip(queues, weights, strict=True)
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
        terms,
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
    """Return 1 - share as it was written: 1 - 0.99 is 0.01 and no bit more."""
    return round(1 - share, 12)
