"""What the requests of a queue met of another one, on times written by hand."""

from __future__ import annotations

import dataclasses

from pytest_xsched import command
from pytest_xsched.analysis.contention import Contenders
from pytest_xsched.analysis.evidence import RATE, WAIT, gather
from pytest_xsched.scenario.arrival_process import Closed

MS = 1_000_000


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


def test_a_program_that_never_completes_a_request_is_no_contention(made_queue):
    """It may hang in the first one: then it has "work" for ever, and does nothing."""
    high = made_queue([1] * 300)
    hangs = made_queue([None], name="hangs", window_ms=(0, 15_000), requests_completed=0)
    hangs.spec = dataclasses.replace(hangs.spec, workload=command(["hang"]))
    contenders = Contenders((high, hangs))
    assert [met.work for met in contenders.met() if met.queue == "high"] == [0]
    said = "the program of hangs completed no request, so high had nothing to contend with"
    assert contenders.nothing() == {"high": [said]}
    evidence = gather((high, hangs), (), checked=False)
    assert evidence.against("high") == evidence.against("high", WAIT) == (said,)
    assert evidence.against("high", RATE) == ()
    assert evidence.remarks_on("high", RATE).endswith(f"; {said}")
    hangs.spec = dataclasses.replace(hangs.spec, arrivals=Closed())
    assert away(high, hangs)["high"] == ["the program of hangs completed no request"]
    # One that hangs later on was there until then.
    later = made_queue([50] * 20 + [None], name="later", window_ms=(0, 15_000))
    later.spec = dataclasses.replace(later.spec, workload=command(["hang"]))
    assert Contenders((high, later)).little([None, None])["high"] == [
        "later had work during only 6.7 % of high's requests"
    ]


def test_holds_cut_work_into_pieces(made_queue):
    # a: at 0, 100, ... 900 ms for 50 ms each. b works from 0 to 1 s, and is held twice.
    a = made_queue([50] * 10, name="a", period_ms=100)
    b = made_queue([1000], name="b")
    holds = {"b": [(200 * MS, 400 * MS), (600 * MS, 2**62)]}
    met = {c.queue: c for c in Contenders((a, b), holds).met()}
    assert (met["a"].work, met["a"].in_flight) == (0.4, 0.4)  # at 0, 100, 400 and 500 ms


def test_a_device_that_is_named_is_the_one_of_the_run(made_queue):
    a, b = made_queue([50] * 4, name="a"), made_queue([50] * 4, name="b")
    b.spec = dataclasses.replace(b.spec, device="cuda")
    assert Contenders((a, b), device="cuda").met()
    assert not Contenders((a, b), device="cuda:1").met()
    little = Contenders((a, b), device="cuda:1").little([None, None])
    assert little["a"] == ["a ran alone on its device"]
