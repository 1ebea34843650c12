"""The search for a rate on simulated requests, whose true limit is known."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched.stats.rate_search import LOOK, NO_VERDICT, Plan, fit, search
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED

ROOT = Path(__file__).resolve().parents[3]
S = 10**9


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("of_rates", ROOT / "bench" / "find_rate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


class Cliff:
    """No request misses below a rate, and all do from there on."""

    def __init__(self, edge_hz, rate_hz, least_ns, most_ns, alone):
        self.rate_hz, self.most_ns, self.alone = rate_hz, most_ns, alone
        self.fails = rate_hz >= edge_hz
        self.saturated, self.refused = False, ""
        self.block, self.measured_ns = max(1, round(rate_hz)), min(least_ns, most_ns)

    @property
    def missed(self):
        return np.full(round(self.rate_hz * self.measured_ns / S), self.fails)

    def measure_on(self):
        more = min(self.most_ns - self.measured_ns, 5 * S)
        self.measured_ns += more
        return more > 0


def plan(**changes):
    values = {
        "allowed": 0.01,
        "start_hz": 50.0,
        "lowest_hz": 4.0,
        "highest_hz": 1e5,
        "within": 0.05,
        "budget_ns": 600 * S,
        "alpha": 1e-3,
        "beta": 0.075,
    }
    return Plan(**values | changes)


def of_cliff(edge_hz, **changes):
    made = []

    def measure(*args):
        made.append(Cliff(edge_hz, *args))
        return made[-1]

    return search(plan(**changes), measure), made


@pytest.mark.parametrize("start_hz", [5.0, 50.0, 97.0, 98.0, 3000.0])
def test_a_cliff_is_found_from_any_first_rate(start_hz):
    found, _ = of_cliff(97.3, start_hz=start_hz)
    assert found.lower.rate_hz < 97.3 <= found.upper.rate_hz <= 1.05 * found.lower.rate_hz
    assert found.lower.rate_hz <= found.rate_hz <= found.upper.rate_hz
    assert found.ended == "both bounds are within 5 %"
    assert found.measured_ns <= 600 * S


def test_no_rate_beyond_the_lowest_and_the_highest_is_tried():
    _, made = of_cliff(97.3, lowest_hz=60.0, highest_hz=110.0, start_hz=70.0)
    assert all(60 <= probe.rate_hz <= 110 for probe in made)


def test_a_target_that_holds_at_the_highest_rate_has_no_upper_bound():
    found, _ = of_cliff(97.3, highest_hz=80.0)
    assert (found.lower.rate_hz, found.upper, found.hopeless) == (80, None, False)
    assert found.ended == "the target holds at the highest rate that may be tried"


def test_a_target_that_fails_at_the_lowest_rate_ends_the_search_early():
    found, made = of_cliff(1.0)
    assert (found.upper.rate_hz, found.lower, found.hopeless) == (4, None, True)
    assert [(p.rate_hz, p.status, p.alone) for p in found.points[-2:]] == [
        (4, FAIL, False),
        (4, FAIL, True),  # the queue alone, which says whether the others are the cause
    ]
    assert found.measured_ns < 400 * S
    assert [probe.alone for probe in made].count(True) == 1


def test_looks_count_for_no_verdict():
    found, _ = of_cliff(97.3)
    looks = [point for point in found.points if point.status == LOOK]
    assert looks and all(point.decision is None for point in looks)
    assert found.lower.decision.n == found.lower.n  # its own requests, and no look's


class Saturated(Cliff):
    """More is offered than is done, although no request has missed so far."""

    def __init__(self, *args):
        super().__init__(*args)
        self.saturated, self.fails = self.fails, False


def test_a_saturated_rate_is_never_shown_to_hold():
    found = search(plan(highest_hz=400.0), lambda *args: Saturated(97.3, *args))
    assert found.lower.rate_hz < 97.3
    assert all(p.status != PASS for p in found.points if p.rate_hz >= 97.3)


class Refused(Cliff):
    """The evidence speaks against every run from a rate on."""

    def __init__(self, *args):
        super().__init__(*args)
        self.refused, self.fails = "late" if self.fails else "", False


def test_a_rate_without_evidence_has_no_verdict():
    found = search(plan(highest_hz=400.0), lambda *args: Refused(97.3, *args))
    beyond = {p.status for p in found.points if p.rate_hz >= 97.3}
    assert beyond == {NO_VERDICT}
    assert found.upper is None and found.lower.rate_hz < 97.3


def test_only_trials_that_did_not_pass_make_a_wrong_pass_less_likely(bench):
    """The k-th of them leaves beta / (k + 1) / (k + 2) to the next, and the same of FAIL."""
    model = bench.MODELS["5 ms on average, exponential, limit 60 ms"]
    found = bench.one_search(model, 4, 3000)
    trials = [point for point in found.points if point.decision is not None]
    assert len({point.status for point in trials}) >= 2
    not_passed = not_failed = 0
    for point in trials:
        parts = [(k + 1) * (k + 2) for k in (not_passed, not_failed)]
        assert point.decision.beta == pytest.approx(0.075 / parts[0])
        assert point.decision.alpha == pytest.approx(5e-4 / parts[1])
        not_passed += point.status != PASS
        not_failed += point.status != FAIL


def test_the_rate_of_a_server_is_found_within_three_percent(bench):
    model = bench.MODELS["5 ms each, limit 25 ms"]
    truth_hz = bench.truth(model, 400_000)
    for seed in range(3):
        found = bench.one_search(model, seed, 12_000, within=0.03)
        assert found.rate_hz == pytest.approx(truth_hz, rel=0.03)
        assert found.lower.rate_hz < truth_hz < found.upper.rate_hz


def test_what_is_shown_to_hold_is_as_rarely_wrong_as_claimed(bench):
    """Where misses come in the longest bursts of bench/find_rate.py, and time is short."""
    model = bench.MODELS["5 ms each, limit 100 ms"]
    truth_hz = bench.truth(model, 400_000)
    found = [bench.one_search(model, seed, 400) for seed in range(100)]
    lower = [one.lower.rate_hz for one in found if one.lower]
    assert len(lower) > 20  # or there would be nothing that could be wrong
    assert sum(rate > truth_hz for rate in lower) <= 0.075 * len(found)
    assert not any(one.upper and one.upper.rate_hz < truth_hz for one in found)


def test_a_short_budget_is_kept_and_leaves_rates_undecided(bench):
    model = bench.MODELS["3 ms, one of 20 takes 40 ms, limit 80 ms"]
    found = bench.one_search(model, 1, 60)
    assert found.measured_ns <= 61 * S
    assert {point.status for point in found.points} <= {LOOK, PASS, FAIL, UNDECIDED}
    assert found.ended


@pytest.mark.parametrize("edge_hz", [1.7, 97.3, 1e6])
def test_looks_at_slow_rates_end_with_the_budget(edge_hz):
    """At 1/s a look takes the requests of 400 s, and the budget has 60 s."""
    found, _ = of_cliff(edge_hz, budget_ns=60 * S, start_hz=1.0, lowest_hz=1.0)
    assert found.measured_ns <= 62 * S  # no look is shorter than a second
    assert found.ended == "the budget is spent"


def test_an_undecided_trial_at_the_lowest_rate_ends_with_the_budget():
    """At any rate 1.4 % miss: too many to hold, and too few to fail in that time."""

    class Close(Cliff):
        @property
        def missed(self):
            return np.arange(round(self.rate_hz * self.measured_ns / S)) % 70 == 0

    found = search(plan(start_hz=20.0), lambda *args: Close(0.0, *args))
    assert (found.points[-1].rate_hz, found.points[-1].status) == (4, UNDECIDED)
    assert found.ended == "the budget is spent"


def test_an_undecided_trial_at_the_highest_rate_ends_with_the_budget():
    found, _ = of_cliff(1e9, start_hz=70.0, highest_hz=80.0, budget_ns=20 * S)
    assert (found.points[-1].rate_hz, found.points[-1].status) == (80, UNDECIDED)
    assert found.ended == "the budget is spent"


class RefusedFirst(Cliff):
    """The machine was busy while the first rate was measured for the first time."""

    measured = 0

    def __init__(self, *args):
        super().__init__(*args)
        type(self).measured += 1
        self.refused = "late" if self.measured == 1 else ""


def test_a_rate_that_was_refused_once_is_no_rate_that_fails():
    RefusedFirst.measured = 0
    found = search(plan(), lambda *args: RefusedFirst(97.3, *args))
    assert found.points[0].status == NO_VERDICT
    assert found.lower.rate_hz < 97.3 <= found.upper.rate_hz <= 1.05 * found.lower.rate_hz


class RefusedTwice(RefusedFirst):
    def __init__(self, *args):
        super().__init__(*args)
        self.refused = "late" if self.measured <= 2 else ""


def test_a_rate_that_could_not_be_judged_does_not_hide_higher_ones():
    RefusedTwice.measured = 0
    found = search(plan(), lambda *args: RefusedTwice(97.3, *args))
    assert found.lower.rate_hz > 50


def test_a_trial_that_cannot_be_judged_ends_at_once():
    class Late(Refused):
        def measure_on(self):
            assert not self.refused
            return super().measure_on()

    assert search(plan(highest_hz=400.0), lambda *args: Late(97.3, *args)).lower


def test_a_short_search_shows_bounds_on_both_sides(bench):
    """Two minutes of a P95, where a queue of 1.6 ms each misses in bursts of a tenth of a second.

    A rate that clearly fails is shown first, because that takes little of the budget.
    """
    model = bench.one_server(lambda draw, n: draw.exponential(0.0016, n), 0.025)
    true_hz = 1 / 0.0016 - math.log(20) / 0.025  # of a queue with these times in service
    found = []
    for seed in range(10):
        draw = np.random.default_rng(seed)

        def measure(rate_hz, least_ns, most_ns, alone, draw=draw):
            line = bench.Line(model, rate_hz, least_ns, most_ns, draw)
            line.block = max(1, round(rate_hz * min(1, most_ns / 20 / S)))  # as of a run
            return line

        two_minutes = plan(allowed=0.05, start_hz=30.0, budget_ns=120 * S, alpha=5e-4)
        found.append(search(two_minutes, measure))
    assert [one.lower is not None and one.upper is not None for one in found] == [True] * 10
    assert sum(one.lower.rate_hz > true_hz for one in found) <= 1
    assert all(one.upper.rate_hz > true_hz for one in found)


def test_points_at_one_rate_have_a_line():
    logs, n = np.log([100.0, 100.0]), np.array([1000.0, 1000.0])
    line = fit(logs, n, np.array([0.0, 0.0]), allowed=0.01, effect=1.0, around=math.log(100.0))
    assert math.log(100) < line.crossing < math.log(300)
    assert math.isfinite(line.error) and line.error > 0


def test_the_page_has_no_error_rate_above_what_is_allowed():
    text = (ROOT / "docs/explanation/error_rates.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ ms.*\| \d+ s \| ([\d.]+) % \| ([\d.]+) % \|", text, re.MULTILINE)
    assert len(rows) == 12
    assert max(float(holds) for holds, _ in rows) <= 7.5
    assert max(float(fails) for _, fails in rows) <= 0.05
    mixes = re.findall(r"^\| \d+ \| .* \| ([+-][\d.]+) % \| .* \| (\d+) % \|$", text, re.MULTILINE)
    assert len(mixes) == 20
    assert max(abs(float(off)) for off, _ in mixes) <= 3
    assert max(int(part) for _, part in mixes) <= 25
