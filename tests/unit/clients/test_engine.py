"""The open loop: requests are sent when they are due, whatever becomes of those before them."""

from __future__ import annotations

import gc

import pytest

from pytest_xsched import endpoint
from pytest_xsched.clients import load
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX

pytest.importorskip("aiohttp", reason="the extra http is not installed")


def test_a_stall_of_two_seconds_at_100_a_second_counts_for_200_requests(server, send):
    """No coordinated omission: each request that was due in the stall waited for its rest."""

    server.stall_requests = 200  # one that waits for an answer before the next never gets one

    def stalls(start_s):
        server.stall_until = start_s + 2

    times = [i / 100 for i in range(250)]
    window = send(endpoint(f"{server.url}/ok"), times, starts=stalls)
    assert len(window.ended) == 250
    stalled = [number for number in range(250) if times[number] < 2]
    assert len(stalled) == 200
    for number in stalled:  # due at i * 10 ms, answered after 2 s
        assert window.latency[number] >= 2 - times[number]
    words = [line[0] for line in window.lines]
    before = words[: words.index("end")]
    assert before.count("begin") >= 200, "they were sent while the server stalled"
    assert not window.held


def test_requests_over_the_limit_are_held_and_sent_in_order(server, send):
    for _ in range(5):  # a busy machine may send a third one after the first has its answer
        before = server.connections
        window = send(endpoint(f"{server.url}/after/0.1", in_flight=2), [0, 0, 0, 0, 0])
        if window.held == [2, 3, 4]:
            break
    assert window.held == [2, 3, 4]
    assert len(window.ended) == 5
    order = sorted(window.begun, key=window.begun.get)
    assert order == [0, 1, 2, 3, 4]
    assert window.begun[2] >= 0.1
    assert window.begun[4] >= 0.2
    words = [(line[0], line[1]) for line in window.lines]
    for number in ("2", "3", "4"):
        assert words.index(("held", number)) < words.index(("begin", number))
    assert server.connections - before == 2


def test_the_limit_is_free_again_after_a_failure(server, send):
    for _ in range(5):  # a busy machine may send the second one after the first has failed
        window = send(endpoint(f"{server.url}/endless", in_flight=1, timeout="50ms"), [0, 0])
        if window.held:
            break
    assert window.held == [1]
    assert set(window.failed) == {0, 1}


def is_collecting(number):
    return str(gc.isenabled())


def test_no_garbage_is_collected_in_a_window(server, send):
    send(endpoint(f"{server.url}/ok", body=is_collecting), [0, 0.01, 0.02])
    assert [body for _, _, _, body in server.requests] == [b"False"] * 3
    assert gc.isenabled()


def test_no_two_load_processes_send_a_request_of_the_same_number():
    """A server may go on from one run to the next, with what it has in its cache."""
    first, second = (int(load.variables()[load.FIRST_VARIABLE]) for _ in range(2))
    assert second >= first + SAMPLES_MAX
