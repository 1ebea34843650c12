"""What XSched's shim does to processes: run small programs under it and without it, and compare.

`python -m pytest_xsched.conformance.process_cases NAME --device KIND --home DIR` runs one case in a
fresh process; its exit status is 1 if the case breaks a rule. A case is a program of
`process_programs`, the scheduler over it, and what happens meanwhile. A rule counts as broken only
where the same program ends as it should without XSched.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pytest_xsched.base.constants import split_device, visible_devices
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance import outside_hints, process_programs
from pytest_xsched.conformance.engine import FAILED, HOLDS, ONCE, UNSEEN, Conformance, Result
from pytest_xsched.conformance.observed_program import POLL_S, Ended, Observed, Skipped
from pytest_xsched.doctor.libraries import DRIVER_NAMES
from pytest_xsched.doctor.subprocesses import clean, start_loading
from pytest_xsched.errors import DeviceUnavailable, SchedulerInactive, XSchedError
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.workload import spin
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.stress.rules import RULES
from pytest_xsched.system.driver_files import VARIABLES, LibraryFile, find_libraries
from pytest_xsched.system.gpu_lock import GpuLocks, lock_gpus
from pytest_xsched.system.managed_process import describe_exit
from pytest_xsched.workers.xserver import Server, xserver
from pytest_xsched.xsched.installation import Home
from pytest_xsched.xsched.preload import prepare_preload

MODULE = "pytest_xsched.conformance.process_cases"
"""Of this file, which is also run as a program."""

PART = Policy(
    name="processes",
    scheduler="xsched",
    definition="Programs that fork, exec, spawn, end with pending work, lose their server or live "
    "in a pid namespace end under XSched's shim as they end without it. A hint from outside has "
    "its effect on programs that run.",
)
"""Stands for the part of the command in its report, in place of a policy."""

ENDS, CHILD, SCHEDULED = "ends as without", "a child works as without", "a child is scheduled"
NAMESPACE, STAYS = "any pid namespace", "the server stays"
GOES, RETURNS = "the server may go", "the server may come back"
HINTS = "hints from outside"
PART_RULES = (ENDS, CHILD, SCHEDULED, STAYS, NAMESPACE, GOES, RETURNS, HINTS)

LIMIT_S = 8.0
"""Time for a program, in addition to three times what it took without XSched."""
ALONE_S = 30.0
"""Time for a program without XSched: OpenCL may compile its kernel at the first run."""
REPEATS = 3
_ROUNDS = 3
"""Rounds of a program in each state of its server."""
_KNOWN_S = 3.0
"""Time in which a server that has started again must have work of the program."""
_NOTICES_S = 0.5
"""Time for a server to notice that a program has ended."""
LOCK_S = 600.0
"""Longest wait for another process that measures on the device."""
_LOCATE = """\
import sys
from pytest_xsched.native.binding import locate
print(locate(sys.argv[1]))
"""
_LOCKED = "--is-locked"
_UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
_NAMESPACES = {
    "": (),
    "first": _UNSHARE,
    "second": (*_UNSHARE, "sh", "-c", '"$@"; exit $?', "sh"),
}
"""What precedes a command line, by the place that its program gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A program and what happens to it.

    Attributes:
        name: for reports and for the command line.
        program: of `process_programs.PROGRAMS`.
        rules: ids of those that it may break; one that breaks the first shows nothing of the next.
        server: "": the scheduler is in the process; "stays": it is a server; "goes" and "returns":
            the server ends while the program runs, and starts again; "hinted": two such programs
            run, and the server gets a hint for one of them.
        namespace: "first" or "second": the program has that place in a pid namespace of its own, as
            the program of a container, or as one that its shell starts; "": it has no own one.
    """

    name: str
    program: str
    rules: tuple[str, ...] = (ENDS,)
    server: str = ""
    namespace: str = ""

    def contains(self, other: Case) -> bool:
        """Check whether another case happens in this one, so that its fault would show again."""
        if self == other or other.namespace:
            return False
        same = other.program in ("plain", self.program)
        return same and other.server in ("", self.server and "stays")


_ALONE: dict[str, tuple[str, ...]] = {
    "plain": (ENDS,),
    "exit-pending": (ENDS,),
    "killed-pending": (ENDS,),
    "fork-first": (CHILD,),
    "fork-idle": (CHILD,),
    "exec": (CHILD, SCHEDULED),
    "spawn": (CHILD, SCHEDULED),
}
"""Rules of programs whose scheduler is in their own process."""
_UNDER_SERVER = ("plain", "exit-pending", "killed-pending", "fork-first", "exec")
CASES = {
    case.name: case
    for case in (
        *(Case(name=name, program=name, rules=rules) for name, rules in _ALONE.items()),
        *(
            Case(name=f"server-{name}", program=name, rules=(*_ALONE[name], STAYS), server="stays")
            for name in _UNDER_SERVER
        ),
        *(
            Case(
                name=f"pid-namespace-{place}",
                program="plain",
                rules=(NAMESPACE, STAYS),
                server="stays",
                namespace=place,
            )
            for place in ("second", "first")
        ),
        Case(name="server-goes", program="until-told", rules=(GOES, STAYS), server="goes"),
        Case(name="server-returns", program="until-told", rules=(RETURNS,), server="returns"),
        Case(name="server-hint", program="bursts", rules=(HINTS, STAYS), server="hinted"),
    )
}
"""All cases, by name; the simplest first."""


# ---- the cases under an installation -----------------------------------------------------


class ServerEnded(Exception):
    """A server ended by itself; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where cases run.

    Attributes:
        device: its name.
        home: the installation of XSched.
        driver: the file of the device's driver.
        named_driver: the same, where the user named it; else "".
    """

    device: str
    home: Home
    driver: str
    named_driver: str = ""

    @property
    def kind(self) -> str:
        """Kind of the device."""
        return split_device(self.device)[0]

    @classmethod
    def find(cls, device: str, home: Home, driver: LibraryFile | None) -> Place:
        """Find the driver's file.

        Raises:
            DeviceUnavailable: there is none.
            Skipped: there are no programs for the kind of device.
        """
        kind, index = split_device(device)
        if kind not in process_programs.KINDS:
            raise Skipped(f"there are no programs for the device {kind}")
        if kind == "opencl" and index:
            raise Skipped("the programs for opencl use the first device only")
        named = find_libraries(kind, driver).driver
        names = DRIVER_NAMES[kind] if named is None else (named.path,)
        probe = start_loading("load", *names, environment=clean(os.environ)).end()
        answer = probe.answer or {}
        stem = os.path.basename(names[-1])
        files = [
            file for file in answer.get("files", ()) if os.path.basename(file).startswith(stem)
        ]
        loaded = answer.get("loaded")
        if not loaded:
            raise DeviceUnavailable(
                f"device unavailable: {device}: no driver of {', '.join(names)} can be loaded"
            )
        file = files[0] if files and "/" not in loaded else os.path.realpath(loaded)
        return cls(device=device, home=home, driver=file, named_driver=named.path if named else "")

    def command(self, program: str) -> list[str]:
        """Return the command line of a program."""
        script = os.path.abspath(process_programs.__file__)
        return [sys.executable, "-I", "-S", script, program, self.device, self.driver]

    def variables(self, scheduler: str, priority: int | None = None) -> dict[str, str]:
        """Return the variables that preload XSched's shim, with a policy in effect.

        With a priority, XQueues have one command in flight, so that they stop soon.

        Raises:
            Skipped: there is no shim, or it intercepts nothing.
        """
        settings = XSched(policy="hpf", scheduler=scheduler)
        spec = QueueSpec(name="program", workload=spin("1ms"), arrivals=Closed())
        if priority is not None:
            spec = replace(spec, priority=priority, threshold=1, batch_size=1)
        driver = LibraryFile(path=self.driver, origin="the loader")
        libraries = replace(find_libraries(self.kind), driver=driver)
        try:
            made = prepare_preload(
                *(spec, settings, self.kind, self.home, libraries, self.environment),
                Program(argv=tuple(self.command("plain"))),
            )
        except SchedulerInactive as error:
            raise Skipped(str(error).removeprefix("scheduler inactive: ")) from None
        return made.variables

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs, without anything of XSched."""
        return {**clean(os.environ), **visible_devices(self.device)}

    def lock(self) -> GpuLocks:
        """Wait until no other process measures on the device, and lock it.

        Raises:
            DeviceBusy: it was not free in time.
        """
        named = {VARIABLES["driver"]: self.named_driver} if self.named_driver else {}
        asked = subprocess.run(  # in another process: this one does not load a driver
            [sys.executable, "-c", _LOCATE, self.device],
            env={**self.environment, **named},
            capture_output=True,
            text=True,
            check=False,
        )
        pci_id = asked.stdout.strip() if asked.returncode == 0 else ""
        return lock_gpus([pci_id], timeout_s=LOCK_S)


@dataclass(slots=True)
class Trial:
    """Runs cases in one place, and keeps how their programs end without XSched."""

    place: Place
    cases: int = 0
    runs: int = 0
    _alone: dict[str, Ended] = field(default_factory=dict)
    _processes: list[Observed] = field(default_factory=list)

    def broken(self, case: Case) -> dict[str, str]:
        """Run a case under XSched; return a sentence for each rule that it breaks.

        Raises:
            Skipped: it cannot be run here, or shows nothing.
        """
        alone = self._alone_as(case.program)
        limit_s = LIMIT_S + 3 * alone.seconds
        self.cases += 1
        self.runs += 1
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            try:
                if case.server in ("goes", "returns"):
                    return self._while_server_ends(case, limit_s)
                if case.server == "hinted":
                    return self._while_hinted(case, limit_s)
                with self._server() if case.server else contextlib.nullcontext():
                    found = self._start(case, limit_s).end()
            except ServerEnded as error:
                return {STAYS: str(error)}
        if found.shims and not found.shims[0]:
            raise Skipped("XSched's shim is not mapped in the program")
        if fault := _difference(alone, found):
            return {case.rules[0]: fault}
        if SCHEDULED in case.rules and not all(found.shims):
            return {SCHEDULED: "the program that it starts has not mapped XSched's shim"}
        return {}

    def shell_line(self, case: Case) -> str:
        """Return the commands that start the programs of a case under XSched, one a line."""
        both = (outside_hints.LOWER, outside_hints.HIGHER)
        priorities = both if case.server == "hinted" else (None,)
        return "\n".join(shlex.join(self._command(case, priority)) for priority in priorities)

    def _alone_as(self, program: str) -> Ended:
        """Return how a program ends without XSched."""
        if program not in self._alone:
            self.runs += 1
            command = self.place.command(program)
            process = Observed(command, self.place.environment, ALONE_S)
            if program in process_programs.ENDLESS:
                process.goes_on(_ROUNDS)
                process.close_input()
            self._alone[program] = process.end()
        alone = self._alone[program]
        if alone.status is None:
            raise Skipped(f"without XSched, too, {alone.last}")
        expected = {"exit-pending": process_programs.STATUS, "killed-pending": -15}
        if alone.status != expected.get(program, 0):
            raise Skipped(f"without XSched, too, {alone.phrase}")
        return alone

    def _command(self, case: Case, priority: int | None = None) -> list[str]:
        """Return the command line of the program of a case, with the variables of XSched."""
        values = self.place.variables("global" if case.server else "local", priority)
        prefix = _NAMESPACES[case.namespace]
        settings = (f"{name}={value}" for name, value in sorted(values.items()))
        return [*prefix, "env", *settings, *self.place.command(case.program)]

    def _start(self, case: Case, limit_s: float, priority: int | None = None) -> Observed:
        command = self._command(case, priority)
        if case.namespace:
            _require_namespace()
        process = Observed(command, self.place.environment, limit_s)
        self._processes.append(process)
        return process

    def _stop(self) -> None:
        """Stop the programs that run, after an error."""
        for process in self._processes:
            if not process.has_exit_status:
                process.stop(0)
        self._processes.clear()

    @contextlib.contextmanager
    def _server(self) -> Iterator[Server]:
        """Run XSched's server.

        Raises:
            Skipped: it cannot be started.
            ServerEnded: it has ended before the end of the `with`.
        """
        has_begun = False
        try:
            with xserver(self.place.home.program("xserver"), "HPF") as server:
                has_begun = True
                yield server
                time.sleep(_NOTICES_S)  # it may end because of what the program did last
        except XSchedError as error:
            text = str(error).removeprefix("scheduler inactive: ")
            raise (ServerEnded if has_begun else Skipped)(text) from None

    def _while_server_ends(self, case: Case, limit_s: float) -> dict[str, str]:
        with self._server():
            process = self._start(case, limit_s)
            begun = process.goes_on(_ROUNDS)
        outlived = begun and process.goes_on(_ROUNDS)
        known = True
        if outlived and case.server == "returns":
            with self._server() as server:
                outlived = process.goes_on(_ROUNDS)
                known = outlived and _is_known(process, server)
        process.close_input()
        ended = process.end()
        if not begun:
            raise Skipped(f"under a server its program does not begin: {ended.phrase}")
        if not outlived or ended.status != 0:
            if case.server == "returns" and not outlived:
                raise Skipped(f"its program does not outlive the server: {ended.phrase}")
            return {case.rules[0]: f"after the server has ended, {ended.phrase}"}
        if not known:
            return {
                RETURNS: f"the server that has started again has no work of its program within "
                f"{_KNOWN_S:g} s, and the program goes on launching"
            }
        return {}

    def _while_hinted(self, case: Case, limit_s: float) -> dict[str, str]:
        with self._server() as server:
            sentence = outside_hints.hint_without_effect(
                lambda priority: self._start(case, limit_s, priority), server
            )
        return {HINTS: sentence} if sentence else {}


def _is_known(process: Observed, server: Server) -> bool:
    deadline_s = time.monotonic() + _KNOWN_S
    while time.monotonic() < deadline_s and process.is_running():
        if process.pid in (server.busy_processes() or ()):
            return True
        process.listen(POLL_S)
    return False


def _require_namespace() -> None:
    """Raise Skipped where the system makes no pid namespace."""
    try:
        done = subprocess.run(
            [*_UNSHARE, "true"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skipped(f"no pid namespace can be made here: {error}") from None
    if done.returncode != 0:
        raise Skipped(f"no pid namespace can be made here: {done.stderr.strip()}")


def _difference(alone: Ended, found: Ended) -> str:
    """Return what is different under XSched, or ""."""
    if found.status == alone.status:
        return ""
    return f"{found.phrase}; without XSched it {describe_exit(alone.status or 0)}"


# ---- all cases, for the command -----------------------------------------------------------


def check_processes(
    device: str, home: Home, driver: LibraryFile | None, say: Callable[[str], None] | None
) -> Conformance:
    """Run all cases; each finding is run again in fresh processes.

    Args:
        device: name of the device.
        home: the installation of XSched.
        driver: file of the device's driver, where the user named one.
        say: prints each finding as soon as it is found.
    """
    begin_s = time.monotonic()
    try:
        trial = Trial(Place.find(device, home, driver))
    except (Skipped, DeviceUnavailable) as error:
        results = [_of_rule(rule, 0, str(error)) for rule in PART_RULES]
        return Conformance(
            policy=PART, scenarios=0, unit="case", runs=0, seconds=0.0, results=tuple(results)
        )
    locks = trial.place.lock()
    try:
        results = _results(trial, say)
    finally:
        locks.release()
    return Conformance(
        policy=PART,
        scenarios=trial.cases,
        unit="case",
        runs=trial.runs,
        seconds=time.monotonic() - begin_s,
        results=tuple(results),
    )


def _results(trial: Trial, say: Callable[[str], None] | None) -> list[Result]:
    """Run all cases, and return the outcome for each rule, findings first."""
    findings: list[Result] = []
    held = dict.fromkeys(PART_RULES, 0)
    reasons: dict[str, str] = {}
    failed: list[Case] = []
    for case in CASES.values():
        try:
            if simpler := next(filter(case.contains, failed), None):
                raise Skipped(f"{simpler.name} breaks a rule already")
            broken = trial.broken(case)
        except Skipped as reason:
            for rule in case.rules:
                reasons.setdefault(rule, f"{case.name}: {reason}")
            continue
        if broken:
            failed.append(case)
        for rule, sentence in broken.items():
            if say is not None:
                say(f"\nfound in processes: {case.name}: {sentence}")
            findings.append(_reproduced(trial, case, rule, sentence))
        shown = not broken or SCHEDULED in broken  # else it ended before the rest
        for rule in case.rules:
            if shown:
                held[rule] += rule not in broken
            else:
                reasons.setdefault(rule, f"{case.name} breaks {next(iter(broken))!r} before")
    with_finding = {result.rule.partition(": ")[0] for result in findings}
    unbroken = [
        _of_rule(rule, held[rule], reasons.get(rule, ""))
        for rule in PART_RULES
        if rule not in with_finding
    ]
    return findings + unbroken


def _of_rule(rule: str, held: int, reason: str) -> Result:
    """Return the outcome for a rule that no case broke."""
    return Result(
        rule=rule,
        definition=RULES[rule].text,
        status=HOLDS if held else UNSEEN,
        looked=held,
        unit="program",
        sentence="" if held else reason,
    )


def _reproduced(trial: Trial, case: Case, rule: str, sentence: str) -> Result:
    """Run a case again in fresh processes, by the command that is printed."""
    command = _reproducing_command(trial.place, case)
    at_once = 1 if case.server else REPEATS  # a machine has one server
    with ThreadPoolExecutor(at_once) as pool:
        again = sum(pool.map(lambda _: _breaks([*command, _LOCKED]), range(REPEATS)))
    trial.runs += REPEATS
    return Result(
        rule=f"{rule}: {case.name}",
        definition=RULES[rule].text,
        status=FAILED if 2 * again > REPEATS else ONCE,
        looked=1,
        unit="program",
        failing=1,
        sentence=sentence,
        command=shlex.join(command),
        reproduced=again,
        repeats=REPEATS,
    )


def _reproducing_command(place: Place, case: Case) -> list[str]:
    command = [sys.executable, "-m", MODULE, case.name, "--device", place.device]
    command += ["--home", place.home.path]
    return [*command, "--gpu-driver", place.named_driver] if place.named_driver else command


def _breaks(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one case; return 1 if it breaks a rule, 3 if it cannot be run here."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--device", required=True)
    parser.add_argument("--home", required=True, help="where XSched is installed")
    parser.add_argument("--gpu-driver", help="the file of the GPU's driver")
    parser.add_argument(_LOCKED, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    case = CASES[options.case]
    named = LibraryFile(path=options.gpu_driver, origin="--gpu-driver")
    home = Home(path=os.path.abspath(options.home), origin="--home")
    try:
        trial = Trial(Place.find(options.device, home, named if options.gpu_driver else None))
        print(trial.shell_line(case), flush=True)
        if not options.is_locked:  # by the process that starts this one
            trial.place.lock()
        broken = trial.broken(case)
    except (Skipped, XSchedError) as error:
        print(error)
        return 3
    for rule, sentence in broken.items():
        print(f"BROKEN {rule}: {sentence}")
    if not broken:
        print(f"{case.name} breaks no rule")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
