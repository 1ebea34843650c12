"""What the requests of a queue met of another one, on times written by hand."""

from __future__ import annotations

from pytest_xsched.analysis.contention import Contenders


def shares(one, other):
    return {(c.queue, c.other): (c.work, c.in_flight) for c in Contenders((one, other)).met()}


def away(one, other):
    contenders = Contenders((one, other))
    return contenders.away(contenders.met())


def test_requests_meet_or_pass_by(made_queue):
    # a: at 0, 100, 200, 300 ms for 50 ms each. b: at 0 and 200 ms, for 120 ms: it is there during
    # the requests at 0, 100, 200 and 300.
    a = made_queue([50] * 4, name="a", period_ms=100)
    b = made_queue([120] * 2, name="b", period_ms=200)
    assert shares(a, b) == {("a", "b"): (1, 1), ("b", "a"): (1, 1)}
    # For 60 ms it is there during those at 0 and 200 only, and ends where others begin.
    assert shares(a, made_queue([60] * 2, name="b", period_ms=200))["a", "b"] == (0.5, 0.5)
    assert shares(a, made_queue([100] * 2, name="b", period_ms=200))["a", "b"] == (0.5, 0.5)


def test_work_that_waits_is_work_but_not_launched(made_queue):
    a = made_queue([50] * 4, name="a", period_ms=100)
    b = made_queue([400], name="b")
    b.samples["launched_ns"] = 320 * 10**6
    assert shares(a, b)["a", "b"] == (1, 0.25)
    b.samples["launched_ns"] = b.samples["completed_ns"] = -1  # never, and never done
    assert shares(a, b)["a", "b"] == (1, 0)


def test_a_loop_that_never_pauses_must_have_been_there(made_queue, made_run):
    a = made_queue([10] * 40, name="a", period_ms=100)
    gone = made_queue([10] * 100, name="gone", period_ms=10, closed=True)  # for one second of four
    assert away(a, gone) == {
        "a": [
            "gone had work during only 25 % of a's requests although it never pauses: "
            "the queues did not run at the same time"
        ]
    }
    run = made_run(a, gone)
    assert run.evidence.queue_faults["a"] == tuple(away(a, gone)["a"])
    # An open loop that was seldom there is a remark, not a fault.
    assert away(a, a) == {}
    rare = made_queue([10] * 100, name="rare", period_ms=10)
    assert away(a, rare) == {}


def test_alone_there_is_nothing_to_meet(made_queue):
    assert Contenders((made_queue([1]),)).met() == ()
