"""The one test under every latency target: was a deadline missed more often than allowed?

An ordered stream of 0 and 1 (a request missed the deadline) and the share that may miss it become
PASS, FAIL or UNDECIDED, by bets against the claims. Pure functions of numpy arrays.

A bet is a product of factors 1 + stake * (outcome - allowed) with mean at most 1 while the claim
that it is placed against holds; by Ville's inequality it then ever exceeds 1/alpha with probability
at most alpha, for any number of decisions. Sources: J. Ville, Etude critique de la notion de
collectif, 1939; I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by
betting, Journal of the Royal Statistical Society B 86(1), 2024.

What that guarantees. FAIL, where at most the allowed share misses on average, whatever came before:
wrong with probability at most alpha over all looks, for any dependence within a block and a block
chosen beforehand. Not covered by the proof: that the block is doubled when its neighbours look
alike, and misses that come in bursts longer than a block. PASS, where more than the allowed share
misses: wrong with probability at most beta for independent misses; for bursts it is approximate,
because no number of requests shows the absence of bursts that are rarer than the run.
docs/explanation/error_rates.md has measured both.

Requests of noisy seconds may be left out of the stream (`noise`) without a change to that: whether
a second is noisy is known without its latencies, so the factor of a request that is left out is 1,
and the others keep their mean. The claim is then about requests that come in quiet seconds. Leaving
out slow requests, or seconds because they are slow, would make every claim true.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

PASS, FAIL, UNDECIDED = "PASS", "FAIL", "UNDECIDED"

ALPHA = 1e-3
BETA = 0.075
BLOCKS_MIN = 10
"""Blocks before any verdict: less is one incident, good or bad."""

FORESIGHT = 100
"""Beyond this multiple of the requests seen, an estimate of the requests needed is a guess."""

Misses: TypeAlias = NDArray[np.bool_]
_Floats: TypeAlias = NDArray[np.float64]

# Rates that are betted on, as multiples of the allowed one: worse for FAIL, better for PASS. More
# than half of the stake for PASS lies on "never", so that a stream without a miss passes with 299
# requests for a share of 1 %, the number that any bound of a P99 takes; see
# `estimators.requests_needed`. A small part of either stake lies on rates ever closer to the
# allowed one (`_closer`), so that every rate on one side of it is decided with enough requests.
_WORSE = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0])
_WORSE_GAP, _WORSE_CLOSER = 0.25, 0.1
_BETTER = np.array([0.0, 0.1, 0.25, 0.45, 0.7])
_BETTER_STAKES = np.array([0.56, 0.125, 0.1, 0.08, 0.06])
_BETTER_GAP = 0.3

_LEFT_OUT = 5
"""One incident fails no gate: a fifth of the run, the worst, is left out..."""
_ODDS_WITHOUT = 20.0
"""...and what is left must still speak against the claim, with these odds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a stream of misses shows.

    Attributes:
        status: ``"PASS"``, ``"FAIL"`` or ``"UNDECIDED"``.
        n: requests judged.
        misses: those that missed the deadline.
        allowed: share that may.
        bursts: groups of misses, those closer than a block being one; None if the allowed
            share is so large that chance alone makes groups.
        block: requests in a block, after doubling.
        log_odds_fail: natural logarithm of the odds against "at most the allowed share misses".
        log_odds_pass: of those against "more than the allowed share misses".
        alpha: probability of a wrong FAIL that was allowed.
        beta: of a wrong PASS.
        needed: how many more requests would decide, at the rates seen; None: too close to tell.
        noisy: how many of the misses came in noisy seconds, if others did not; see `noise`.
        incident: whether there are too many misses, but undecided because they came at one time.
    """

    status: str
    n: int
    misses: int
    allowed: float
    bursts: int | None
    block: int
    log_odds_fail: float
    log_odds_pass: float
    alpha: float
    beta: float
    needed: int | None
    noisy: int = 0
    incident: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the decision in JSON's types."""
        return asdict(self)


def decide(
    missed: Misses,
    *,
    allowed: float,
    block: int,
    alpha: float = ALPHA,
    beta: float = BETA,
    burst: float = 1.0,
) -> Decision:
    """Judge whether a deadline is missed by at most a share of the requests.

    May be called again with more of the same stream while it says UNDECIDED.

    Args:
        missed: bool[n], in order of arrival; what was lost is a miss.
        allowed: share that may miss, in (0, 1).
        block: requests in about a second, or longer than misses stay together; at least 1.
        alpha: probability of a wrong FAIL, in (0, 1).
        beta: of a wrong PASS, in (0, 1).
        burst: requests that miss together, as long as no burst was seen, at least 1. Without a
            miss, PASS takes that many times more requests.

    Raises:
        ValueError: allowed is outside (0, 1).
    """
    if not 0 < allowed < 1:
        raise ValueError(f"decide: allowed {allowed} is outside (0, 1)")
    n, misses = len(missed), int(np.count_nonzero(missed))
    size, worse = _fail_bets(missed, allowed, block)
    better = _pass_bets(n, misses, design_effect(missed, size, burst), allowed)
    log_pass = float(_log_mean_exp(better.logs, better.stakes))
    log_fail, log_without = _fail_evidence(worse)
    status = UNDECIDED
    if n >= BLOCKS_MIN * block:
        if log_fail >= math.log(1 / alpha) and log_without >= math.log(_ODDS_WITHOUT):
            status = FAIL
        elif log_pass >= math.log(1 / beta):
            status = PASS
    needed: int | None = 0
    too_many = log_fail >= math.log(1 / alpha)
    incident = status == UNDECIDED and n >= BLOCKS_MIN * block and too_many
    if status == UNDECIDED:
        sides = [(better, beta)] if incident else [(better, beta), (worse.total(), alpha)]
        needed = _needed(n, block, *sides)
    return Decision(
        status=status,
        n=n,
        misses=misses,
        allowed=allowed,
        bursts=_bursts(missed, block, allowed),
        block=size,
        log_odds_fail=log_fail,
        log_odds_pass=log_pass,
        alpha=alpha,
        beta=beta,
        needed=needed,
        incident=incident,
    )


def decide_once(
    missed: Misses,
    *,
    allowed: float,
    block: int,
    alpha: float = ALPHA,
    beta: float = BETA,
    burst: float = 1.0,
) -> Decision:
    """Judge a stream that does not grow, such as a stage of a load; see `decide`.

    FAIL is that of `decide`. PASS takes no bets, which pay for looks that do not come: it is the
    exact test of a binomial share at beta, as if every `design_effect`-th request counted. Of 1000
    requests 5 may miss a P99, where bets allow 2.
    """
    decision = decide(missed, allowed=allowed, block=block, alpha=alpha, beta=beta, burst=burst)
    if decision.status == FAIL:
        return decision
    n, misses = decision.n, decision.misses
    effect = design_effect(missed, decision.block, burst)
    chance = _chance_of_at_most(math.ceil(misses / effect), math.floor(n / effect), allowed)
    passes = n >= BLOCKS_MIN * block and chance <= beta
    needed = 0 if passes else decision.needed
    if not passes and n and misses < allowed * n:
        needed = _needed_once(n, misses, effect, allowed, beta)
        needed = None if needed is None else max(needed, BLOCKS_MIN * block - n)
    return replace(
        decision,
        status=PASS if passes else UNDECIDED,
        log_odds_pass=-math.log(max(chance, 1e-300)),
        needed=needed,
        incident=decision.incident and not passes,
    )


def _needed_once(n: int, misses: int, effect: float, allowed: float, beta: float) -> int | None:
    """Estimate how many more requests would pass, if the same share of them misses."""
    z = NormalDist().inv_cdf(1 - beta)
    # About as many by the normal approximation; then as far as the exact test takes.
    total = max(n + 1.0, effect * allowed * (1 - allowed) * (z / (allowed - misses / n)) ** 2)
    while total <= (1 + FORESIGHT) * n:
        k = math.ceil(misses / n * total / effect)
        if _chance_of_at_most(k, math.floor(total / effect), allowed) <= beta:
            return math.ceil(total) - n
        total *= 1.05
    return None


def _chance_of_at_most(misses: int, n: int, rate: float) -> float:
    """Return the probability of at most some misses in n independent requests."""
    if misses >= n:
        return 1.0
    k = np.arange(1, misses + 1)
    steps = np.log((n - k + 1) / k) + math.log(rate / (1 - rate))
    logs = n * math.log1p(-rate) + np.concatenate([[0.0], np.cumsum(steps)])
    return min(1.0, float(np.exp(logs).sum()))


def _bursts(missed: Misses, block: int, allowed: float) -> int | None:
    """Count groups of misses; None if chance alone makes groups."""
    if allowed * block > 0.5:
        return None
    at = np.flatnonzero(missed)
    return int(np.count_nonzero(np.diff(at) > block)) + 1 if len(at) else 0


def design_effect(missed: Misses, size: int, burst: float) -> float:
    """Return how many misses count for one independent miss, at least 1.

    The variance of the number of misses in a block, against that of independent ones. One burst of
    the size assumed is added to those seen, so that no miss does not mean no bursts.

    Source: L. Kish, Survey Sampling, 1965, section 5.4 (design effect).
    """
    count, misses = len(missed) // size, int(np.count_nonzero(missed))
    if count < 2 or misses == len(missed):
        return burst
    in_block = missed[: count * size].reshape(count, size).sum(axis=1)
    spread = float(np.var(in_block, ddof=1)) * count / (1 - misses / len(missed))
    return max(1.0, (spread + burst**2) / (misses + burst))


@dataclass(frozen=True, slots=True)
class _Bets:
    """Bets on several rates, and the part of the stake that lies on each.

    Attributes:
        logs: natural logarithms, float64[bets], or float64[blocks, bets] to be added up by blocks.
        stakes: float64[bets], at most 1 in all.
    """

    logs: _Floats
    stakes: _Floats

    def total(self) -> _Bets:
        return _Bets(self.logs.sum(axis=0), self.stakes)


def _closer(gap: float, outcomes: float) -> tuple[_Floats, _Floats]:
    """Return distances from the allowed rate that halve, and stakes that halve with them.

    The sequence has no end. Bets that are too close to win with this number of outcomes are left
    out.
    """
    halves = 0.5 ** np.arange(1, 4 + max(0, math.ceil(math.log2(max(1.0, outcomes)) / 2)))
    return np.asarray(gap * halves, np.float64), np.asarray(halves, np.float64)


def _pass_bets(n: int, misses: int, effect: float, allowed: float) -> _Bets:
    """Return the logarithm of each bet that the rate is better, as if every `effect`-th counted."""
    gaps, halves = _closer(_BETTER_GAP, n * allowed)
    stakes = np.append(_BETTER_STAKES, (1 - _BETTER_STAKES.sum()) * halves)
    rates = np.append(_BETTER, 1 - gaps) * allowed
    met = (n - misses) / effect * np.log((1 - rates) / (1 - allowed))
    if misses == 0:
        return _Bets(np.asarray(met, np.float64), stakes)
    lost = np.full(len(rates), -np.inf)
    lost[rates > 0] = misses / effect * np.log(rates[rates > 0] / allowed)
    return _Bets(np.asarray(met + lost, np.float64), stakes)


def _fail_bets(missed: Misses, allowed: float, block: int) -> tuple[int, _Bets]:
    """Return the size of the blocks, and what each block adds to each bet.

    The share of misses in a block is one outcome, whatever the dependence within it. Blocks are
    doubled until neighbours are uncorrelated, as long as there are enough of them.
    """
    most = 1 + 0.95 * (1 / allowed - 1)  # a bet on nearly all, which does not lose everything
    factors = np.append(_WORSE[most > _WORSE], min(most, 2 * _WORSE[-1]))
    gaps, halves = _closer(min(_WORSE_GAP, most - 1), len(missed) / block)
    shares_of_all = np.append(
        np.full(len(factors), (1 - _WORSE_CLOSER) / len(factors)), _WORSE_CLOSER * halves
    )
    amounts = (np.append(factors, 1 + gaps) - 1) / (1 - allowed)
    size = independent_block(missed, block)
    shares = _shares(missed, size)
    return size, _Bets(np.log1p(np.outer(shares - allowed, amounts)), shares_of_all)


def independent_block(missed: Misses, block: int) -> int:
    """Return the size of blocks whose neighbours are uncorrelated, or of ten blocks or more."""
    size = block
    while True:
        count = len(missed) // size
        if count // 2 < BLOCKS_MIN or _lag_one(_shares(missed, size)) < 1 / math.sqrt(count):
            return size
        size *= 2


def _shares(missed: Misses, size: int) -> _Floats:
    """Return the share of misses in each block."""
    count = len(missed) // size
    return missed[: count * size].reshape(count, size).mean(axis=1) if count else np.empty(0)


def _lag_one(values: _Floats) -> float:
    """Return the correlation of neighbours; 0 where nothing varies."""
    around = values - values.mean()
    total = float(around @ around)
    return float(around[1:] @ around[:-1]) / total if total > 0 else 0.0


def _fail_evidence(bets: _Bets) -> tuple[float, float]:
    """Return the logarithm of the odds, and the same without the worst contiguous fifth."""
    count, stakes = len(bets.logs), bets.stakes
    if count == 0:
        return 0.0, -math.inf
    total = bets.logs.sum(axis=0)
    out = max(BLOCKS_MIN // 2, -(-count // _LEFT_OUT))
    if count < 2 * out:
        return float(_log_mean_exp(total, stakes)), -math.inf
    sums = np.vstack([np.zeros_like(total), np.cumsum(bets.logs, axis=0)])
    without = total - (sums[out:] - sums[:-out])
    return float(_log_mean_exp(total, stakes)), float(_log_mean_exp(without, stakes).min())


def _log_mean_exp(logs: _Floats, stakes: _Floats) -> _Floats:
    """Return the logarithm of the mean of the bets, weighted by stakes, over the last axis."""
    most = logs.max(axis=-1, keepdims=True)
    most[most == -math.inf] = 0.0  # all is lost: log 0, without a warning about inf - inf
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logs - most) @ stakes) + most[..., 0])


def _needed(n: int, block: int, *sides: tuple[_Bets, float]) -> int | None:
    """Estimate how many more requests would let one side win, if all goes on as it did."""
    few = max(block, BLOCKS_MIN * block - n)
    best = math.inf
    for bets, error in sides:
        winning = bets.logs > 0
        logs = bets.logs[winning]
        missing = math.log(1 / error) - np.log(bets.stakes[winning]) - logs
        best = min(best, *(n * missing / logs), math.inf)
    return max(few, math.ceil(best)) if best <= FORESIGHT * n else None
