"""The devices of this machine: open in this process, or in worker processes.

A GPU is locked as long as it is open, in this process or in a worker. The processors are locked
for each run on the device cpu; live queues there measure nothing and wait for none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_xsched.base.constants import GPUS, split_device, uses_cpu, uuid_of
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import ScenarioError, SchedulerInactive
from pytest_xsched.models.captured import CapturedModels
from pytest_xsched.models.factory import Place as CodePlace
from pytest_xsched.models.recording import record_model
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.runner.live_place import Here, Place
from pytest_xsched.runner.measure import Measurement, Progress, measure
from pytest_xsched.runner.stream_limits import hardware_queues
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.auto_device import GPU_FILES, auto_device
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.system.gpu_lock import GpuLocks, lock_cpu, lock_gpus
from pytest_xsched.workers.dispatch import (
    is_there,
    measure_in_processes,
    open_live_process,
    require_installed,
    why_own_process,
)
from pytest_xsched.workers.kept_processes import KeptProcesses
from pytest_xsched.workers.live_proxy import LiveProcess
from pytest_xsched.workers.recording import record_in_worker, require_recordable
from pytest_xsched.workers.run_processes import RunProcesses
from pytest_xsched.workers.sent_files import SentFiles

_DEVICES_MAX = 16


class DevicePool:
    """Opens devices, measures on them, and closes them.

    Attributes:
        models: of the user, on GPUs that this process has open.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._devices: dict[tuple[str, CpuModel, SimModel], Device] = {}
        self._locks: dict[str, GpuLocks] = {}
        """Of the GPUs that this process has open, by PCI id."""
        self._lives: list[tuple[str, LiveProcess]] = []
        self._processes: RunProcesses | None = None
        """Of the run that was measured last; see `_only`."""
        self._kept: KeptProcesses | None = None
        """Those of the last run, while processes outlive their runs."""
        self._pid = os.getpid()
        self.models = CapturedModels()

    def _only(self, processes: RunProcesses | None) -> None:
        """End the processes of the last run, which hold locks, unless they are these."""
        if self._processes is not None and self._processes is not processes:
            self._processes.close()
        self._processes = processes

    def close(self) -> None:
        """Close the devices, and end the processes of the last run."""
        self._only(None)
        self.keep_processes(False)
        for _, place in self._lives:
            place.close()
        self._lives.clear()
        try:
            self.models.close()  # the framework of a model may refuse after an error of the GPU
        finally:
            for device in self._devices.values():
                device.close()
            self._devices.clear()
            for locks in self._locks.values():
                locks.release()
            self._locks.clear()

    def libraries(self, kind: str) -> Libraries:
        """Return the driver files that the user named for a kind of device."""
        return find_libraries(kind, self._settings.gpu_driver, self._settings.gpu_compiler)

    def keep_processes(self, outlive: bool) -> None:
        """Set whether servers and models outlive their run, for the next one that needs the same.

        Those of this process, too.
        """
        if self._kept is not None:
            self._only(None)  # or its timer may end the same servers meanwhile
            self._kept.end()
        self._kept = KeptProcesses() if outlive else None
        self.models.keeps_others = outlive

    def get(self, name: str, cpu: CpuModel, sim: SimModel) -> Device:
        """Return a device that stays open until `close`."""
        if self._pid != os.getpid():  # forked: the parent's devices are not ours
            self._devices.clear()
            self._locks.clear()
            self.models.forget()
            self._pid = os.getpid()
        key = (name, cpu, sim)
        if key not in self._devices:
            self._devices[key] = self.open(*key)
        return self._devices[key]

    def open(self, name: str, cpu: CpuModel, sim: SimModel) -> Device:
        """Open a device that the caller closes."""
        if uuid_of(name):
            raise ScenarioError(
                f"device {name!r} is named by its UUID, which a worker process sees: not with "
                "--xsched-process=inside"
            )
        libraries = self.libraries(split_device(name)[0])
        self._lock(locate(name, libraries=libraries))
        return Device(name, cpu=cpu, sim=sim, libraries=libraries)

    def _lock(self, pci_id: str) -> None:
        """Lock a GPU until `close`, because this process keeps its driver open until then."""
        if pci_id not in self._locks:
            timeout_s = self._settings.lock_timeout_ns / 1e9
            self._locks[pci_id] = lock_gpus([pci_id], timeout_s=timeout_s)

    def auto_device(self) -> str:
        """Return the device that ``auto`` takes."""
        return auto_device()

    def hardware_queues(self) -> int:
        """Return the number of hardware queues of a class; see `stream_limits`."""
        return hardware_queues(os.environ)

    def record_profile(self, model: Model, name: str, files: SentFiles) -> Profile:
        """Record the profile of a model on a device."""
        require_recordable(model, name)
        self._only(None)
        if self._settings.process == "inside":  # this process has the GPU, so no other gets it
            device = self.get(name, CpuModel(), SimModel())
            return record_model(device, name, model, CodePlace.here())
        return record_in_worker(
            model,
            name,
            libraries=self.libraries(split_device(name)[0]),
            lock_timeout_s=self._settings.lock_timeout_ns / 1e9,
        )

    def begin(self, duration_ns: int, files: SentFiles) -> RunProcesses:
        """Begin a run; return what `measure` needs for each of its windows.

        Args:
            duration_ns: the most that all windows measure together.
            files: are here already.
        """
        return RunProcesses(duration_ns)

    def measure(
        self,
        scenario: Scenario,
        progress: Progress | None,
        processes: RunProcesses,
        *,
        waiting: Callable[[str], None] | None,
        record: bool,
    ) -> Measurement:
        """Measure a window, here or in the processes that it needs.

        Args:
            scenario: of the window.
            progress: called with elapsed and total ns of the window.
            processes: of its run.
            waiting: called with "waiting for ..." while another process measures.
            record: whether to record each command.

        Raises:
            DeviceUnavailable: a worker process found no such device.
        """
        self._only(processes)
        processes.kept = self._kept
        watch = self._settings.noise != "off"
        if self._needs_process(scenario) or self._in_worker(scenario.device_kind):
            return measure_in_processes(
                scenario,
                progress,
                waiting=waiting,
                libraries=self.libraries(scenario.device_kind),
                lock_timeout_s=self._settings.lock_timeout_ns / 1e9,
                home=self._settings.xsched_home,
                watch=watch,
                record=record,
                processes=processes,
            )
        if self._kept is not None:  # which hold locks
            self._kept.end()
        devices = {name: self.get(name, scenario.cpu, scenario.sim) for name in scenario.devices}
        with self.cpu_locked(scenario.devices, waiting):
            return measure(
                devices, scenario, progress, watch=watch, record=record, models=self.models
            )

    def require_installed(self, scenario: Scenario) -> None:
        """Check that this machine has what a scenario needs; see `Machines.require_installed`.

        Where its device is missing, too, nothing is raised: the first run then skips its test.
        """
        self._needs_process(scenario)
        kind = scenario.device_kind
        libraries = self.libraries(kind)
        try:
            require_installed(scenario, self._settings.xsched_home, libraries)
        except SchedulerInactive:
            has_driver = libraries.driver or os.path.exists(GPU_FILES.get(kind, ""))
            if has_driver or is_there(scenario.device, libraries):
                raise

    def _needs_process(self, scenario: Scenario) -> bool:
        """Check whether a scenario cannot be measured in this process, whatever the device."""
        why = why_own_process(scenario)
        if why and self._settings.process == "inside":
            raise ScenarioError(f"{why}: not with --xsched-process=inside")
        return bool(why)

    def _in_worker(self, kind: str) -> bool:
        """Check whether a run on a kind of device is measured in a worker process."""
        process = self._settings.process
        if process == "host":
            return kind != "sim"
        return process == "worker" or (process == "auto" and kind in GPUS)

    def live(
        self,
        name: str,
        policy: str,
        xsched: XSched | None,
        patience_ns: int,
        devices: int = 1,
    ) -> Place:
        """Open a device for live queues, in a process of their own where that may die.

        Args:
            name: of the device.
            policy: of the queues, without XSched.
            xsched: how XSched schedules them; None: without XSched.
            patience_ns: how long a call may take there, in addition to a wait that it requests.
            devices: how many devices the queues can be on, from that one on.

        Raises:
            DeviceUnavailable: a worker process found no such device.
        """
        others = _further_devices(name, devices)
        if xsched and self._settings.process == "inside":
            raise ScenarioError("live queues under XSched: not with --xsched-process=inside")
        if self._settings.process == "inside" or not (xsched or split_device(name)[0] in GPUS):
            # Not the device of the runs: virtual time goes one way only, and load would disturb.
            first, *rest = (self.open(one, CpuModel(), SimModel()) for one in (name, *others))
            return Here(first, policy, rest)
        return self._open_live(name, policy, xsched, patience_ns, others)

    def _open_live(
        self,
        name: str,
        policy: str,
        xsched: XSched | None,
        patience_ns: int,
        others: Sequence[str],
    ) -> LiveProcess:
        """Open a device in a worker process; several may share a GPU: nothing is measured."""
        self._only(None)
        self._lives = [(of, place) for of, place in self._lives if not place.is_over]
        place = open_live_process(
            name,
            others=others,
            policy=policy,
            xsched=xsched,
            patience_ns=patience_ns,
            libraries=self.libraries(split_device(name)[0]),
            lock=name not in [of for of, _ in self._lives],
            lock_timeout_s=self._settings.lock_timeout_ns / 1e9,
            home=self._settings.xsched_home,
        )
        self._lives.append((name, place))
        return place

    @contextlib.contextmanager
    def cpu_locked(
        self, names: Iterable[str], waiting: Callable[[str], None] | None
    ) -> Iterator[None]:
        """Keep other runs off the processors, where one of some devices is `cpu`.

        Args:
            names: of the devices of a run in this process.
            waiting: called with "waiting for ..." while another process measures.
        """
        if not uses_cpu(names):
            yield
            return
        locks = lock_cpu(
            timeout_s=self._settings.lock_timeout_ns / 1e9,
            waiting=None if waiting is None else lambda phrase: waiting(f"waiting {phrase}"),
        )
        try:
            yield
        finally:
            locks.release()


def _further_devices(name: str, count: int) -> list[str]:
    """Return the names of the devices that follow one, for live queues on several of a kind."""
    integer("devices", count, 1, _DEVICES_MAX)
    kind, index = split_device(name)
    if count > 1 and (kind == "sim" or uuid_of(name)):
        raise ScenarioError(
            f"devices={count}: live queues on device {name!r} have one device; several are "
            "possible in real time, by index"
        )
    return [kind if kind == "cpu" else f"{kind}:{index + more}" for more in range(1, count)]
