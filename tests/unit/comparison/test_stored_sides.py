"""Two baselines: what can be claimed with the runs that both have."""

import pytest

from pytest_xsched.comparison.baseline_check import exit_status
from pytest_xsched.comparison.baseline_store import StoredRuns
from pytest_xsched.comparison.stored_sides import compare_stored


@pytest.fixture
def compare(made_run, made_queue):
    """Compares baselines whose runs have latencies of `high` in ms and a throughput of `low`."""

    def record(ms, low_ms=5, n=300):
        low = made_queue([low_ms] * (15_000 // low_ms), name="low", period_ms=low_ms, closed=True)
        return made_run(made_queue([ms] * n), low).to_dict()

    def stored(runs, change=None):
        records = [record(*run) if isinstance(run, tuple) else record(run) for run in runs]
        for one in records if change else ():
            change(one)
        return StoredRuns(entries=[{"run": one} for one in records], damaged=[])

    def find(old, new, change=None, margin=0.1):
        found = compare_stored(
            stored(old), stored(new, change), sides=("old", "new"), margin=margin
        )
        status = exit_status([one.to_dict() for one in found])
        return [(one.status, one.sentence.partition(": ")[2]) for one in found], status

    return find


@pytest.mark.parametrize(
    ("old", "new", "status", "end"),
    [
        ([5, 5.1, 5.2], [6, 6.1, 6.2], "worse", "worse, by chance in 5 % of equal builds"),
        (
            [5, 5.1, 5.2],
            [6],
            "undecided",
            "worse, by chance in 25 % of equal builds; too few runs to show it, 2 more of new "
            "can, if all are worse",
        ),
        ([5 + i / 100 for i in range(19)], [6], "worse", "worse, by chance in 5 % *"),
        (
            [5, 5.1, 7],
            [6, 6.1, 6.2],
            "undecided",
            "worse, by chance in 35 % of equal builds; 5 % would show it",
        ),
        ([6, 6.1, 6.2], [5, 5.1, 5.2], "better", "better, by chance in 5 % of equal builds"),
        ([5, 5.1, 5.2], [5.3, 5.4, 5.5], "no difference shown", "no difference shown"),
    ],
)
def test_what_so_many_runs_show(compare, old, new, status, end):
    ((found, sentence), (low, _)), code = compare(old, new)
    assert (found, low) == (status, "no difference shown")
    assert code == {"worse": 1, "undecided": 8}.get(status, 0)
    assert sentence.startswith("high: P99 ")
    assert sentence.endswith(end) or (end.endswith("*") and end[:-2] in sentence)


def test_a_throughput_is_worse_where_it_is_lower(compare):
    (_, (status, sentence)), code = compare([(5, 5)] * 3, [(5, 8)] * 3)
    assert (status, code) == ("worse", 1)
    assert sentence.startswith(
        "low: throughput 124.9/s against 199.9/s, the medians of 3 stored runs"
    )


def test_a_margin_of_ones_own(compare):
    ((status, _), _), code = compare([5, 5.1, 5.2], [6, 6.1, 6.2], margin=0.5)
    assert (status, code) == ("no difference shown", 0)


def test_a_saturated_queue_is_slower_than_any_that_is_not(compare):
    def saturate(run):
        run["queues"][0]["saturated"] = True
        run["evidence"]["queue_faults"]["high"] = ["high is saturated"]

    ((status, sentence), _), code = compare([5] * 3, [5] * 3, saturate)
    assert (status, code) == ("worse", 1)
    assert sentence.startswith("high: P99 never against 5 ms")


def test_runs_of_another_machine_and_of_another_scenario_are_not_compared(compare):
    def elsewhere(run):
        run["fingerprint"]["cpu"] = "another"

    ((status, sentence),), code = compare([5], [5], elsewhere)
    assert (status, code) == ("not applicable", 8)
    assert "host.cpu: " in sentence and sentence.endswith('against "another"')

    def longer(run):
        run["scenario"]["duration_ns"] *= 2

    found, code = compare([5], [5], longer)
    assert [status for status, _ in found] == ["not compared"] * 2
    assert code == 8


def test_too_few_requests_for_a_p99_are_compared_by_a_lower_percentile(compare):
    ((status, sentence), _), _ = compare([(5, 5, 100)] * 3, [(6, 5, 100)] * 3)
    assert (status, sentence.partition(" against")[0]) == ("worse", "high: P95 6 ms")
