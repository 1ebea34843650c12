"""Requests that are too slow, or cancelled, fail in each kind of loop; none of them vanishes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest

from pytest_xsched import own_client
from pytest_xsched.clients.engine import Engine
from pytest_xsched.clients.load import make_sender
from pytest_xsched.clients.request import ReportWriter
from pytest_xsched.models.factory import Place

TOO_SLOW = "no whole answer within 0.01 s"


async def never_ends(number):
    await asyncio.Event().wait()


async def takes_its_time_to_stop(number):
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)


async def goes_on_when_cancelled(number):
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def takes_5_ms(number):
    await asyncio.sleep(0.005)


async def is_cancelled(number):
    raise asyncio.CancelledError


def in_engine(function, do):
    """Let an engine do something with requests of a function; give its fault, and the lines."""
    endpoint = own_client(function, timeout="10ms").endpoint
    read_fd, write_fd = os.pipe()

    async def run():
        async with make_sender(endpoint, Place.here()) as sender:
            limits = {"in_flight": 1, "timeout_ns": endpoint.timeout_ns}
            engine = Engine(sender, ReportWriter(write_fd), **limits)
            await do(engine)
            return engine.fault

    try:
        fault = asyncio.run(run())
    finally:
        os.close(write_fd)
        with os.fdopen(read_fd) as file:
            lines = [line.split(" ", 3) for line in file.read().splitlines()]
    return fault, lines


@pytest.mark.parametrize("function", [never_ends, takes_its_time_to_stop])
def test_a_first_request_that_never_ends_is_the_fault_of_the_warm_up(function):
    fault, lines = in_engine(function, lambda engine: engine.warm_up(0))
    assert fault == TOO_SLOW
    assert not lines


@pytest.mark.parametrize("function", [never_ends, takes_its_time_to_stop])
def test_a_closed_loop_goes_on_after_a_request_that_is_too_slow(function):
    async def loop(engine):
        start_ns = time.monotonic_ns()
        await engine.closed_loop(start_ns, start_ns + 11_000_000, 0)

    _, lines = in_engine(function, loop)
    failed = [line for line in lines if line[0] == "fail"]
    assert [line[0] for line in lines] == ["begin", "fail"] * len(failed)
    assert {line[3] for line in failed} == {TOO_SLOW}


def test_a_client_that_goes_on_after_its_time_has_failed(send):
    window = send(own_client(goes_on_when_cancelled, timeout="10ms"), [0])
    assert window.failed == {0: TOO_SLOW}


def test_an_answer_after_the_time_out_is_a_failure_before_it_is_looked_for(send):
    """Late requests are cancelled every 20 ms; one that ends sooner is not cancelled."""
    window = send(own_client(takes_5_ms, timeout="1ms"), [0])
    assert window.failed == {0: "no whole answer within 0.001 s"}


def test_a_request_that_the_code_of_the_user_cancels_has_failed(send):
    window = send(own_client(is_cancelled), [0, 0.01])
    assert window.failed == {0: "it was cancelled", 1: "it was cancelled"}
