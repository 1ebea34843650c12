"""The worker process of live XQueues: it executes requests from stdin, one a line.

`live_proxy` starts `python -m pytest_xsched.workers.live_worker` in an empty directory with a job.
Each request names a call and its arguments, as JSON. The process writes the answer to the pipe for
messages when the call has returned. The parent handles a call that does not return.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.base.constants import split_device
from pytest_xsched.errors import XSchedError
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import Counts, Hints, Queue, QueueSettings, Run
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX
from pytest_xsched.scenario.workload import Command, read_command
from pytest_xsched.scenario.xsched_settings import XSched, read_xsched
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.heap import heap_bytes
from pytest_xsched.system.scheduler_cost import QUEUES, SCHEDULER, read_cost, run_delay_ns
from pytest_xsched.workers.worker import (
    ANSWER,
    DOING,
    ERROR,
    FAILED,
    JOB,
    OUTPUT,
    READY,
    die_with_parent,
    error_to_dict,
    lock,
    send,
    write,
)
from pytest_xsched.xsched.activation import attach_xsched, check_report


def main() -> int:
    """Open the device of the job, and answer requests until stdin ends."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    die_with_parent(job["parent"])
    libraries = Libraries.from_dict(job["libraries"])
    try:
        if job["lock"]:
            lock(
                [job["device"], *job["others"]],
                libraries,
                job["lock_timeout_s"],
                job["progress_fd"],
            )
        device, *others = _open(job, libraries)
        xsched = read_xsched(job["xsched"])
        live = LiveCalls(device, job["policy"], xsched=xsched, others=others)
    except XSchedError as error:
        write(ERROR, error_to_dict(error))
        return FAILED
    send(job["progress_fd"], READY)
    with open(job["progress_fd"], "w", encoding="utf-8") as answers:
        writing = threading.Lock()

        def answer(request: dict[str, Any]) -> None:
            text = json.dumps({"number": request["number"], **_answer(live, request)})
            with writing:
                answers.write(f"{ANSWER}{text}\n")
                answers.flush()

        def answer_in_thread(request: dict[str, Any]) -> None:
            try:
                answer(request)
            except BaseException:  # as in the main thread, it ends the process
                traceback.print_exc()
                os._exit(1)

        for line in sys.stdin:
            request = json.loads(line)
            if request["main"]:
                answer(request)
            else:  # calls of other threads overlap
                threading.Thread(target=answer_in_thread, args=(request,), daemon=True).start()
    return 0


def _open(job: dict[str, Any], libraries: Libraries) -> list[Device]:
    send(job["progress_fd"], f"{DOING}it opened the device")
    devices = [
        Device(name, cpu=CpuModel(), sim=SimModel(), libraries=libraries)
        for name in (job["device"], *job["others"])
    ]
    xsched = read_xsched(job["xsched"])
    if xsched is not None:
        send(job["progress_fd"], f"{DOING}it loaded XSched")
        attach_xsched(devices, split_device(job["device"])[0], xsched, **job["files"])
        check_report(xsched, Path(OUTPUT).read_text(encoding="utf-8", errors="replace"))
    return devices


def _answer(live: LiveCalls, request: dict[str, Any]) -> dict[str, Any]:
    call: Callable[..., Any] = getattr(live, request["call"])
    try:
        return {"value": call(**request["values"])}
    except XSchedError as error:
        return {"error": error_to_dict(error)}


def _commands(runs: list[tuple[dict[str, Any], int]]) -> list[Command]:
    return [command for data, count in runs for command in [read_command(data)] * count]


class LiveCalls:
    """The calls of `native.run`, on queues that have numbers here; one run at a time."""

    def __init__(
        self, device: Device, policy: str, *, xsched: XSched | None, others: Sequence[Device] = ()
    ) -> None:
        self._device = device
        self._others = others
        self._policy = policy
        self._xsched = xsched
        self._hints: dict[int, dict[str, int]] = {}  # that XSched has, by queue
        self._below = xsched is not None  # XSched launches, and the runner passes commands to it
        self._run: Run | None = None
        self._queues: dict[int, Queue] = {}
        self._held: set[int] = set()

    def open(self) -> None:
        self._run = Run(self._device, self._policy)
        self._run.start(warmup_ns=0, duration_ns=0, drain_ns=0)

    def _queue(self, number: int) -> Queue:
        try:
            return self._queues[number]
        except KeyError:  # another thread destroyed it meanwhile
            raise XSchedError("the queue was destroyed") from None

    def close(self) -> None:
        for number in list(self._queues):
            self.destroy(number)
        if self._run is not None:
            self._run.close()

    def began(self) -> int:
        """Return when the run began, in ns of CLOCK_MONOTONIC, at most some us too early.

        Not too late: a completed request would have ended in the future of the caller's clock.
        """
        assert self._run is not None
        return max(time.monotonic_ns() - self._run.now_ns() for _ in range(5))

    def now(self) -> int:
        """Return the time since the start, for who has another clock."""
        assert self._run is not None
        return self._run.now_ns()

    def advance(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        assert self._run is not None
        self._run.advance(duration_ns)

    def close_device(self) -> None:
        for device in (self._device, *self._others):
            device.close()

    def cpu(self) -> int:
        return time.process_time_ns()

    def cost(self) -> list[list[int]]:
        return read_cost(SCHEDULER if self._below else QUEUES).rows()

    def delay(self) -> int:
        return run_delay_ns()

    def heap(self) -> int | None:
        return heap_bytes()

    def set_policy(self, policy: str) -> None:
        """Set another policy; XSched's forgets all hints, so the queues get them again."""
        assert self._run is not None
        if self._xsched is None:
            self._run.set_policy(policy)
            return
        self._device.change_policy(dataclasses.replace(self._xsched, policy=policy))
        for number, queue in list(self._queues.items()):
            for name, value in self._hints.get(number, {}).items():
                getattr(queue, f"set_{name}")(value)

    def switch_off(self) -> None:
        assert self._run is not None
        self._run.switch_off()

    def add(self, queue: int, settings: dict[str, Any]) -> None:
        assert self._run is not None
        given = QueueSettings(**{**settings, "hints": Hints(**settings["hints"])})
        if self._below:
            hints = dataclasses.replace(
                given.hints, threshold=given.threshold, batch_size=given.batch_size
            )
            given = dataclasses.replace(given, hints=hints, threshold=THRESHOLD_MAX, batch_size=1)
        if settings["device"] is not None:
            given = dataclasses.replace(given, device=self._others[settings["device"] - 1])
        self._queues[queue] = self._run.add_manual(given)
        has = self._hints[queue] = {}
        if not given.hints.without_priority:
            has["priority"] = given.priority
        if given.hints.deadline_ns:
            has["deadline"] = given.hints.deadline_ns
        if given.hints.laxity_ns:
            has["laxity"] = given.hints.laxity_ns
        if given.hints.utilization:
            has["utilization"] = given.hints.utilization

    def submit(
        self,
        queue: int,
        commands: list[tuple[dict[str, Any], int]],
        after: tuple[int, int] | None = None,
    ) -> int:
        return self._queue(queue).submit(
            _commands(commands), None if after is None else (self._queue(after[0]), after[1])
        )

    def start_load(
        self, queue: int, commands: list[tuple[dict[str, Any], int]], most: int, every_ns: int
    ) -> None:
        self._queue(queue).start_load(_commands(commands), most, every_ns)

    def stop_load(self, queue: int) -> int:
        return self._queue(queue).stop_load()

    def submit_times(
        self, queue: int, commands: list[tuple[dict[str, Any], int]], times: int
    ) -> list[int]:
        return self._queue(queue).submit_times(_commands(commands), times)

    def wait(self, queue: int, ticket: int, timeout_ns: int) -> tuple[int, ...] | None:
        return self._queue(queue).wait(ticket, timeout_ns)

    def suspend(self, queue: int) -> int:
        took_ns = self._queue(queue).suspend()
        self._held.add(queue)
        return took_ns

    def resume(self, queue: int) -> int:
        took_ns = self._queue(queue).resume()
        self._held.discard(queue)
        return took_ns

    def set_priority(self, queue: int, priority: int) -> None:
        self._queue(queue).set_priority(priority)
        self._note_hint(queue, "priority", priority)

    def set_deadline(self, queue: int, deadline_ns: int) -> None:
        self._queue(queue).set_deadline(deadline_ns)
        self._note_hint(queue, "deadline", deadline_ns)

    def set_laxity(self, queue: int, laxity_ns: int) -> None:
        self._queue(queue).set_laxity(laxity_ns)
        self._note_hint(queue, "laxity", laxity_ns)

    def set_utilization(self, queue: int, percent: int) -> None:
        self._queue(queue).set_utilization(percent)
        self._note_hint(queue, "utilization", percent)

    def _note_hint(self, queue: int, name: str, value: int) -> None:
        """Note a hint, unless another thread destroyed the queue meanwhile."""
        if (hints := self._hints.get(queue)) is not None:
            hints[name] = value

    def set_depth(self, queue: int, threshold: int, batch_size: int) -> None:
        self._queue(queue).set_depth(threshold, batch_size)

    def counts(self, queue: int) -> dict[str, Any]:
        counts = self._queue(queue).counts()
        return dataclasses.asdict(self._seen_below(queue, counts) if self._below else counts)

    def _seen_below(self, queue: int, counts: Counts) -> Counts:
        """Return the counts with XSched's.

        The order of reading is that of the counts: completed <= launched <= submitted.
        """
        below = self._queue(queue).scheduler_counts()
        counts = dataclasses.replace(
            self._queue(queue).counts(),
            completed=counts.completed,
            requests_completed=counts.requests_completed,
            launched=below.launched,
            most_in_flight=below.in_flight,
        )
        # XSched does not report suspended queues, so this is the state that the user set.
        held = queue in self._held
        return dataclasses.replace(counts, state="suspended") if held else counts

    def destroy(self, queue: int) -> None:
        self._hints.pop(queue, None)
        self._queue(queue).destroy()
        self._queues.pop(queue, None)
        self._held.discard(queue)


if __name__ == "__main__":
    sys.exit(main())
