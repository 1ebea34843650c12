"""The client of programs: its warm-up before it is ready, on a clock made by hand."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading

import pytest

from pytest_xsched import client

MS = 1_000_000
S = 1000 * MS


class Clock:
    """Stands for the module `time`; it moves when a test or a sleep moves it."""

    def __init__(self):
        self.now_ns = 0

    def monotonic_ns(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += max(1, round(seconds * 1e9))


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(client, "time", made)
    monkeypatch.setattr(client, "_SPIN_NS", 0)  # this clock stands while the program spins
    return made


class Harness:
    """The other side of the protocol: pipes, arrivals, and the lines that the program wrote."""

    def __init__(self, directory, monkeypatch):
        self._read, report = os.pipe()
        start, self._write = os.pipe()
        self._arrivals = directory / "arrivals.txt"
        monkeypatch.setenv(client.REPORT, str(report))
        monkeypatch.setenv(client.START, str(start))
        monkeypatch.delenv(client.THINK_NS, raising=False)
        monkeypatch.delenv(client.ARRIVALS, raising=False)
        monkeypatch.delenv(client.AGAIN, raising=False)
        monkeypatch.delenv(client.PROTOCOL, raising=False)
        self._setenv = monkeypatch.setenv
        self._ours = [report, start, self._read]

    def arrivals(self, *times_ns):
        self._arrivals.write_text("".join(f"{at}\n" for at in times_ns))
        self._setenv(client.ARRIVALS, str(self._arrivals))

    def start(self, begin_ns, end_ns):
        os.write(self._write, f"{begin_ns} {end_ns}\n".encode())

    def cancel(self):
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def lines(self):
        os.set_blocking(self._read, False)
        try:
            return os.read(self._read, 65536).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self):
        self.cancel()
        for fd in self._ours:
            os.close(fd)


@pytest.fixture
def harness(tmp_path, monkeypatch):
    made = Harness(tmp_path, monkeypatch)
    yield made
    made.close()


def warmed(clock, taken_ns, **more):
    """Drive requests that take some times until the program is ready; return their numbers."""
    numbers = []
    more_ns = itertools.chain(taken_ns, itertools.repeat(taken_ns[-1]))

    def drive():
        for number in client.requests(**more):
            numbers.append(number)
            clock.now_ns += next(more_ns)

    with pytest.raises(SystemExit, match="cancelled"):  # nothing starts the run
        drive()
    return numbers


@pytest.mark.parametrize(
    ("taken_ns", "count"),
    [
        ([6 * MS], 10),
        ([900 * MS, 6 * MS], 10),  # the median of five does not see one that compiles
        ([900 * MS, 700 * MS, 600 * MS, 6 * MS], 15),
        ([*[100 * MS] * 10, 6 * MS], 10),  # no longer faster, as far as is known
        ([100 * MS, *[50 * MS] * 5, *[25 * MS] * 5, *[12 * MS] * 5, 6 * MS], 25),
        ([*range(200 * MS, 0, -5 * MS), MS], 50),
        ([8 * MS, 5 * MS, 7 * MS, 6 * MS, 9 * MS, 6 * MS, 8 * MS, 5 * MS, 9 * MS, 7 * MS], 10),
        ([0], 10),
    ],
)
def test_the_warm_up_ends_when_requests_no_longer_become_faster(harness, clock, taken_ns, count):
    harness.cancel()
    assert warmed(clock, taken_ns) == list(range(count))
    assert harness.lines() == [f"ready {os.getpid()}"]  # and none of them was reported


def test_the_warm_up_is_bounded_in_count(harness, clock):
    harness.cancel()
    faster = [round(100 * MS * 0.9**n) for n in range(100)]
    assert len(warmed(clock, faster)) == 100


@pytest.mark.parametrize(
    ("taken_ns", "count"), [([40 * S, 20 * S], 2), ([60 * S, 3 * S], 5), ([5 * S], 3)]
)
def test_the_warm_up_is_bounded_in_time_after_its_first_request(harness, clock, taken_ns, count):
    harness.cancel()
    assert len(warmed(clock, taken_ns)) == count


@pytest.mark.parametrize("count", [0, 1, 3, 250])
def test_a_program_may_ask_for_a_number_of_warm_up_requests(harness, clock, count):
    harness.cancel()
    assert warmed(clock, [MS], warmup=count) == list(range(count))


def test_the_program_is_ready_only_after_its_warm_up(harness, clock):
    harness.start(S, 2 * S)
    numbers = client.requests(warmup=2)
    assert [next(numbers), next(numbers)] == [0, 1]
    assert harness.lines() == []
    assert next(numbers) == 0
    assert harness.lines() == [f"ready {os.getpid()}", f"begin {S}"]


def test_measured_requests_begin_again_at_zero_and_alone_are_reported(harness, clock):
    harness.arrivals(10 * MS, 20 * MS)
    harness.start(5 * S, 6 * S)
    harness.cancel()  # the end of file comes after "done"
    numbers = []
    for number in client.requests(warmup=5):
        numbers.append(number)
        clock.now_ns += MS
    # The warm-up has only numbers that the run has: a program may have inputs for these alone.
    assert numbers == [0, 1, 0, 1, 0, 0, 1]
    times = [5 * S + 10 * MS, 5 * S + 11 * MS, 5 * S + 20 * MS, 5 * S + 21 * MS]
    words = ["begin", "end", "begin", "end"]
    reported = [f"{word} {at}" for word, at in zip(words, times, strict=True)]
    assert harness.lines() == [f"ready {os.getpid()}", *reported, "done"]


def test_without_pytest_xsched_there_is_no_warm_up(clock, monkeypatch):
    monkeypatch.delenv(client.REPORT, raising=False)
    numbers = client.requests(warmup=5)
    assert [next(numbers) for _ in range(7)] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("warmup", [-1, 2.0, True, "10", "auto"])
def test_a_warm_up_that_is_no_count_is_refused_at_once(warmup):
    with pytest.raises(ValueError, match=r"^requests\(\): warmup .* is no number of requests; wri"):
        client.requests(warmup=warmup)


def test_a_request_that_fails_in_the_warm_up_is_not_hidden(harness, clock):
    def drive():
        for number in client.requests():
            1 / (number < 5)

    with pytest.raises(ZeroDivisionError):
        drive()
    assert harness.lines() == []


def ran(clock, harness, *windows, end=True, **more):
    """Run a program over windows, each with arrivals of its own; return what it wrote in each."""
    first, *others = windows
    harness.arrivals(*first[1:])
    harness.start(first[0], first[0] + S)
    lines, numbers = [], []
    for number in client.requests(**more):
        numbers.append(number)
        if number == len(first) - 2:  # the last one of this window
            lines.append(harness.lines())
            if others:
                first = others.pop(0)
                harness.arrivals(*first[1:])
                harness.start(first[0], first[0] + S)
            elif end:
                harness.cancel()
    return [*lines, harness.lines()], numbers


def test_a_run_of_several_windows_starts_the_program_once(harness, clock, monkeypatch):
    monkeypatch.setenv(client.AGAIN, "1")
    windows = (5 * S, 10 * MS, 20 * MS), (9 * S, MS), (12 * S, 0, MS, 2 * MS)
    (first, second, third, last), numbers = ran(clock, harness, *windows, warmup=0)
    assert numbers == [0, 1, 0, 0, 1, 2]
    ready = f"ready {os.getpid()}"
    assert first[0] == ready and first[1] == f"begin {5 * S + 10 * MS}"
    # After "done" it is ready again, without a warm-up, and its requests are those of the window.
    assert second[1:4] == ["done", ready, f"begin {9 * S + MS}"]
    assert third[1:4] == ["done", ready, f"begin {12 * S}"]
    assert last[1:] == ["done", ready]  # the end of file, and the program goes on behind its loop


def test_its_warm_up_comes_once(harness, clock, monkeypatch):
    monkeypatch.setenv(client.AGAIN, "1")
    windows = (5 * S, 10 * MS, 20 * MS), (9 * S, MS, 2 * MS)
    numbers = []
    harness.arrivals(*windows[0][1:])
    harness.start(5 * S, 6 * S)
    for number in client.requests(warmup=4):
        numbers.append(number)
        if len(numbers) == 6:
            harness.arrivals(*windows[1][1:])
            harness.start(9 * S, 10 * S)
        if len(numbers) == 8:
            harness.cancel()
    assert numbers == [*(0, 1, 0, 1), *(0, 1), *(0, 1)]


def test_where_there_is_one_window_the_protocol_is_as_it_was(harness, clock):
    lines, numbers = ran(clock, harness, (5 * S, 10 * MS, 20 * MS), warmup=0)
    assert numbers == [0, 1]
    assert [line.split()[0] for part in lines for line in part] == [
        *("ready", "begin", "end", "begin", "end", "done")
    ]


def test_children_learn_nothing_of_the_protocol(harness, clock, monkeypatch):
    monkeypatch.setenv(client.AGAIN, "1")
    monkeypatch.setenv(client.PROTOCOL, "2")
    harness.start(S, 2 * S)
    assert next(client.requests(warmup=1)) == 0
    names = {client.REPORT, client.START, client.AGAIN, client.PROTOCOL}
    assert not names & set(os.environ)


# ---- version 2


@pytest.fixture
def numbered(harness, monkeypatch):
    monkeypatch.setenv(client.PROTOCOL, "2")
    return harness


def test_requests_have_numbers_milestones_and_failures(numbered, clock):
    numbered.arrivals(10 * MS, 20 * MS)
    numbered.start(5 * S, 6 * S)
    numbered.cancel()
    for number in client.requests(warmup=1):
        clock.now_ns += MS
        client.milestone("copied")
        if number:
            client.fail("no\nmemory")
        clock.now_ns += MS
    first, second = 5 * S + 10 * MS, 5 * S + 20 * MS
    assert numbered.lines() == [
        f"ready {os.getpid()} 2",
        f"begin 0 {first}",
        f"at 0 copied {first + MS}",
        f"end 0 {first + 2 * MS}",
        f"begin 1 {second}",
        f"at 1 copied {second + MS}",
        f"fail 1 {second + 2 * MS} no memory",
        "done",
    ]


def test_a_request_that_waits_for_the_one_before_is_held(numbered, clock):
    numbered.arrivals(10 * MS, 20 * MS, 50 * MS)
    numbered.start(5 * S, 6 * S)
    numbered.cancel()
    for _ in client.requests(warmup=0):
        clock.now_ns += 15 * MS
    words = [line.rsplit(" ", 1)[0] for line in numbered.lines() if "ready" not in line]
    assert words == ["begin 0", "end 0", "held", "begin 1", "end 1", "begin 2", "end 2", "done"]


def test_milestones_and_failures_in_the_warm_up_and_alone_are_nothing(numbered, clock):
    numbered.cancel()

    def drive():
        for _ in client.requests(warmup=2):
            client.milestone("token")
            client.fail("cold")

    with pytest.raises(SystemExit, match="cancelled"):
        drive()
    assert numbered.lines() == [f"ready {os.getpid()} 2"]
    client.milestone("token")


@pytest.mark.parametrize("name", ["Token", "", "first token", "1st", "a" * 41, "tökén", 5, "a\n"])
def test_a_name_that_cannot_be_reported_is_refused(name):
    with pytest.raises(ValueError, match=r"^milestone\(\): .* is no name; write up to 40 letters"):
        client.milestone(name)


def test_version_1_has_no_milestones_and_no_way_to_fail(harness, clock):
    harness.arrivals(10 * MS)
    harness.start(5 * S, 6 * S)
    harness.cancel()

    def drive():
        for _ in client.requests(warmup=0):
            client.milestone("copied")
            client.fail("no memory")

    with pytest.raises(SystemExit, match="a request failed: no memory; pytest-xsched is too old"):
        drive()
    assert [line.split()[0] for line in harness.lines()] == ["ready", "begin"]


def concurrent(numbered, monkeypatch, work, arrivals_ms, **more):
    """Run coroutines on the real clock; return the lines without their times."""
    monkeypatch.setattr(client, "_SPIN_NS", 0)
    numbered.arrivals(*(at * MS for at in arrivals_ms))
    now_ns = client.time.monotonic_ns()
    numbered.start(now_ns, now_ns + S)
    numbered.cancel()
    asyncio.run(client.run_requests(work, warmup=0, **more))
    ready, *lines = numbered.lines()
    assert ready == f"ready {os.getpid()} 2"
    return [re.sub(r" \d{6,}", "", line) for line in lines]


def test_coroutines_are_in_flight_together_and_their_errors_are_failures(numbered, monkeypatch):
    begun = []

    async def work(number):
        begun.append(number)
        while len(begun) < 2:
            await asyncio.sleep(0)
        client.milestone("token")
        await asyncio.to_thread(client.milestone, "token")
        if number:
            raise ConnectionError("reset")

    lines = concurrent(numbered, monkeypatch, work, [0, 1])
    assert lines[:2] == ["begin 0", "begin 1"] and lines[-1] == "done"
    assert sorted(lines[2:-1]) == [
        *["at 0 token"] * 2,
        *["at 1 token"] * 2,
        "end 0",
        "fail 1 ConnectionError: reset",
    ]


def test_a_limit_holds_requests_that_are_due(numbered, monkeypatch):
    async def work(number):
        await asyncio.sleep(0.02)

    lines = concurrent(numbered, monkeypatch, work, [0, 1, 2], limit=1)
    assert lines == [
        *("begin 0", "end 0", "held 1", "begin 1", "end 1", "held 2", "begin 2", "end 2", "done")
    ]


def test_a_milestone_outside_of_all_requests_is_an_error(numbered, monkeypatch):
    errors = []

    def outside():
        try:
            client.milestone("token")
        except RuntimeError as error:
            errors.append(str(error))

    async def work(number):
        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()

    concurrent(numbered, monkeypatch, work, [0])
    assert errors and "asyncio.to_thread() gives it" in errors[0]


def test_no_reason_of_a_failure_loses_the_request(numbered, monkeypatch):
    """Neither a text that is no UTF-8, such as the name of a file, nor a cancelled future."""

    async def work(number):
        if number == 0:
            raise OSError("no file \udcff")
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    lines = concurrent(numbered, monkeypatch, work, [0, 1])
    assert sorted(lines) == [
        "begin 0",
        "begin 1",
        "done",
        "fail 0 OSError: no file \\udcff",
        "fail 1 CancelledError:",
    ]


@pytest.mark.parametrize(
    ("more", "error"), [({"limit": 0}, "limit 0"), ({"limit": 2.0}, "limit"), ({"warmup": -1}, "")]
)
def test_wrong_arguments_of_run_requests(more, error):
    with pytest.raises(ValueError, match=rf"^run_requests\(\): {error}"):
        asyncio.run(client.run_requests(None, **more))


def test_sizes_of_requests_are_those_of_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr(client._state, "sizes", None)
    monkeypatch.delenv(client.SIZES, raising=False)
    assert client.sizes(0) == {}
    file = tmp_path / "sizes.csv"
    file.write_text("tokens_in,tokens_out\n7,8\n9,10\n")
    monkeypatch.setenv(client.SIZES, str(file))
    monkeypatch.setattr(client._state, "sizes", None)
    assert [client.sizes(i) for i in range(3)] == [
        {"tokens_in": 7, "tokens_out": 8},
        {"tokens_in": 9, "tokens_out": 10},
        {},
    ]
    file.write_text("tokens_out\n1\n")
    client._arrivals()  # of the next window
    assert client.sizes(0) == {"tokens_out": 1}
    monkeypatch.setattr(client._state, "sizes", None)
