"""Where a session measures: here or on a host, as the call, the marker or the options say."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import pytest

from pytest_xsched.analysis.assertion import level_of_the_test
from pytest_xsched.analysis.run import Run
from pytest_xsched.errors import DeviceUnavailable, ScenarioError, XSchedWarning
from pytest_xsched.monitoring.noise import Rules
from pytest_xsched.reporting.progress_line import ProgressLine
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.runner.stream_limits import stream_warnings
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.adaptive import add_remark, run_in_windows
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.host_machine import HostMachine, HostRun
from pytest_xsched.session.named_builds import NamedBuild
from pytest_xsched.session.settings import HERE, Settings, unknown_host
from pytest_xsched.workers.run_processes import RunProcesses
from pytest_xsched.workers.sent_files import SentFiles

Machine: TypeAlias = DevicePool | HostMachine


class Machines:
    """The machines of a session: this one, and hosts by name.

    Attributes:
        here: this machine.
        settings: of the session.
        current: the host of the test that is running, unless it names another; None: this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self.here = DevicePool(settings)
        self.current = settings.host
        self.settings = settings
        self._hosts: dict[str, HostMachine] = {}

    def choose(self, given: str | None, marker: Mapping[str, Any]) -> str | None:
        """Return the host of a run, None for this machine: that of the call, then of the marker.

        Raises:
            ScenarioError: there is none of that name.
        """
        what, name = ("host", given) if given is not None else ("marker xsched: host", None)
        name = marker.get("host") if name is None else name
        if name is None:
            return self.current
        for build in filter(None, (self.settings.build, self.settings.reference)):
            if build.host:
                raise ScenarioError(
                    f"{what} is {name!r}, but the build {build.name!r} is measured on "
                    f"{build.host!r}; leave the host out of the test"
                )
        if name == HERE:
            return None
        if name not in self.settings.hosts:
            raise ScenarioError(f"{what}: {unknown_host(name, self.settings.hosts)}")
        return str(name)

    def get(self, host: str | None) -> Machine:
        """Return this machine, or a host that `choose` has returned."""
        if host is None:
            return self.here
        if host not in self._hosts:
            prefix = self.settings.hosts[host]
            self._hosts[host] = HostMachine(host, prefix, self.settings)
        return self._hosts[host]

    @contextlib.contextmanager
    def keeping_processes(self, host: str | None) -> Iterator[None]:
        """Let servers and models of a machine outlive their runs, until the end of the block."""
        machine = self.get(host)
        machine.keep_processes(True)
        try:
            yield
        finally:
            machine.keep_processes(False)

    def require_installed(self, host: str | None, build: NamedBuild, scenario: Scenario) -> None:
        """Check, before any arm is measured, that a machine has what a run of a build needs.

        Raises:
            ScenarioError: --xsched-process=inside does not go with it.
            SchedulerInactive: XSched is not installed there, or MPS cannot be used.
        """
        self.get(host).require_installed(build.apply(scenario))

    def close(self) -> None:
        """Close the devices here, and end the processes on hosts."""
        with contextlib.ExitStack() as around:
            around.callback(self.here.close)
            for host in self._hosts.values():
                around.callback(host.close)

    @contextlib.contextmanager
    def skipping(self, device: str) -> Iterator[None]:
        """Skip the test where a device is missing; fail it where --xsched-require-device is set."""
        try:
            yield
        except DeviceUnavailable as error:
            required = self.settings.require_device
            if required is None:
                pytest.skip(f"no {device} device: {error}")
            said = f"{self.settings.require_origin}={required}: {error}"
            raise pytest.fail.Exception(said, pytrace=False) from None


class MeasuredRun:
    """A run that begins: it measures windows on one machine.

    Args:
        machines: of the session.
        host: the one that measures.
        scenario: of the run.
        files: that it needs on a host.
        progress: returns a line that shows how far a window is; None: nothing is shown.
        record: whether to record each command.
        turn: its place among other runs, for that line; "": it is alone.
    """

    def __init__(
        self,
        machines: Machines,
        host: str | None,
        scenario: Scenario,
        files: SentFiles,
        progress: Callable[[str], ProgressLine | None] | None,
        record: bool,
        turn: str = "",
    ) -> None:
        self._machines = machines
        self._host = host
        self._files = files
        self._progress = progress
        self._record = record
        self._run: RunProcesses | HostRun
        self._run = machines.get(host).begin(scenario.duration_ns, files)
        names = ", ".join(queue.name for queue in scenario.queues)
        where = scenario.device if host is None else f"{scenario.device} of {host}"
        self._label = f"{names}: {scenario.scheduler} on {where}{turn and f', {turn}'}"

    def begin(self, scenario: Scenario, *, fixed: bool, at_least_ns: int, trace: str) -> Run:
        """Measure the first window, and return the run, which measures on; see `run_in_windows`.

        Warns:
            XSchedWarning: on "hip", streams cannot have what the scenario asks of them.
        """
        machine, settings = self._machines.get(self._host), self._machines.settings
        for sentence in stream_warnings(scenario, machine.hardware_queues()):
            warnings.warn(sentence, XSchedWarning, stacklevel=level_of_the_test())
        run = run_in_windows(
            scenario,
            self.measure,
            fixed=fixed,
            rules=Rules(mode=settings.noise, limit_ns=settings.noise_limit_ns),
            at_least_ns=at_least_ns,
            trace=trace,
        )
        self.tell(functools.partial(add_remark, run))
        return run

    def measure(self, window: Scenario) -> Measurement:
        """Measure a window; skip the test where its device is missing."""
        progress = self._progress(self._label) if self._progress else None
        machine: Any = self._machines.get(self._host)
        try:
            with self._machines.skipping(window.device):
                measured: Measurement = machine.measure(
                    window,
                    progress,
                    self._run,
                    waiting=None if progress is None else progress.note,
                    record=self._record,
                )
                return measured
        finally:
            if progress is not None:
                progress.close()

    def tell(self, to: Callable[[str], None]) -> None:
        """Pass remarks on programs that did not end well after their last window."""
        self._run.tell = to

    def record_profile(self, model: Model, device: str) -> Profile:
        """Record the profile of a model there; skip the test where its device is missing."""
        with self._machines.skipping(device):
            return self._machines.get(self._host).record_profile(model, device, self._files)
