"""Measure one run in several processes at once: one lock, a barrier, one clock, one result.

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

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.monitoring.environment import DeviceFacts, Fingerprint, MappedLibrary
from pytest_xsched.monitoring.noise import unite_readings
from pytest_xsched.native.command_record import CommandRecord, no_record
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.workers.isolated import GRACE_S, POLL_S, SET_UP_S, make_job, run_s
from pytest_xsched.workers.program_process import ProgramProcess
from pytest_xsched.workers.program_samples import ProgramResult
from pytest_xsched.workers.worker import LEFT, LOCKED, READY
from pytest_xsched.workers.worker_process import Environment, WorkerMessages, WorkerProcess
from pytest_xsched.workers.xserver import Server
from pytest_xsched.xsched.activation import merge_activities
from pytest_xsched.xsched.installation import Files, Home
from pytest_xsched.xsched.preload import Preload, prepare_preload, processes_of_session, with_driver
from pytest_xsched.xsched.server_poll import ServerPoller

Member: TypeAlias = WorkerProcess | ProgramProcess
"""A process of the run."""

LEAD_NS = 500_000_000
"""Time between the message and the start, so that every process has read it by then."""


def measure_separately(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    libraries: Libraries | None = None,
    lock_timeout_s: float = 600.0,
    environment: Environment | None = None,
    xsched: Files | None = None,
    home: Home | None = None,
    server: Server | None = None,
    watch: bool = True,
    record: bool = True,
    set_up_s: float = SET_UP_S,
    grace_s: float = GRACE_S,
    module: str = "pytest_xsched.workers.worker",
) -> Measurement:
    """Measure a scenario whose queues, or some of them, have processes of their own.

    Each program has a process. The other queues have one each if the scenario says so, else one
    together.

    Args and errors are those of `isolated.measure_in_worker`. An error of one process stops the
    others and names the queue. `home` has the shim that is preloaded under programs. `server` is
    XSched's server, which is polled during the run for work of the programs.
    """
    if libraries is None:
        libraries = find_libraries(scenario.device_kind)
    allowed_s = set_up_s + run_s(scenario)
    settings = _settings(scenario, home, libraries)

    def start_worker(queues: Sequence[int]) -> WorkerProcess:
        first = not members
        return WorkerProcess(
            make_directory(),
            make_job(
                scenario,
                libraries,
                lock_timeout_s,
                lock=first,
                part=queues,
                xsched=xsched,
                watch=watch,
                record=record,
            ),
            messages=WorkerMessages(
                allowed_s, grace_s, progress if first else None, waiting if first else None
            ),
            environment=environment,
            module=module,
            owner=_names(scenario, queues),
        )

    def start_program(index: int) -> ProgramProcess:
        setting = settings.get(index)
        if setting is not None:  # the first worker is ready, so it has mapped the driver
            kind, first = scenario.device_kind, members[0]
            assert isinstance(first, WorkerProcess)
            setting = with_driver(setting, kind, processes_of_session(first.pid))
        return ProgramProcess(
            make_directory(), scenario, index, setting=setting, allowed_s=allowed_s
        )

    def make_directory() -> Path:
        directory = Path(name) / str(len(members))
        directory.mkdir()
        return directory

    members: list[Member] = []
    poller: ServerPoller | None = None
    groups = divide(scenario)
    with TemporaryDirectory() as name:
        try:
            members.append(start_worker(groups[0]))
            failed = _wait_for_all(members, LOCKED)
            if failed is None:
                for group in groups[1:]:
                    is_program = scenario.queues[group[0]].workload.own_program is not None
                    # One after the other under XSched, because a trial of the order of two queues
                    # would include the queues of the other processes. And no program warms up
                    # while a worker measures what its commands take alone.
                    if scenario.xsched is not None or is_program:
                        workers = [one for one in members if isinstance(one, WorkerProcess)]
                        awaited = workers if scenario.xsched is None else members
                        failed = failed or _wait_for_all(awaited, READY)
                    if failed is None:
                        members.append(
                            start_program(group[0]) if is_program else start_worker(group)
                        )
                failed = failed or _wait_for_all(members, READY)
            if failed is None:
                start_clock_ns = time.monotonic_ns() + LEAD_NS
                for member in members:
                    member.begin(start_clock_ns)
                if server is not None and settings:
                    poller = ServerPoller(server.busy_processes)
                failed = _wait_for_all(members, LEFT)
            if failed is None:
                for member in members[1:]:
                    member.request_stop()
                for member in (*members[1:], members[0]):
                    _await_end(member, grace_s)
        finally:  # also on Ctrl-C and time-outs
            try:
                for member in members:
                    member.request_stop()
                for member in members:
                    member.end()
            finally:
                if poller is not None:
                    poller.stop()
        # The process that failed is the cause of errors of the others.
        in_order = [*([failed] if failed else []), *(p for p in members if p is not failed)]
        server_output = None if server is None else server.output()
        results = {member: _result(member, server_output, poller) for member in in_order}
        whole = unite([(group, results[p]) for group, p in zip(groups, members, strict=True)])
        return _with_programs(whole, results)


def _settings(scenario: Scenario, home: Home | None, libraries: Libraries) -> dict[int, Preload]:
    """Return how XSched is preloaded under each program, by index of its queue."""
    if scenario.xsched is None or home is None:
        return {}
    kind = scenario.device_kind
    return {
        index: prepare_preload(spec, scenario.xsched, kind, home, libraries, os.environ)
        for index, spec in enumerate(scenario.queues)
        if spec.workload.own_program is not None
    }


def divide(scenario: Scenario) -> list[tuple[int, ...]]:
    """Return which queues, by index, share a process; the first group is never a program.

    Where all queues are programs, the first group is empty: a worker has to describe the device.
    """
    indices = range(len(scenario.queues))
    programs = [i for i in indices if scenario.queues[i].workload.own_program is not None]
    others = tuple(i for i in indices if i not in programs)
    if scenario.processes == "separate" and others:
        return [*((i,) for i in others), *((i,) for i in programs)]
    return [others, *((i,) for i in programs)]


def unite(parts: Sequence[tuple[Sequence[int], Measurement | ProgramResult]]) -> Measurement:
    """Return one measurement of the results of all processes, each for the queues of its group."""
    measured = [part for _, part in parts if isinstance(part, Measurement)]
    by_queue: dict[int, tuple[Counts, NDArray[np.void], int | None, CommandRecord]] = {}
    for indices, part in parts:
        if isinstance(part, ProgramResult):
            by_queue[indices[0]] = part.counts, part.samples, None, no_record()
        else:
            records = part.records or (no_record(),) * len(part.counts)
            theirs = zip(part.counts, part.samples, part.alone_ns, records, strict=True)
            by_queue |= dict(zip(indices, theirs, strict=True))
    in_order = [by_queue[index] for index in sorted(by_queue)]
    return dataclasses.replace(
        measured[0],
        fingerprint=_unite_fingerprints(
            [part.fingerprint for part in measured],
            {
                library.path: library
                for _, part in parts
                if isinstance(part, ProgramResult)
                for library in part.libraries
            },
        ),
        counts=tuple(counts for counts, _, _, _ in in_order),
        samples=tuple(samples for _, samples, _, _ in in_order),
        alone_ns=tuple(alone_ns for _, _, alone_ns, _ in in_order),
        records=tuple(record for _, _, _, record in in_order),
        wrong_results=tuple(sentence for part in measured for sentence in part.wrong_results),
        activity=merge_activities([part.activity for part in measured if part.activity]),
        readings=unite_readings([part.readings for part in measured if part.readings]),
        remark="; ".join(part.remark for _, part in parts if part.remark),
        output="".join(part.output for _, part in parts),
    )


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
    faults = (f"the program of {member.spec.name} computed nothing on the GPU" for member in absent)
    whole = dataclasses.replace(whole, faults=tuple(faults))
    if whole.activity is None:
        return whole
    coverage = {member.spec.name: result.coverage for member, result in programs.items()}
    return dataclasses.replace(
        whole, activity=dataclasses.replace(whole.activity, coverage=coverage)
    )


def _unite_fingerprints(
    parts: Sequence[Fingerprint], libraries: Mapping[str, MappedLibrary]
) -> Fingerprint:
    """Return one fingerprint; host and settings are those of the first, which all inherited."""
    devices: dict[tuple[str, int], DeviceFacts] = {}
    for device in (device for part in parts for device in part.devices):
        devices.setdefault((device.kind, device.index), device)
    by_path = {library.path: library for part in parts for library in part.libraries}
    return dataclasses.replace(
        parts[0],
        devices=tuple(devices.values()),
        libraries=tuple(library for _, library in sorted({**libraries, **by_path}.items())),
        models=tuple(model for part in parts for model in part.models),
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
    while member.is_running() and not member.is_late():
        member.listen(POLL_S)


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
