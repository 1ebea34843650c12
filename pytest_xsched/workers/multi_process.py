"""Measure a run in several processes at once: one lock, a barrier, one clock, one result a window.

The first process is always a worker. It locks the GPUs before the others are started, and it is the
last to end. Each process sets up its queues and waits. When all are ready, they receive one moment
of the monotonic clock, which is time 0 for all of them. No process tears anything down before all
have finished.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pytest_xsched.base.constants import APART
from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.monitoring.mps_clients import MpsClients, bypass_fault
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.servers import Server as ServerSpec
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.workers.isolated import GRACE_S, POLL_S, SET_UP_S, make_job, run_s
from pytest_xsched.workers.mps import FAMILY, NO_DAEMON, PIPE, MpsDaemon
from pytest_xsched.workers.program_process import ProgramProcess
from pytest_xsched.workers.program_samples import ProgramResult
from pytest_xsched.workers.server_process import ServerProcess
from pytest_xsched.workers.united import unite
from pytest_xsched.workers.worker import LEFT, LOCKED, READY
from pytest_xsched.workers.worker_process import Environment, WorkerMessages, WorkerProcess
from pytest_xsched.workers.xserver import EXPOSED, Server
from pytest_xsched.xsched.installation import Files, Home
from pytest_xsched.xsched.preload import Preload, prepare_preload, processes_of_session, with_driver
from pytest_xsched.xsched.server_poll import Coverage, ServerPoller

Member: TypeAlias = WorkerProcess | ProgramProcess
"""A process of the run."""

LEAD_NS = 500_000_000
"""Time between the message and the start, so that every process has read it by then."""

_AGAIN_S = 1.0
"""Time for a program that has done its requests to report that it is ready for others."""


class SeparateProcesses:
    """Processes that measure a run, all of them at once in each of its windows.

    Each program has a process. The other queues have one each if the scenario says so, else one
    together. Workers measure one window. A program lives on over the windows of the run, if it can,
    and a server does in any case; then a worker without queues holds the locks.

    Arguments that are not here are those of `isolated.RunWorker`.

    Args:
        home: has the shim that is preloaded under programs.
        server: XSched's server, which is polled during a window for work of the programs.
        daemon: the control daemon of MPS, whose clients the processes are; None: there is none.
    """

    def __init__(
        self,
        *,
        libraries: Libraries | None = None,
        lock_timeout_s: float = 600.0,
        environment: Environment | None = None,
        xsched: Files | None = None,
        home: Home | None = None,
        server: Server | None = None,
        daemon: MpsDaemon | None = None,
        watch: bool = True,
        record: bool = True,
        set_up_s: float = SET_UP_S,
        grace_s: float = GRACE_S,
        module: str = "pytest_xsched.workers.worker",
    ) -> None:
        self.libraries = libraries
        self.lock_timeout_s = lock_timeout_s
        self.environment = environment
        self.xsched = xsched
        self.home = home
        self.server = server
        self.daemon = daemon
        self.watch = watch
        self.record = record
        self.set_up_s = set_up_s
        self.grace_s = grace_s
        self.module = module
        self._directory: TemporaryDirectory | None = None
        self._directories_made = 0
        self.holder: WorkerProcess | None = None
        """Holds the locks while programs or servers live on."""
        self.waiting_programs: dict[str, ProgramProcess] = {}
        """Programs that wait for another window, by name of their queue."""
        self.servers: dict[ServerSpec, ServerProcess] = {}
        """That run, also between windows."""
        self.outlives_run = False
        """Whether servers, eager models and the locks outlive the run; see `kept_processes`."""
        self._started_for: tuple[object, ...] = ()
        """What decides how they are started, apart from what is different for each queue."""
        self.for_one_window: set[int] = set()
        """Indices of queues whose program did not report that it could go on."""

    @property
    def are_waiting(self) -> bool:
        """Check whether processes of earlier windows live on."""
        return self.holder is not None

    def measure(
        self,
        scenario: Scenario,
        progress: Progress | None = None,
        *,
        waiting: Callable[[str], None] | None = None,
        is_last: bool = True,
    ) -> Measurement:
        """Measure a window. After the last one, and after an error, no process is left.

        Args:
            scenario: of the window.
            progress: see `measure.measure`.
            waiting: see `isolated.measure_in_worker`.
            is_last: whether it is the last window of the run.

        Raises:
            XSchedError: see `isolated.measure_in_worker`. An error of one process stops the others
                and names the queue.
        """
        libraries = self.libraries
        if libraries is None:
            libraries = find_libraries(scenario.device_kind)
        window = _Window(self, scenario, libraries, progress, waiting, is_last=is_last)
        try:
            measurement = window.measure()
        except BaseException:
            self.close()
            raise
        self._started_for = _start_of(scenario)
        if not is_last and (self.waiting_programs or self.servers):
            return measurement
        remark = self.end_run()
        together = "; ".join(part for part in (measurement.remark, remark) if part)
        return dataclasses.replace(measurement, remark=together)

    def serve(self, scenario: Scenario, set_up_s: float, *, record: bool) -> bool:
        """Prepare for another run; return False if it would start what lives on in another way.

        Args:
            scenario: of the run.
            set_up_s: see `isolated.RunWorker`.
            record: see `measure.measure`.
        """
        self.set_up_s, self.record = set_up_s, record
        return self._has_processes_for(scenario)

    def _has_processes_for(self, scenario: Scenario) -> bool:
        if self.holder is None or not (self.servers or self.waiting_programs):
            return False
        is_apart = scenario.has_separate_processes or bool(scenario.programs)
        return is_apart and self._started_for == _start_of(scenario)

    def outlives(self, spec: QueueSpec) -> bool:
        """Check whether the program of a queue outlives the run: that of an eager model may."""
        return self.outlives_run and spec.workload.model is not None

    def end_run(self) -> str:
        """End all processes but those that outlive the run; return what `close` returns."""
        waiting = self.waiting_programs
        kept = {name: program for name, program in waiting.items() if self.outlives(program.spec)}
        if not kept and not (self.outlives_run and self.servers):
            return self.close()
        self.waiting_programs = kept
        self.for_one_window.clear()
        for program in kept.values():
            program.is_cold = True
        return self._end_programs([one for name, one in waiting.items() if name not in kept])

    def close(self) -> str:
        """End all processes; return a remark on programs that did not end well, or ''."""
        programs = [*self.waiting_programs.values(), *self.servers.values()]
        self.waiting_programs, self.servers = {}, {}
        try:
            return self._end_programs(programs)
        finally:  # after the programs, which are on the GPU
            if self.holder is not None:
                self.holder.end()
                self.holder = None
            if self._directory is not None:
                self._directory.cleanup()
                self._directory = None

    def _end_programs(self, waiting: Sequence[ProgramProcess]) -> str:
        programs = [one for one in waiting if not one.has_exit_status]
        remarks = []
        try:
            for program in programs:
                program.request_stop()
            for program in programs:
                _await_end(program, self.grace_s)
        finally:
            for program in programs:
                program.end()
                remarks.append(program.remark())
        return "; ".join(remark for remark in remarks if remark)

    def make_directory(self) -> Path:
        """Make an empty directory for a process; all of a run are next to each other."""
        if self._directory is None:
            self._directory = TemporaryDirectory()
        directory = Path(self._directory.name) / str(self._directories_made)
        self._directories_made += 1
        directory.mkdir()
        return directory


class _Window:
    """The processes of one window, while it is measured."""

    def __init__(
        self,
        run: SeparateProcesses,
        scenario: Scenario,
        libraries: Libraries,
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
        *,
        is_last: bool,
    ) -> None:
        self._run = run
        self._scenario = scenario
        self._libraries = libraries
        self._progress = progress
        self._waiting = waiting
        self._is_last = is_last
        starts_s = sum(server.start_ns for server in scenario.servers) / 1e9
        self._allowed_s = run.set_up_s + run_s(scenario) + starts_s
        self._settings = _settings(scenario, run.home, libraries)
        self._members: list[Member] = []
        self._ready_servers: list[ServerProcess] = []
        self._clients: dict[int, frozenset[int]] = {}
        """Of MPS, by server, as they were seen so far."""
        self._remarks: list[str] = []

    def measure(self) -> Measurement:
        """Start what does not run yet, measure, end what does not go on."""
        run, members = self._run, self._members
        poller: ServerPoller | None = None
        groups = divide(self._scenario)
        staying: list[ProgramProcess] = []
        failed: Member | None = None
        try:
            failed = self._lock() or self._start(groups)
            if failed is None:
                self._see_clients()
                start_clock_ns = time.monotonic_ns() + LEAD_NS
                for member in (*members, *run.servers.values()):
                    member.begin(start_clock_ns)
                if run.server is not None and self._settings:
                    poller = ServerPoller(run.server.busy_processes)
                failed = _wait_for_all([*run.servers.values(), *members], LEFT)
            if failed is None:
                self._see_clients()
                staying = self._end_others()
        finally:  # also on Ctrl-C and time-outs
            try:
                ending = [member for member in members if member not in staying]
                if failed is not None:  # the next error is about the run, and not about a window
                    ending += run.servers.values()
                for member in ending:
                    member.request_stop()
                for member in ending:
                    member.end()
            finally:
                if poller is not None:
                    poller.stop()
        run.waiting_programs |= {program.spec.name: program for program in staying}
        # The process that failed is the cause of errors of the others.
        all_members = [*run.servers.values(), *members]
        in_order = [*([failed] if failed else []), *(p for p in all_members if p is not failed)]
        server_output = None if run.server is None else run.server.output()
        results = {member: _result(member, server_output, poller) for member in in_order}
        self._require_locked()
        whole = unite([(group, results[p]) for group, p in zip(groups, members, strict=True)])
        remarks = [remark for remark in (*self._remarks, whole.remark) if remark]
        if run.server is not None and run.server.is_exposed():
            remarks.append(EXPOSED)
        whole = dataclasses.replace(whole, remark="; ".join(remarks))
        return self._with_clients(_with_programs(whole, results), groups)

    def _see_clients(self) -> None:
        """Note which processes are clients of MPS at this moment."""
        if self._run.daemon is None:
            return
        for server, clients in self._run.daemon.clients().items():
            self._clients[server] = self._clients.get(server, frozenset()) | clients

    def _with_clients(self, whole: Measurement, groups: Sequence[Sequence[int]]) -> Measurement:
        """Add which processes of each queue were clients of MPS, and a fault for those without."""
        if self._run.daemon is None:
            return whole
        clients = frozenset().union(*self._clients.values())
        faults, queues = [], {}
        for group, member in zip(groups, self._members, strict=True):
            server = self._server_of(group[0]) if group else None
            processes = member.processes if server is None else server.processes
            owner = _names(self._scenario, group) or "the worker process of the run"
            faults.append(bypass_fault(owner, processes, self._clients))
            for index in group:
                queues[self._scenario.queues[index].name] = tuple(sorted(processes & clients))
        return dataclasses.replace(
            whole,
            mps=MpsClients(servers=tuple(sorted(self._clients)), queues=queues),
            faults=(*whole.faults, *filter(None, faults)),
        )

    def _environment(self, queues: Sequence[int] | None) -> Environment | None:
        """Return how the environment of a worker with some queues differs; None: of the holder."""
        sharing = self._sharing(queues)
        if sharing is None:
            return self._run.environment
        base = self._run.environment or Environment()
        return Environment(scrubbed=(*base.scrubbed, FAMILY), values={**base.values, **sharing})

    def _sharing(
        self, queues: Sequence[int] | None, *, is_server: bool = False
    ) -> dict[str, str] | None:
        """Return the variables by which a process with some queues is a client of MPS, or is none.

        None: it inherits them. The holder of the locks, which has no queues, is no client, and a
        load process is none: its server is.
        """
        scenario = self._scenario
        if not _is_apart(scenario):
            return None
        if self._run.daemon is None or queues is None:
            return {PIPE: NO_DAEMON}
        if queues and not is_server and scenario.queues[queues[0]].workload.endpoint is not None:
            return {PIPE: NO_DAEMON}
        return self._run.daemon.variables(scenario.queues[queues[0]].name if queues else None)

    def _lock(self) -> Member | None:
        """Start the process that holds the locks, if programs or servers may live on."""
        run = self._run
        if run.holder is not None and not run.holder.is_running():
            self._remarks.append(run.close())  # without the locks no program may be on the GPU
        some_go_on = any(map(self._may_go_on, range(len(self._scenario.queues))))
        some_go_on = some_go_on or bool(self._scenario.servers)  # which end after the window
        if run.holder is not None or not some_go_on:
            return None
        run.holder = WorkerProcess(
            run.make_directory(),
            make_job(self._scenario, self._libraries, run.lock_timeout_s, only_lock=True),
            messages=WorkerMessages(self._allowed_s, run.grace_s, None, self._waiting),
            environment=self._environment(None),
            module=run.module,
        )
        if _wait_for_all([run.holder], LOCKED) is not None:
            run.holder.end()
            run.holder.measurement()  # raises the cause
        return None

    def _require_locked(self) -> None:
        holder = self._run.holder
        if holder is not None and not holder.is_running():
            holder.end()
            raise holder.crash(" while it held the locks of the run")

    def _may_go_on(self, index: int) -> bool:
        """Check whether a queue is a program that may live on after this window."""
        spec = self._scenario.queues[index]
        program = spec.workload.own_program
        if program is None or not program.reports:
            return False
        if self._is_last and not self._run.outlives(spec):
            return False
        return index not in self._run.for_one_window

    def _start(self, groups: Sequence[Sequence[int]]) -> Member | None:
        """Start workers and programs, and wait until all are ready; return one that failed."""
        members = self._members
        members.append(self._start_worker(groups[0]))
        failed = None
        if self._run.holder is None:
            failed = _wait_for_all(members, LOCKED)
        for group in groups[1:]:
            is_program = self._scenario.queues[group[0]].workload.own_program is not None
            # One after the other under XSched, because a trial of the order of two queues would
            # include the queues of the other processes. And no program warms up while a worker
            # measures what its commands take alone.
            if self._scenario.xsched is not None or is_program:
                workers = [one for one in members if isinstance(one, WorkerProcess)]
                awaited = workers if self._scenario.xsched is None else members
                failed = failed or _wait_for_all(awaited, READY)
            failed = failed or self._start_server(group[0])
            if failed is None:
                members.append(
                    self._renew_program(group[0]) or self._start_program(group[0])
                    if is_program
                    else self._start_worker(group)
                )
        failed = failed or _wait_for_all(members, READY)
        if failed is None:
            return None
        # A load process fails when its server has ended.
        return next((one for one in self._run.servers.values() if not one.is_running()), failed)

    def _server_of(self, index: int) -> ServerProcess | None:
        endpoint = self._scenario.queues[index].workload.endpoint
        if endpoint is None or endpoint.server is None:
            return None
        return self._run.servers.get(endpoint.server)

    def _start_server(self, index: int) -> Member | None:
        """See that the server of a queue, if it has one, is ready; return one that failed."""
        endpoint = self._scenario.queues[index].workload.endpoint
        if endpoint is None or endpoint.server is None:
            return None
        running = self._server_of(index)
        if running in self._ready_servers:
            return None
        if running is None:
            running = ServerProcess(
                self._run.make_directory(),
                self._scenario,
                index,
                setting=self._preload(index),
                sharing=self._sharing([index], is_server=True),
                allowed_s=self._allowed_s,
            )
            self._run.servers[endpoint.server] = running
        elif not running.renew_for(self._scenario, index, allowed_s=self._allowed_s):
            return running
        self._ready_servers.append(running)
        return _wait_for_all([running], READY)

    def _preload(self, index: int) -> Preload | None:
        """Return how XSched is preloaded under a program; the first worker must be ready."""
        setting = self._settings.get(index)
        if setting is None:
            return None
        kind, first = self._scenario.device_kind, self._members[0]
        assert isinstance(first, WorkerProcess)  # it has mapped the driver
        return with_driver(setting, kind, processes_of_session(first.pid))

    def _start_worker(self, queues: Sequence[int]) -> WorkerProcess:
        run, first = self._run, not self._members
        return WorkerProcess(
            run.make_directory(),
            make_job(
                self._scenario,
                self._libraries,
                run.lock_timeout_s,
                lock=first and run.holder is None,
                part=queues,
                xsched=run.xsched,
                watch=run.watch,
                record=run.record,
            ),
            messages=WorkerMessages(
                self._allowed_s,
                run.grace_s,
                self._progress if first else None,
                self._waiting if first else None,
            ),
            environment=self._environment(queues),
            module=run.module,
            owner=_names(self._scenario, queues),
        )

    def _start_program(self, index: int) -> ProgramProcess:
        has_server = self._server_of(index) is not None
        return ProgramProcess(
            self._run.make_directory(),
            self._scenario,
            index,
            setting=None if has_server else self._preload(index),
            sharing=self._sharing([index]),
            allowed_s=self._allowed_s,
            may_go_on=self._may_go_on(index),
        )

    def _renew_program(self, index: int) -> ProgramProcess | None:
        """Return the program of an earlier window, if it can go on; else end it."""
        program = self._run.waiting_programs.get(self._scenario.queues[index].name)
        if program is None:
            return None
        if not program.renew(self._scenario, index, allowed_s=self._allowed_s):
            program.end()
            self._remarks.append(program.remark())
            del self._run.waiting_programs[program.spec.name]
            return None
        return self._run.waiting_programs.pop(program.spec.name)

    def _end_others(self) -> list[ProgramProcess]:
        """End all processes but the programs that wait for another window; return these."""
        programs = [one for one in self._members if isinstance(one, ProgramProcess)]
        staying = [one for one in programs if self._may_go_on(one.index) and one.can_go_on()]
        first, *others = (member for member in self._members if member not in staying)
        for member in others:
            member.request_stop()
        for member in (*others, first):
            _await_end(member, self._run.grace_s)
        late_s = time.monotonic() + _AGAIN_S
        while any(not one.goes_on() for one in staying) and time.monotonic() < late_s:
            for program in staying:
                program.listen(POLL_S / len(staying))
        for program in staying:
            if not program.goes_on():
                self._run.for_one_window.add(program.index)
                _await_end(program, self._run.grace_s)
        return [one for one in staying if one.goes_on()]


def _is_apart(scenario: Scenario) -> bool:
    """Check whether processes learn from variables how they share the GPU."""
    return scenario.scheduler in APART and scenario.device_kind == "cuda"


def _start_of(scenario: Scenario) -> tuple[object, ...]:
    """Return what decides how the servers and the eager models of a run are started."""
    servers = frozenset(scenario.servers)
    return scenario.devices, servers, _is_apart(scenario), scenario.xsched, scenario.mps


def preloaded_program(queue: QueueSpec) -> Program | None:
    """Return the program of a queue that XSched is preloaded under: its server's, or its own."""
    endpoint = queue.workload.endpoint
    if endpoint is not None and endpoint.server is not None:
        return endpoint.server.program
    return queue.workload.own_program


def _settings(scenario: Scenario, home: Home | None, libraries: Libraries) -> dict[int, Preload]:
    """Return how XSched is preloaded under each program, by index of its queue."""
    if scenario.xsched is None or home is None:
        return {}
    kind = scenario.device_kind
    found = {}
    for index, spec in enumerate(scenario.queues):
        program = preloaded_program(spec)
        if program is not None:
            found[index] = prepare_preload(
                spec, scenario.xsched, kind, home, libraries, os.environ, program
            )
    return found


def divide(scenario: Scenario) -> list[tuple[int, ...]]:
    """Return which queues, by index, share a process; the first group is never a program.

    Where all queues are programs, the first group is empty: a worker has to describe the device.
    """
    indices = range(len(scenario.queues))
    programs = [i for i in indices if scenario.queues[i].workload.own_program is not None]
    others = tuple(i for i in indices if i not in programs)
    if scenario.has_separate_processes and others:
        return [*((i,) for i in others), *((i,) for i in programs)]
    return [others, *((i,) for i in programs)]


def _with_programs(
    whole: Measurement, results: Mapping[Member, Measurement | ProgramResult]
) -> Measurement:
    """Add what a monitor of the GPU and the poller of XSched's server know of programs."""
    programs = {
        member: result
        for member, result in results.items()
        if isinstance(member, ProgramProcess) and isinstance(result, ProgramResult)
    }
    gpu = None if whole.readings is None else whole.readings.gpu
    absent = [] if gpu is None else [member for member in programs if member.is_absent(gpu.ours)]
    faults = tuple(f"{one.kind} of {one.spec.name} computed nothing on the GPU" for one in absent)
    whole = dataclasses.replace(whole, faults=faults)
    if whole.activity is None:
        return whole
    coverage: dict[str, Coverage | None] = {}
    for member, result in programs.items():  # servers first, whose load processes have none
        coverage[member.spec.name] = result.coverage or coverage.get(member.spec.name)
    return dataclasses.replace(
        whole, activity=dataclasses.replace(whole.activity, coverage=coverage)
    )


def _wait_for_all(members: Sequence[Member], until: str) -> Member | None:
    """Listen until all have reached a step; return the one that ended or was late before that."""
    while True:
        missing = [member for member in members if until not in member.reached]
        if not missing:
            return None
        for member in missing:
            over = not member.is_running() or member.is_late()
            if over and until not in member.reached:  # it may have reached the step and ended
                return member
        for member in members:
            member.listen(POLL_S / len(members))


def _await_end(member: Member, grace_s: float) -> None:
    member.request_stop()
    member.allow(grace_s)
    member.listen_until(POLL_S)


def _result(
    member: Member, server_output: str | None, poller: ServerPoller | None
) -> Measurement | ProgramResult:
    return (
        member.result(server_output, poller)
        if isinstance(member, ProgramProcess)
        else member.measurement()
    )


def _names(scenario: Scenario, queues: Sequence[int]) -> str:
    names = ", ".join(repr(scenario.queues[index].name) for index in queues)
    return f"queue{'s' if len(queues) > 1 else ''} {names}" if names else ""
