"""Which of the late requests are explained: the worst, as far as their commands are on record."""

import dataclasses

from pytest_xsched import replay, spin


def test_late_requests_that_are_not_on_record_do_not_hide_the_cause_of_those_that_are(sim, bare):
    """In real time a run keeps the commands around the worst 5 % of the requests.

    Where all requests are late, the 100 worst of 500 were explained, and two thirds of the excess
    were not on record, which says nothing.
    """
    run = sim.run(
        sim.queue("high", spin("4ms"), priority=2, arrivals=replay(["1ms", "20ms", "40ms"])),
        sim.queue("low", spin("2ms"), priority=1, arrivals=replay(["0s", "19ms", "39500us"])),
        duration="60ms",
        warmup="0s",
        sim=bare,
    )
    everything = run.high.explain("1ns")
    assert [request.index for request in everything.requests] == [2, 0, 1]
    (window,) = run.trace.windows
    record = window.records["high"]
    kept = dataclasses.replace(record, commands=record.commands[record.commands["request"] != 0])
    run.trace.windows[0] = dataclasses.replace(window, records={**window.records, "high": kept})
    some = run.high.explain("1ns")
    assert (some.late, [request.index for request in some.requests]) == (3, [2])
    assert some.parts == everything.requests[0].parts()
    assert "slowest of 3 requests above 1 ns" in some.lines[1]
