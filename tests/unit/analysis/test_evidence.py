"""What speaks against a run, from counts and samples written by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_xsched import endpoint
from pytest_xsched.analysis.evidence import gather
from pytest_xsched.errors import InvalidRun, QosAssertionError


def evidence(*queues, wrong_results=(), checked=False):
    return gather(queues, tuple(wrong_results), checked=checked)


def test_nothing(made_queue):
    found = evidence(made_queue([1] * 300), made_queue([50] * 300, name="low", closed=True))
    assert found.faults == ()
    assert found.queue_faults == {"high": (), "low": ()}
    plain = found.to_dict()
    # Both have the highest priority, so what each met of the other is there.
    met = [(c["queue"], c["other"], c["work"], c["in_flight"]) for c in plain.pop("contention")]
    assert met == [("high", "low", 1, 1), ("low", "high", 1, 1)]
    assert plain == {
        "valid": True,
        "faults": [],
        "queue_faults": {"high": [], "low": []},
        "results_checked": False,
        "priority_effect": None,
        "results_not_checked": [],
        "xsched": None,
        "noise": None,
        "failures": {},
        "held": {},
        "plausible": [],
        "uncontended": {},
        "remarks": {},
    }


@pytest.mark.parametrize(
    ("counts", "faults"),
    [
        ({"failed": 3}, ["3 commands of high failed"]),
        (
            {"launched": 0, "completed": 0},
            ["no command of high was launched"],
        ),
        ({"launched": 10, "completed": 8}, ["high launched 10 commands, but completed 8"]),
        (
            {"launched": 0, "completed": 2, "failed": 1},
            [
                "1 commands of high failed",
                "no command of high was launched",
                "high launched 0 commands, but completed 2",
            ],
        ),
    ],
)
def test_counts_that_do_not_add_up_spoil_the_run(made_queue, counts, faults):
    found = evidence(made_queue([1] * 300, **counts), made_queue([1] * 300, name="low"))
    assert list(found.faults) == faults
    assert found.queue_faults == {"high": (), "low": ()}
    assert found.to_dict()["valid"] is False


def test_submitted_commands_need_not_all_be_launched(made_queue):
    """A closed loop has one in its XQueue when the run ends."""
    assert evidence(made_queue([1] * 300, submitted=305)).faults == ()


def test_wrong_results_spoil_the_run(made_queue):
    found = evidence(made_queue([1] * 300), wrong_results=["high: 3 of 64 differ"], checked=True)
    assert found.faults == ("high: 3 of 64 differ",)
    assert found.checked and found.to_dict()["results_checked"] is True


def test_no_request_in_the_window_spoils_the_queue(made_queue):
    found = evidence(made_queue([1] * 3, window_ms=(1000, 2000)), made_queue([1], name="low"))
    assert found.faults == ()
    assert found.queue_faults == {
        "high": ("high has no request in the measured window",),
        "low": (),
    }


def test_saturation_spoils_the_queue(made_queue):
    found = evidence(made_queue([100 + i * 50 for i in range(200)]))
    assert found.queue_faults["high"] == (
        "high is saturated: 20/s were offered but 9.9/s completed, so its latency depends on the "
        "length of the run",
    )


@pytest.mark.parametrize(
    ("late_count", "is_fault"), [(0, False), (6, False), (7, True), (300, True)]
)
def test_late_load_generator_spoils_the_queue(made_queue, late_count, is_fault):
    """Late: by more than a period of 50 ms, for more than 2 % of the requests."""
    queue = made_queue([100] * 300)
    queue.samples["submitted_ns"][:late_count] += 50_000_001
    (fault, *others) = evidence(queue).queue_faults["high"] or [""]
    assert not others
    expected = (
        "the requests of high did not arrive at the offered rate: "
        f"{late_count / 300:.0%} of them were submitted more than a period late"
    )
    assert fault == (expected if is_fault else "")


def test_a_period_is_not_late_yet(made_queue):
    assert evidence(made_queue([100] * 300, late_ms=50)).queue_faults["high"] == ()


def test_requests_that_were_never_submitted_are_late(made_queue):
    queue = made_queue([1] * 293 + [None] * 7, period_ms=50)
    queue.samples["submitted_ns"][::40][:7] = -1
    (fault,) = evidence(queue).queue_faults["high"]
    assert "2% of them were submitted more than a period late" in fault


def test_the_load_of_a_closed_loop_is_never_late(made_queue):
    queue = made_queue([100] * 300, closed=True)
    queue.samples["submitted_ns"] += 10**9
    assert evidence(queue).queue_faults["high"] == ()


def test_a_fault_of_one_queue_leaves_the_others_their_verdicts(made_queue, made_run):
    run = made_run(
        made_queue([100 + i * 50 for i in range(400)], name="slow"), made_queue([1] * 300)
    )
    run.high.assert_p99_below("2ms")
    run.require()
    run.require("high")
    with pytest.raises(InvalidRun, match=r"^no verdict: slow is saturated: ") as error:
        run.slow.assert_p99_below("1h")
    assert error.value.run is run
    run.slow.assert_throughput_at_least("5/s")


def test_all_faults_are_named_at_once(made_queue, made_run):
    run = made_run(made_queue([1] * 3, window_ms=(1000, 2000), failed=1), made_queue([1], name="b"))
    with pytest.raises(InvalidRun) as error:
        run.require("high")
    assert str(error.value) == (
        "no verdict: 1 commands of high failed; high has no request in the measured window"
    )


def test_a_run_in_json_types(made_queue, made_run):
    run = made_run(made_queue([1] * 300), made_queue([None], name="low"))
    data = run.to_dict()
    assert json.loads(run.to_json()) == data
    assert data["digest"] == run.scenario.digest()
    assert [queue["name"] for queue in data["queues"]] == ["high", "low"]
    assert data["device_name"] == "by hand" and data["verdicts"] == []


def test_a_late_load_generator_spoils_rates_too(made_queue, made_run):
    """Throughput and no-errors passed next to "48 % did not arrive at the offered rate"."""
    queue = made_queue([100] * 300)
    queue.samples["submitted_ns"][:144] += 50_000_001
    run = made_run(queue, made_queue([1] * 300, name="low"))
    late = "^no verdict: the requests of high did not arrive at the offered rate: 48% of them"
    for target in (
        lambda: run.high.assert_throughput_at_least("1/s"),
        lambda: run.high.assert_no_errors(),
        lambda: run.high.assert_longest_wait_below("1h"),
        lambda: run.high.throughput > "1/s",
    ):
        with pytest.raises(InvalidRun, match=late):
            target()
    run.low.assert_no_errors()


def test_a_queue_that_got_nothing_while_others_ran_is_starved(made_queue, made_run):
    starved = made_queue([None] * 300, launched=0, completed=0, submitted=300)
    run = made_run(starved, made_queue([1] * 300, name="low"))
    assert run.evidence.faults == ()
    with pytest.raises(QosAssertionError, match="at least that, because no command of high was"):
        run.high.assert_p99_below("50ms")
    with pytest.raises(InvalidRun, match="no command of high was launched"):
        run.high.assert_p99_below("1h")  # no request waited for as long as that
    # Of the same priority as low, so low's latencies had nothing to contend with.
    with pytest.raises(InvalidRun, match="so low had nothing to contend with") as error:
        run.low.assert_p99_below("50ms")
    assert error.value.starved


@pytest.mark.parametrize("named", ["sim", None])
def test_a_starved_contender_counts_also_where_it_names_the_device_of_the_run(made_queue, named):
    starved = made_queue([None] * 300, name="low", launched=0, completed=0, submitted=300)
    starved.spec = dataclasses.replace(starved.spec, device=named)
    found = gather((made_queue([1] * 300), starved), (), checked=False, device="sim")
    said = "no command of low was launched, so high had nothing to contend with"
    assert said in found.queue_faults["high"]


def test_a_starved_queue_of_another_device_takes_nothing_from_a_verdict(made_queue):
    starved = made_queue([None] * 300, name="low", launched=0, completed=0, submitted=300)
    starved.spec = dataclasses.replace(starved.spec, device="cuda:1")
    found = gather((made_queue([1] * 300), starved), (), checked=False, device="cuda")
    assert found.queue_faults["high"] == ()


def made_endpoint(queue):
    workload = endpoint("http://127.0.0.1:8000/")
    queue.spec = dataclasses.replace(queue.spec, workload=workload)
    return queue


def late_by(queue, first, late_ms):
    for name in ("submitted_ns", "launched_ns", "completed_ns"):
        queue.samples[name][first:] += late_ms * 1_000_000
    queue.latency_ns = queue._span("scheduled_ns")
    return queue


def test_a_load_process_that_is_late_is_no_slow_server(made_queue):
    """The latencies grow without end, because it cannot send at the rate: its fault, no miss."""
    queue = late_by(made_endpoint(made_queue([20] * 300)), 100, 5000)
    queue.saturated = True
    found = evidence(queue)
    (fault,) = found.queue_faults["high"]
    assert fault == (
        "the load process of high sent 67% of its requests more than 50 ms late, so their latency "
        "is its own; lower the rate, or leave it a processor"
    )
    assert found.queue_faults["high"] == found.rate_faults["high"]
    program = made_queue([20] * 300)
    program.saturated = True
    assert "is saturated" in evidence(late_by(program, 100, 5000)).queue_faults["high"][0]


def test_less_than_a_tenth_of_an_answer_does_not_matter(made_queue):
    """At 1,000/s, more than a period late; but answers take 100 ms."""
    queue = made_endpoint(made_queue([100] * 300, period_ms=1))
    queue.saturated = False
    assert evidence(late_by(queue, 0, 9)).queue_faults["high"] == ()
    queue = made_endpoint(made_queue([100] * 300, period_ms=1))
    queue.saturated = False
    assert "sent 100% of its requests more than 10 ms late" in str(
        evidence(late_by(queue, 0, 11)).queue_faults["high"]
    )
