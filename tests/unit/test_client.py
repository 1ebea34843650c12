"""The client of programs: its warm-up before it is ready, on a clock made by hand."""

from __future__ import annotations

import itertools
import os

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
    harness.start(S, 2 * S)
    assert next(client.requests(warmup=1)) == 0
    assert not {client.REPORT, client.START, client.AGAIN} & set(os.environ)
