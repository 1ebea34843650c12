"""Live XQueues in a worker process: each call of `native.run` is one request and one answer.

If a call does not return in time, the process is killed, and the error names the call. If the
process ends by itself, the error names the call, too. After that every call raises this error.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.base.units import Duration
from pytest_xsched.errors import WorkerCrashed, WorkerHung, XSchedError
from pytest_xsched.native.run import Counts, QueueSettings
from pytest_xsched.scenario.workload import Command
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.scheduler_cost import SchedulerCost
from pytest_xsched.workers.isolated import GRACE_S, POLL_S, SET_UP_S
from pytest_xsched.workers.worker_process import (
    Environment,
    WorkerMessages,
    WorkerProcess,
    error_from_dict,
)
from pytest_xsched.xsched.installation import Files

_DOING = {
    "open": "opening live queues",
    "close": "destroying all queues",
    "began": "reading the clock",
    "now": "reading the clock",
    "advance": "letting time pass",
    "cpu": "reading its processor time",
    "heap": "reading how much memory it has",
    "cost": "reading the counters of its threads",
    "delay": "reading how long its threads had no processor",
    "switch_off": "switching the scheduler off",
    "set_policy": "setting another policy",
    "add": "making",
    "submit": "submitting to",
    "start_load": "starting a load on",
    "stop_load": "stopping the load of",
    "submit_times": "submitting to",
    "wait": "waiting for",
    "suspend": "suspending",
    "resume": "resuming",
    "set_priority": "setting the priority of",
    "set_deadline": "setting the deadline of",
    "set_laxity": "setting the laxity of",
    "set_utilization": "setting the utilization of",
    "set_depth": "setting the launch configuration of",
    "counts": "counting the commands of",
    "destroy": "destroying",
}
"""Each call in words; the name of a queue follows where the call is about one."""


class LiveProcess:
    """A worker process with an open device, scheduled by XSched or not.

    Args:
        device: name of the device.
        libraries: of the GPU.
        lock: whether to lock the GPU, after waiting for other measurements there.
        lock_timeout_s: longest wait for the lock.
        policy: of the queues, without XSched.
        xsched: how XSched schedules them; None: without XSched.
        files: the libraries of XSched that the process loads.
        environment: how its environment differs from that of this process.
        patience_ns: how long a call may take, in addition to a wait that it requests.
        waiting: called with a phrase while another process measures on the GPU.
        others: names of further devices.

    Raises:
        WorkerCrashed: the process ended.
        XSchedError: the process raised it.
    """

    is_virtual = False
    takes_overlapping_calls = True

    def __init__(
        self,
        device: str,
        *,
        libraries: Libraries,
        lock: bool,
        lock_timeout_s: float,
        policy: str,
        xsched: XSched | None,
        files: Files | None,
        environment: Environment | None,
        patience_ns: int,
        waiting: Callable[[str], None] | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self.others = range(1, 1 + len(others))
        self._name = "XSched" if xsched else f"the device {device!r}"
        self._patience_ns = self._allowed_ns = patience_ns
        self._main = threading.get_ident()
        self._numbers = itertools.count()
        self._open: dict[int, str] = {}  # calls that have not returned, in words
        self._answers: dict[int, dict[str, Any]] = {}
        self._writing, self._listening = threading.Lock(), threading.Lock()
        self._over: XSchedError | None = None
        self._directory = TemporaryDirectory()
        self._messages = WorkerMessages(SET_UP_S, GRACE_S, None, waiting)
        job = {
            "device": device,
            "others": list(others),
            "libraries": libraries.to_dict(),
            "lock": lock,
            "lock_timeout_s": lock_timeout_s,
            "policy": policy,
            "xsched": None if xsched is None else dataclasses.asdict(xsched),
            "files": None if files is None else dataclasses.asdict(files),
        }
        self._worker = WorkerProcess(
            Path(self._directory.name),
            job,
            messages=self._messages,
            environment=environment,
            module="pytest_xsched.workers.live_worker",
        )
        try:
            self._listen_until(lambda: "ready" in self._messages.reached)
        except BaseException:
            self.close()
            raise

    @property
    def is_over(self) -> bool:
        """Check whether the process has ended."""
        return self._over is not None

    def limit_calls(self, most_ns: int | None) -> None:
        """Limit how long a call may take, to less than `patience_ns`; None: no longer."""
        self._allowed_ns = self._patience_ns if most_ns is None else min(self._patience_ns, most_ns)

    def open_run(self) -> RemoteRun:
        """Open a run in the process, after the previous one was closed."""
        self.call("open")
        return RemoteRun(self)

    def call(self, call: str, of: str = "", *, allowed_ns: int = 0, **values: Any) -> Any:
        """Call a function in the process and return its result.

        Args:
            call: name of a method of `live_worker.LiveCalls`.
            of: name of the queue, for messages.
            allowed_ns: the wait that the call requests.
            values: arguments of the method.

        Raises:
            WorkerHung: it did not return in time.
            WorkerCrashed: the process ended.
            XSchedError: the process raised it.
        """
        if self._over is not None:
            raise self._over
        number = next(self._numbers)
        doing = _DOING[call] + (f" queue {of!r}" if of else "")
        is_main = threading.get_ident() == self._main
        request = {"number": number, "main": is_main, "call": call, "values": values}
        # Other threads of this process may call at the same time.
        with self._writing:
            self._open[number] = doing
            self._messages.doing = doing
            self._worker.write_line(json.dumps(request))
        try:
            answer = self._await(number, time.monotonic() + (allowed_ns + self._allowed_ns) / 1e9)
        finally:
            self._open.pop(number, None)
        if "error" in answer:
            raise error_from_dict(answer["error"])
        return answer["value"]

    def _await(self, number: int, limit_s: float) -> dict[str, Any]:
        """Return the answer to a request; one thread at a time reads the answers of all."""
        while (answer := self._answers.pop(number, None)) is None:
            if not self._listening.acquire(timeout=POLL_S / 10):
                continue
            try:
                if self._over is not None:
                    raise self._over
                if number not in self._answers:
                    self._listen(number, limit_s)
            finally:
                self._listening.release()
        return answer

    def _listen(self, number: int, limit_s: float) -> None:
        is_running = self._worker.is_running()
        if is_running and not self._messages.answers:
            if time.monotonic() > limit_s:
                self._worker.allow(-1)
                self._worker.is_late()  # so it gets no time to end by itself
                self._end(self._hung(self._open[number]))
            self._worker.listen(POLL_S)
        while self._messages.answers:
            found = json.loads(self._messages.answers.pop(0))
            self._answers[found["number"]] = found
        if not is_running and number not in self._answers:
            self._worker.end()
            self._end(self._worker.error() or self._worker.crash())

    def _end(self, error: XSchedError) -> None:
        self._worker.end()
        self._over = error
        raise error

    def _listen_until(self, heard: Callable[[], bool]) -> None:
        while self._worker.is_running() and not heard():
            if self._worker.is_late():
                self._worker.end()
                self._over = self._worker.crash()
                raise self._over
            self._worker.listen(POLL_S)
        if not heard():
            self._worker.end()
            self._over = self._worker.error() or self._worker.crash()
            raise self._over

    def _hung(self, doing: str) -> WorkerCrashed:
        others = [other for other in self._open.values() if other != doing]
        also = f"; {' and '.join(others)} had not returned either" if others else ""
        error = WorkerHung(
            f"{self._name} did not return from {doing} within {Duration(self._allowed_ns)}{also}"
        )
        error.thread = threading.get_ident()  # calls of other threads raise it, too
        return error

    def close(self) -> None:
        """Stop the process."""
        self._worker.end()
        self._directory.cleanup()
        if self._over is None:
            self._over = XSchedError("the run was closed")


class Caller(Protocol):
    """What calls functions of `live_worker.LiveCalls` for the runs and queues below."""

    @property
    def is_over(self) -> bool: ...
    def call(self, call: str, of: str = "", *, allowed_ns: int = 0, **values: Any) -> Any: ...


class RemoteRun:
    """A run in another process, with the methods of `native.run.Run`.

    Args:
        process: calls its functions.
        clock: what reads the time since its start; None: both processes have the same clock.
        is_virtual: whether time passes only on request.
    """

    def __init__(
        self,
        process: Caller,
        *,
        clock: Callable[[], int] | None = None,
        is_virtual: bool = False,
    ) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._queues: list[RemoteQueue] = []
        self._is_virtual = is_virtual
        self._began_ns: int = process.call("began") if clock is None else 0
        self._clock = clock or time.monotonic_ns

    def add_manual(self, settings: QueueSettings) -> RemoteQueue:
        """Add a queue whose requests come from `RemoteQueue.submit`."""
        number = next(self._numbers)
        names = (
            *("name", "priority", "stream_priority", "threshold", "batch_size", "seed"),
            "launch_ns",
        )
        given = {name: getattr(settings, name) for name in names}
        given["device"] = settings.device
        given["hints"] = dataclasses.asdict(settings.hints)
        self._process.call("add", settings.name, queue=number, settings=given)
        self._queues.append(RemoteQueue(self._process, settings.name, number))
        return self._queues[-1]

    def now_ns(self) -> int:
        """Return the time since the start."""
        return self._clock() - self._began_ns

    def set_policy(self, policy: str) -> None:
        """Set another policy, of XSched where that schedules the queues."""
        self._process.call("set_policy", policy=policy)

    def switch_off(self) -> None:
        """Remove the policy, until the end of the run."""
        self._process.call("switch_off")

    def cpu_ns(self) -> int:
        """Return the processor time that the process has used, in ns."""
        used_ns: int = self._process.call("cpu")
        return used_ns

    def cost(self) -> SchedulerCost:
        """Return what the threads of the scheduler in the process have used so far."""
        return SchedulerCost.from_rows(self._process.call("cost"))

    def run_delay_ns(self) -> int:
        """Return how long threads of the process had to wait for a processor, in ns."""
        delay_ns: int = self._process.call("delay")
        return delay_ns

    def heap_bytes(self) -> int | None:
        """Return the memory that malloc has given to the process; None: not known."""
        found: int | None = self._process.call("heap")
        return found

    def advance(self, duration_ns: int) -> None:
        """Let time pass: virtual time at once, real time by sleeping."""
        if self._is_virtual:
            self._process.call("advance", duration_ns=duration_ns)
        else:
            time.sleep(duration_ns / 1e9)

    def close(self) -> None:
        """Destroy the remaining queues."""
        for queue in self._queues:
            queue.forget()
        if not self._process.is_over:  # else an error was raised
            self._process.call("close")


def _runs(commands: Sequence[Command]) -> list[tuple[dict[str, Any], int]]:
    """Return runs of equal commands: each with its count, for JSON."""
    return [
        (dataclasses.asdict(command), len(list(equal)))
        for command, equal in itertools.groupby(commands)
    ]


class RemoteQueue:
    """A queue in another process, with the methods of `native.run.Queue`."""

    def __init__(self, process: Caller, name: str, number: int) -> None:
        self._process = process
        self._name = name
        self._number = number
        self._gone = False

    def _call(self, call: str, *, allowed_ns: int = 0, **values: Any) -> Any:
        if self._gone:
            raise XSchedError("the queue was destroyed")
        return self._process.call(
            call, self._name, allowed_ns=allowed_ns, queue=self._number, **values
        )

    def counts(self) -> Counts:
        """Return counts of commands and requests; XSched's own where XSched launches."""
        return Counts(**self._call("counts"))

    def set_priority(self, priority: int) -> None:
        """Change the priority that the policy sees."""
        self._call("set_priority", priority=priority)

    def set_deadline(self, deadline_ns: int) -> None:
        """Change the deadline that the policy sees, in ns; 0: none."""
        self._call("set_deadline", deadline_ns=deadline_ns)

    def set_laxity(self, laxity_ns: int) -> None:
        """Change the laxity that the policy sees, in ns."""
        self._call("set_laxity", laxity_ns=laxity_ns)

    def set_utilization(self, percent: int) -> None:
        """Change the share of the device that the policy sees, in percent."""
        self._call("set_utilization", percent=percent)

    def suspend(self) -> int:
        """Launch nothing until `resume`; return how long the call took there, in ns."""
        took_ns: int = self._call("suspend")
        return took_ns

    def resume(self) -> int:
        """Undo `suspend`; the policy may still suspend the queue. Return as `suspend` does."""
        took_ns: int = self._call("resume")
        return took_ns

    def submit(
        self, commands: Sequence[Command], after: tuple[RemoteQueue, int] | None = None
    ) -> int:
        """Submit one request, after a ticket of another queue; return its ticket, from 0."""
        waits = None if after is None else (after[0]._number, after[1])
        number: int = self._call("submit", commands=_runs(commands), after=waits)
        return number

    def start_load(self, commands: Sequence[Command], most: int, every_ns: int) -> None:
        """Start a load in the background."""
        self._call("start_load", commands=_runs(commands), most=most, every_ns=every_ns)

    def stop_load(self) -> int:
        """Stop the load in the background, and return the count of all requests so far."""
        count: int = self._call("stop_load")
        return count

    def submit_times(self, commands: Sequence[Command], times: int) -> list[int]:
        """Submit several equal requests, and return their tickets."""
        tickets: list[int] = self._call("submit_times", commands=_runs(commands), times=times)
        return tickets

    def wait(self, ticket: int, timeout_ns: int) -> tuple[int, int, int, int] | None:
        """Wait for a ticket; return its scheduled, submitted, launched, completed ns, or None."""
        times = self._call("wait", allowed_ns=timeout_ns, ticket=ticket, timeout_ns=timeout_ns)
        if times is None:
            return None
        scheduled, submitted, launched, completed = times
        return scheduled, submitted, launched, completed

    def set_depth(self, threshold: int, batch_size: int) -> None:
        """Set the threshold of commands in flight and the batch size between marks."""
        self._call("set_depth", threshold=threshold, batch_size=batch_size)

    def destroy(self, work_ns: int = 0) -> None:
        """Free the queue. XSched first launches what was submitted.

        Args:
            work_ns: how long the work of the queue may take, before the limit of the call begins.
        """
        if not self._gone:
            self._call("destroy", allowed_ns=work_ns)
        self.forget()

    def forget(self) -> None:
        """Mark the queue as destroyed: every later call raises."""
        self._gone = True
