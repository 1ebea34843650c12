"""Another machine as a session sees it: it measures there what `DevicePool` measures here."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

from pytest_xsched.errors import HostError, ScenarioError, XSchedError
from pytest_xsched.runner.live_place import Place
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.host_frames import Message
from pytest_xsched.workers.host_link import Heard, HostLink
from pytest_xsched.workers.isolated import SET_UP_S
from pytest_xsched.workers.live_proxy import RemoteRun
from pytest_xsched.workers.measurement_data import ARRAYS, from_plain, unpack
from pytest_xsched.workers.sent_files import SentFiles

_OF_PARENT: list[object] = []
"""What a fork has forgotten; see `run_processes`."""
_NUMBERS = itertools.count()


class HostRun:
    """A run on a host, from its first window to its last.

    Attributes:
        number: by which the host knows it.
        duration_ns: the most that all windows measure together.
        files: that it needs.
        digest: of these.
        tell: called with a remark on programs that did not end well after their last window.
    """

    def __init__(self, duration_ns: int, files: SentFiles) -> None:
        self.number = next(_NUMBERS)
        self.duration_ns = duration_ns
        self.files = files
        self.digest = files.digest()
        self.tell: Callable[[str], None] = lambda remark: None


class HostMachine:
    """A host, which is connected when it is first used, and again after it was lost.

    Args:
        name: of the host.
        prefix: the command that starts a program there.
        settings: of the session.
    """

    def __init__(self, name: str, prefix: tuple[str, ...], settings: Settings) -> None:
        self.name = name
        self._prefix = prefix
        self._settings = settings
        self._link: HostLink | None = None
        self._pid = os.getpid()
        self._why_not = ""
        """Why it could not be reached when that was last tried; it is not tried again."""
        self._sent: set[str] = set()
        """Digests of files that the host has."""
        self._runs: dict[int, HostRun] = {}
        self._keeps_processes = False

    def auto_device(self) -> str:
        """Return the device that ``auto`` takes there."""
        return str(self._connected().facts["auto_device"])

    def hardware_queues(self) -> int:
        """Return the number of hardware queues of a class there; see `stream_limits`."""
        return int(self._connected().facts["hardware_queues"])

    def keep_processes(self, outlive: bool) -> None:
        """Set whether processes outlive their run; see `DevicePool.keep_processes`."""
        self._keeps_processes = outlive
        if self._link is not None and not self._link.is_over and self._pid == os.getpid():
            with contextlib.suppress(XSchedError):  # the host may be gone, and its servers with it
                self._link.call("keep_processes", {"outlive": outlive}, heard=self._heard)

    def begin(self, duration_ns: int, files: SentFiles) -> HostRun:
        """Begin a run; see `DevicePool.begin`.

        Args:
            duration_ns: the most that all windows measure together.
            files: that its programs and models need there.
        """
        run = HostRun(duration_ns, files)
        self._runs[run.number] = run
        return run

    def require_installed(self, scenario: Scenario) -> None:
        """Check that it has what a scenario needs; see `DevicePool.require_installed`."""
        values = {"scenario": scenario.to_dict()}
        self._connected().call("require_installed", values, heard=self._heard)

    def measure(
        self,
        scenario: Scenario,
        progress: Progress | None,
        run: HostRun,
        *,
        waiting: Callable[[str], None] | None,
        record: bool,
    ) -> Measurement:
        """Measure a window there; see `DevicePool.measure`."""
        link = self._connected(waiting)
        values = {
            "run": run.number,
            "duration_ns": run.duration_ns,
            "scenario": run.files.place(scenario).to_dict(),
            "files": self._send(link, run.files, run.digest),
            "record": record,
            "progress": progress is not None,
        }

        def heard(message: Message) -> None:
            if "waiting" in message:
                if waiting is not None:
                    waiting(message["waiting"])
            elif "elapsed_ns" in message and progress is not None:
                progress(message["elapsed_ns"], message["total_ns"])
            else:
                self._heard(message)

        data, parts = link.call("measure", values, doing="it measured", heard=heard)
        return from_plain(data, dict(zip(ARRAYS, map(unpack, parts), strict=True)))

    def record_profile(self, model: Model, device: str, files: SentFiles) -> Profile:
        """Record the profile of a model there; see `DevicePool.record_profile`."""
        link = self._connected()
        digest = self._send(link, files, files.digest())
        values = {"model": files.place_model(model).to_json(), "device": device, "files": digest}
        data, _ = link.call("record", values, doing=f"it recorded {model.name}", heard=self._heard)
        return Profile.from_dict(data)

    def live(
        self,
        name: str,
        policy: str,
        xsched: XSched | None,
        patience_ns: int,
        devices: int = 1,
    ) -> Place:
        """Open a device for live queues there; see `DevicePool.live`."""
        if devices != 1:
            raise ScenarioError(f"devices={devices!r}: live queues on a host have one device")
        plain = None if xsched is None else dataclasses.asdict(xsched)
        link, number = self._connected(), next(_NUMBERS)
        values = {
            "number": number,
            "device": name,
            "policy": policy,
            "xsched": plain,
            "patience_ns": patience_ns,
        }
        is_virtual, _ = link.call("live", values, doing="it opened the device", heard=self._heard)
        return _HostLive(link, number, self._heard, is_virtual=is_virtual)

    def close(self) -> None:
        """End the host's process."""
        link, self._link = self._link, None
        if link is None or link.is_over or self._pid != os.getpid():
            return
        try:
            with contextlib.suppress(XSchedError):  # of what is over
                link.call("finish", doing="it ended its processes", heard=self._heard)
        finally:
            link.close()

    def _heard(self, message: Message) -> None:
        run = self._runs.get(message.get("run", -1))
        if run is not None:
            run.tell(message["remark"])

    def _connected(self, waiting: Callable[[str], None] | None = None) -> HostLink:
        if self._pid != os.getpid():  # a fork: the connection is its parent's
            _OF_PARENT.append(self._link)
            self._link, self._pid = None, os.getpid()
        if self._link is not None and not self._link.is_over:
            return self._link
        if self._why_not:
            raise HostError(self._why_not)
        self._sent.clear()
        try:
            timeout_s = max(SET_UP_S, self._settings.lock_timeout_ns / 1e9)
            self._link = HostLink(self.name, self._prefix, timeout_s=timeout_s, waiting=waiting)
        except HostError as error:
            self._why_not = str(error)
            raise
        values = {
            "python": sys.executable,
            "noise": self._settings.noise,
            "lock_timeout_ns": self._settings.lock_timeout_ns,
        }
        self._link.call("open", values)
        if self._keeps_processes:
            self._link.call("keep_processes", {"outlive": True})
        return self._link

    def _send(self, link: HostLink, files: SentFiles, digest: str) -> str:
        """Send files, unless the host has them; return their digest."""
        if digest and digest not in self._sent:
            for of, parts in files.messages():
                values = {"digest": digest, "of": of}
                link.call("files", values, parts, doing="it received files", heard=self._heard)
            self._sent.add(digest)
        return digest


class _HostLive:
    """A device for live queues on a host."""

    takes_overlapping_calls = False

    def __init__(self, link: HostLink, number: int, heard: Heard, *, is_virtual: bool) -> None:
        self._link = link
        self._number = number
        self._heard = heard
        self._is_closed = False
        self.is_virtual = is_virtual
        self.others = ()

    @property
    def is_over(self) -> bool:
        return self._is_closed or self._link.is_over

    def limit_calls(self, most_ns: int | None) -> None:
        """Change nothing: the host limits the calls of its processes."""

    def open_run(self) -> RemoteRun:
        self.call("open")
        return RemoteRun(self, clock=lambda: int(self.call("now")), is_virtual=self.is_virtual)

    def call(self, call: str, of: str = "", *, allowed_ns: int = 0, **values: Any) -> Any:
        if self.is_over:
            raise XSchedError("the run was closed")
        request = {
            "number": self._number,
            "call": call,
            "of": of,
            "allowed_ns": allowed_ns,
            "values": values,
        }
        doing = "it had live queues"
        return self._link.call("live_call", request, doing=doing, heard=self._heard)[0]

    def close(self) -> None:
        if not self.is_over:
            self._is_closed = True
            self._link.call("live_close", {"number": self._number}, heard=self._heard)
