"""A program of the user as one process of a run: start it, time its requests, stop it.

It has the methods of `WorkerProcess` that `multi_process` calls. `client` describes the messages
that a program writes. Of a program that writes none, only its processes can be inspected.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypedDict

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import GPUS, visible_devices
from pytest_xsched.client import (
    AGAIN,
    ARRIVALS,
    PROTOCOL,
    REPORT,
    SIZES,
    START,
    THINK_NS,
    WARM_UP,
)
from pytest_xsched.clients import load
from pytest_xsched.errors import InvalidRun, ScenarioError, WorkerCrashed
from pytest_xsched.models.eager_program import error_of as model_error
from pytest_xsched.models.eager_program import variables as model_variables
from pytest_xsched.models.factory import Place
from pytest_xsched.monitoring.environment import MappedLibrary, driver_libraries
from pytest_xsched.native.binding import DRAIN, FAILED, WARMUP
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.arrival_times import arrival_times, request_sizes
from pytest_xsched.scenario.endpoint import Endpoint
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system import exec_with_parent
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.system.process_tree import kill_marked
from pytest_xsched.workers.mps import without_mps
from pytest_xsched.workers.program_reports import VERSIONS, ProgramReports
from pytest_xsched.workers.program_samples import (
    ProgramResult,
    counts_of,
    longest_stall,
    make_numbered_samples,
    make_samples,
    milestones_until,
)
from pytest_xsched.workers.worker import LEFT, READY
from pytest_xsched.workers.worker_process import OUTPUT_BYTES, end_of_output, last_words
from pytest_xsched.xsched.preload import (
    Preload,
    ProcessRecord,
    drivers_of,
    processes_of_session,
    require_active,
)
from pytest_xsched.xsched.server_poll import Coverage, ServerPoller

_PATIENCE_S = 1.0
"""Time between SIGTERM and SIGKILL to a program."""

MARK = "PYTEST_XSCHED_PROGRAM"
"""A variable that all processes of a program inherit, those that leave its session, too. They are
found by it when the run ends. Not found is one that was started with an emptied environment."""

_PIPE_BYTES = 1024 * 1024
"""Room for what a program reports: 2 s of 15,000 lines a second, before it would have to wait."""

_OUTPUT_LIMIT = 64 * 1024 * 1024
"""The output file is cut down to its end when it is longer."""


class ProgramProcess(ManagedProcess):
    """One program, from its start to its end, over one window of a run or several.

    Args:
        directory: for its output and its arrivals.
        scenario: of the window.
        index: of its queue.
        setting: how XSched is preloaded under it; None: it is not.
        sharing: variables by which it is a client of MPS, or is none, in place of those that it
            would inherit; None: it inherits them.
        allowed_s: time until it has to be ready.
        may_go_on: whether there may be further windows.
    """

    line_bytes = 4096
    kind = "the program"
    """What it is, in messages."""

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        index: int,
        *,
        setting: Preload | None,
        sharing: dict[str, str] | None = None,
        allowed_s: float,
        may_go_on: bool = False,
    ) -> None:
        self.scenario = scenario
        self.spec = scenario.queues[index]
        self.index = index
        self._directory = directory
        self._may_go_on = may_go_on
        self._made_xqueue = False
        self._program, self._endpoint = self._program_of(self.spec)
        if self._endpoint is not None:
            load.require_packages(self._endpoint)
        self._setting = setting
        self._sharing = sharing
        self.is_cold = False
        """Whether a run has ended since it was ready: it warms up again before the next one."""
        self._started_for = _start_of(scenario, index)
        self._output_path = directory / "output.txt"
        self._stop_requested = False
        self._start_ns: int | None = None
        self._mark = f"{os.getpid()}-{index}-{secrets.token_hex(8)}"
        self._processes: dict[int, ProcessRecord] = {}
        self._arrivals_ns = _arrivals(scenario, index)
        self._reports = self._new_reports()
        self.reached: set[str] = set()
        self.allowed_s = allowed_s
        super().__init__(allowed_s)
        with contextlib.suppress(OSError):  # users may have a limit; a smaller pipe works, too
            fcntl.fcntl(self.messages_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            variables = self._variables()
            inherited = dict(os.environ) if setting is None else _without(setting)
            if sharing is not None:
                inherited = without_mps(inherited)
            with open(self._output_path, "ab") as output:
                # It leads a session of its own, and so all its processes can be found and ended.
                self.start(
                    exec_with_parent.command_line(list(self._program.argv), variables),
                    environment=inherited,
                    output=output,
                    inherits=(self.messages_fd, self.input_fd),
                )
        except BaseException:
            self.stop(0)
            raise

    def _program_of(self, spec: QueueSpec) -> tuple[Program, Endpoint | None]:
        """Return the program of a queue, and the endpoint where it is a load process."""
        program = spec.workload.own_program
        assert program is not None
        return program, spec.workload.endpoint

    def _new_reports(self, version: int | None = None) -> ProgramReports:
        arrivals_ns = None if self._arrivals_ns is None else self._arrivals_ns.tolist()
        return ProgramReports(
            arrivals_ns,
            names=self.spec.workload.milestone_names,
            may_go_on=self._may_go_on,
            version=version,
        )

    def _variables(self) -> dict[str, str]:
        variables = dict(self._program.env) if self._setting is None else self._setting.variables
        seen = visible_devices(self.scenario.device)
        variables = {**seen, **(self._sharing or {}), **variables, MARK: self._mark}
        if self.spec.workload.model is not None:
            variables |= model_variables(self.scenario.device)
        if self._endpoint is not None:
            variables |= load.variables()
        if not self._program.reports:
            return variables
        protocol = {REPORT: str(self.messages_fd), START: str(self.input_fd)}
        protocol |= {AGAIN: "1" if self._may_go_on else "0", PROTOCOL: str(VERSIONS[-1])}
        if self._arrivals_ns is not None:
            protocol |= self._write_arrivals(self._arrivals_ns)
        elif isinstance(self.spec.arrivals, Closed):
            protocol[THINK_NS] = str(self.spec.arrivals.think_ns)
        return {**variables, **protocol}

    def _write_arrivals(self, arrivals_ns: NDArray[np.int64]) -> dict[str, str]:
        """Write the files of a window; return the variables with their names."""
        path = self._directory / "arrivals.txt"
        np.savetxt(path, arrivals_ns, fmt="%d")
        variables = {ARRIVALS: str(path)}
        sizes = _sizes(self.scenario, self.index)
        if sizes:
            variables[SIZES] = str(self._directory / "sizes.csv")
            np.savetxt(
                variables[SIZES],
                np.column_stack(list(sizes.values())),
                fmt="%d",
                delimiter=",",
                header=",".join(sizes),
                comments="",
            )
        return variables

    # ---- what `multi_process` calls

    def is_running(self) -> bool:
        """Check whether the program runs; if it has ended, all its messages were received."""
        if super().is_running():
            return True
        self._check_whether_done()
        return False

    def listen(self, timeout_s: float) -> None:
        """Receive its messages, or wait for them."""
        super().listen(timeout_s)
        if not self._program.reports and READY not in self.reached and self._has_begun():
            self.reached.add(READY)
        self._check_whether_done()
        self._bound_output()

    def begin(self, start_clock_ns: int) -> None:
        """Send it the moment of the start and the end of the measured window."""
        self._start_ns = start_clock_ns
        self._reports.start(start_clock_ns)
        self.allow(self.allowed_s)
        end_ns = start_clock_ns + self.scenario.warmup_ns + self.scenario.duration_ns
        self.write_line(f"{start_clock_ns} {end_ns}")

    def goes_on(self) -> bool:
        """Check whether it has done its requests and waits for another window."""
        return self.is_running() and self._is_done() and self._reports.is_ready_again

    def can_go_on(self) -> bool:
        """Check whether it waits for another window, or may report within a moment that it does."""
        return self._may_go_on and self._is_done() and self.is_running()

    def renew(self, scenario: Scenario, index: int, *, allowed_s: float) -> bool:
        """Prepare it for another window; return False if it cannot do that one.

        Raises:
            InvalidRun: it reported what cannot be true since its last window.
        """
        self.drain()
        self._require_true()
        if not self.goes_on() or self._started_for != _start_of(scenario, index):
            return False
        self.scenario, self.index, self.spec = scenario, index, scenario.queues[index]
        self._arrivals_ns = _arrivals(scenario, self.index)
        if self._arrivals_ns is not None:
            self._write_arrivals(self._arrivals_ns)
        self._reports = self._new_reports(None if self.is_cold else self._reports.version)
        self._start_ns = None
        self.reached = set() if self.is_cold else {READY}
        self.allowed_s = allowed_s
        self.allow(allowed_s)
        if self.is_cold:
            self.write_line(WARM_UP)
            self.is_cold = False
        return True

    @property
    def processes(self) -> frozenset[int]:
        """Return the ids of its processes that were seen, those that have ended, too."""
        return frozenset(self._processes)

    def request_stop(self) -> None:
        """Close its input, so that it may end; send SIGTERM to a program that has not done all."""
        if self._stop_requested:
            return
        self._stop_requested = True
        self._record_processes()
        self.close_input()
        if not self._is_done():
            self.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Stop all its processes."""
        self.request_stop()
        if not self.stop(_PATIENCE_S):
            self.is_in_time = False
        kill_marked(f"{MARK}={self._mark}")

    def result(self, created: str | None, poller: ServerPoller | None = None) -> ProgramResult:
        """Return its result, after it has ended, or while it waits for another window.

        Args:
            created: the output of the server, in which XSched reports new XQueues; None: no server.
            poller: of XSched's server during the run; None: there is no server.

        Raises:
            InvalidRun: it reported what cannot be true.
            SchedulerInactive: XSched did not schedule the program.
            ScenarioError: its model is wrong.
            WorkerCrashed: it ended before the run did.
        """
        self._require_true()
        output = self._output()
        if LEFT in self.reached or "cannot be preloaded" in output:
            self._require_active(output, created)
        self._require_whole(output)
        # While it runs, or after it failed, its last line may be cut off.
        if self.has_exit_status and self.exit_status == 0:
            self._reports.read_unfinished(self.unfinished, is_over=True)
            self._require_true()
        return dataclasses.replace(
            self._requests(),
            remark=self.remark(),
            output=output,
            libraries=self._libraries(),
            files=tuple(sorted({path for one in self._processes.values() for path in one.files})),
            coverage=None if poller is None or self._setting is None else self._coverage(poller),
        )

    def is_absent(self, on_gpu: Collection[int]) -> bool:
        """Check whether none of its processes is among those of the run on a GPU; see `noise`."""
        is_elsewhere = self._endpoint is not None  # the server is another process
        return bool(on_gpu) and self.pid not in on_gpu and not is_elsewhere

    # ---- inside

    def _require_active(self, output: str, created: str | None) -> None:
        xsched = self.scenario.xsched
        if self._setting is None or xsched is None:
            return
        reports = {"global": created, "local": output, "app": None}[xsched.scheduler]
        if self._made_xqueue:  # in an earlier window; the output may have become too long since
            reports = None
        seen = list(self._processes.values())
        kind = self.scenario.device_kind
        require_active(self._setting, kind, self.spec.name, output, seen, reports)
        self._made_xqueue = True

    @property
    def _who(self) -> str:
        what = "program" if self._endpoint is None else "load process"
        return f"the {what} of queue {self.spec.name!r}"

    def _require_true(self) -> None:
        if self._reports.fault:
            raise InvalidRun(f"{self._who} reported what cannot be true: {self._reports.fault}")

    def _require_whole(self, output: str) -> None:
        if LEFT in self.reached:
            return
        if self.spec.workload.model is not None and (sentence := model_error(output)):
            raise ScenarioError(f"queue {self.spec.name!r}: {sentence}")
        if self._endpoint is not None and (sentence := load.error_of(output)):
            raise ScenarioError(f"queue {self.spec.name!r}: {sentence}")
        status = self.exit_status
        when = "before the run did" if READY in self.reached else "before it was ready"
        if not self.is_in_time:
            self._raise_late(output)
        how = f"{describe_exit(status)} {when}"
        if status == 0 and READY not in self.reached and self._program.reports:
            how += " (its loop `for _ in requests():` of pytest_xsched.client reports that)"
        raise WorkerCrashed(f"{self._who} {how}{last_words(output)}", returncode=status)

    def _raise_late(self, output: str) -> NoReturn:
        silent = ""
        if self._endpoint is not None:
            silent = " (it first sends up to 50 requests, one after the other)"
        elif self._program.reports:
            silent = " (its first call of requests() reports that, after a warm-up)"
        raise WorkerCrashed(
            f"{self._who} was not ready in time{silent}{last_words(output)}",
            returncode=self.exit_status,
        )

    def _coverage(self, poller: ServerPoller) -> Coverage:
        assert self._start_ns is not None
        start, end = (self._start_ns + at for at in self._window_ns)
        requests = None
        if self._program.reports:
            requests = self._reports.spans(end)
        return poller.coverage_of(self.pid, (start, end), requests)

    def remark(self) -> str:
        """Describe how it ended after its last request; '' if it did so well, or still runs."""
        if not self.has_exit_status or not self._is_done():
            return ""
        status = self.exit_status
        if status == 0 and self.is_in_time:
            return ""
        how = describe_exit(status) if self.is_in_time else "did not end and was killed"
        return f"{self._who} {how}, after its last request{last_words(self._output())}"

    def receive(self, messages: Sequence[str]) -> None:
        """Take in what it reports; see `client`."""
        read_ns = time.monotonic_ns()
        for message in messages:
            self._reports.read(message, read_ns)
        if self._reports.is_ready and READY not in self.reached:
            self.reached.add(READY)
            self._record_processes()
        self._stop_liar()

    def receive_unfinished(self, start_of_line: str) -> None:
        """Take in the start of a line that is too long."""
        self._reports.read_unfinished(start_of_line, is_over=False)
        self._stop_liar()

    def _stop_liar(self) -> None:
        if self._reports.fault:  # the rest of the run is worth nothing
            self.send_signal(signal.SIGKILL)

    def _has_begun(self) -> bool:
        """Check whether a program without messages has opened its GPU, where it has one."""
        kind = self.scenario.device_kind
        if kind not in GPUS:
            return True
        self._record_processes()
        return any(drivers_of(seen, kind) for seen in self._processes.values())

    def _record_processes(self) -> None:
        if not self.has_ended():
            self._processes |= {one.pid: one for one in processes_of_session(self.pid)}

    def _libraries(self) -> tuple[MappedLibrary, ...]:
        return driver_libraries(path for one in self._processes.values() for path in one.files)

    def _is_done(self) -> bool:
        return self._reports.is_done

    def _check_whether_done(self) -> None:
        if self._start_ns is None or LEFT in self.reached:
            return
        now_ns = time.monotonic_ns() - self._start_ns
        window_ns = self.scenario.warmup_ns + self.scenario.duration_ns
        over_ns = window_ns + (self.scenario.drain_ns if self._program.reports else 0)
        if self._is_done() or now_ns >= over_ns:
            self._record_processes()
            self.reached.add(LEFT)

    def _output(self) -> str:
        return end_of_output(self._output_path)

    def _bound_output(self) -> None:
        if os.path.getsize(self._output_path) > _OUTPUT_LIMIT:
            with open(self._output_path, "r+b") as file:
                file.seek(-OUTPUT_BYTES, os.SEEK_END)
                end = file.read(OUTPUT_BYTES)
                file.truncate(0)
                file.seek(0)
                file.write(end)

    def _requests(self) -> ProgramResult:
        """Return what it reported of its requests, and nothing else."""
        assert self._start_ns is not None
        span = _Span(window_ns=self._window_ns, over_ns=self._over_ns)
        priority, numbered = self.spec.priority, self._reports.numbered
        if numbered is None:
            begun = np.asarray(self._reports.begun_ns, np.int64) - self._start_ns
            ended = np.asarray(self._reports.ended_ns, np.int64) - self._start_ns
            scheduled = begun if self._arrivals_ns is None else self._arrivals_ns
            samples = make_samples(scheduled, begun, ended, **span)
            return ProgramResult(counts=counts_of(priority, samples, **span), samples=samples)
        times = numbered.times()
        begun = times.begun_ns - self._start_ns
        scheduled = begun if self._arrivals_ns is None else self._arrivals_ns
        samples = make_numbered_samples(scheduled, times, self._start_ns, **span)
        milestones = milestones_until(self._over_ns, numbered.milestones())
        stall_ns = longest_stall(samples, times, milestones, self._start_ns, **span)
        return ProgramResult(
            counts=counts_of(priority, samples, **span, longest_stall_ns=stall_ns),
            samples=samples,
            milestones=milestones,
            failures=numbered.reasons(samples["flags"] & (WARMUP | DRAIN | FAILED) == FAILED),
        )

    @property
    def _window_ns(self) -> tuple[int, int]:
        return self.scenario.warmup_ns, self.scenario.warmup_ns + self.scenario.duration_ns

    @property
    def _over_ns(self) -> int:
        return self._window_ns[1] + self.scenario.drain_ns


def _start_of(scenario: Scenario, index: int) -> tuple[object, ...]:
    """Return what decides how the program of a queue is started."""
    spec = scenario.queues[index]
    think_ns = spec.arrivals.think_ns if isinstance(spec.arrivals, Closed) else None
    has_sizes = bool(_sizes(scenario, index))
    place = Place.here()
    return spec.workload.own_program, scenario.device, think_ns, has_sizes, place


class _Span(TypedDict):
    window_ns: tuple[int, int]
    over_ns: int


def _sizes(scenario: Scenario, index: int) -> Mapping[str, NDArray[np.int64]]:
    """Return the sizes of the requests of a window, by the names of their columns; or nothing."""
    return request_sizes(scenario.queues[index].arrivals, duration_ns=scenario.duration_ns)


def _arrivals(scenario: Scenario, index: int) -> NDArray[np.int64] | None:
    spec = scenario.queues[index]
    if isinstance(spec.arrivals, Closed):
        return None
    return arrival_times(
        spec.arrivals,
        warmup_ns=scenario.warmup_ns,
        duration_ns=scenario.duration_ns,
        seed=scenario.seed,
        name=spec.name,
    )


def _without(setting: Preload) -> dict[str, str]:
    """Return what the program inherits: without the variables that `exec_with_parent` sets."""
    return {k: v for k, v in setting.environment.items() if k not in setting.variables}
