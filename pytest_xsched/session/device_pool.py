"""The devices of one pytest session: open in this process, or in worker processes for live queues.

A GPU is locked as long as it is open, in this process or in a worker. The processors are locked
for each run on the device cpu; live queues there measure nothing and wait for none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import pytest

from pytest_xsched.base.constants import split_device, uses_cpu
from pytest_xsched.errors import DeviceUnavailable
from pytest_xsched.models.captured import CapturedModels
from pytest_xsched.models.factory import Place
from pytest_xsched.models.recording import record_model
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.system.gpu_lock import GpuLocks, lock_cpu, lock_gpus
from pytest_xsched.workers.dispatch import open_live_process
from pytest_xsched.workers.live_proxy import LiveProcess
from pytest_xsched.workers.recording import record_in_worker, require_recordable
from pytest_xsched.workers.run_processes import RunProcesses


class DevicePool:
    """Opens devices for a `Session`, and closes them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._devices: dict[tuple[str, CpuModel, SimModel], Device] = {}
        self._locks: dict[str, GpuLocks] = {}
        """Of the GPUs that this process has open, by PCI id."""
        self._lives: list[tuple[str, LiveProcess]] = []
        self.processes: RunProcesses | None = None
        """Of the run that was measured last; see `only`."""
        self._pid = os.getpid()
        self.models = CapturedModels()
        """Of the user, on GPUs that this process has open."""

    def only(self, processes: RunProcesses | None) -> None:
        """End the processes of the last run, which hold locks, unless they are these."""
        if self.processes is not None and self.processes is not processes:
            self.processes.close()
        self.processes = processes

    def close(self) -> None:
        """Close the devices, and end the processes of the last run."""
        self.only(None)
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

    def get(self, name: str, cpu: CpuModel, sim: SimModel) -> Device:
        """Return a device that stays open until `close`; skip the test where it is missing."""
        if self._pid != os.getpid():  # forked: the parent's devices are not ours
            self._devices.clear()
            self._locks.clear()
            self.models.forget()
            self._pid = os.getpid()
        key = (name, cpu, sim)
        if key not in self._devices:
            self._devices[key] = self.open(*key)
        return self._devices[key]

    def open_live(
        self, name: str, policy: str, xsched: XSched | None, patience_ns: int
    ) -> LiveProcess:
        """Open a device in a worker process; several may share a GPU: nothing is measured."""
        self.only(None)
        self._lives = [(of, place) for of, place in self._lives if not place.is_over]
        try:
            place = open_live_process(
                name,
                policy=policy,
                xsched=xsched,
                patience_ns=patience_ns,
                libraries=self.libraries(split_device(name)[0]),
                lock=name not in [of for of, _ in self._lives],
                lock_timeout_s=self._settings.lock_timeout_ns / 1e9,
                home=self._settings.xsched_home,
            )
        except DeviceUnavailable as error:
            self.unavailable(name, error)
        self._lives.append((name, place))
        return place

    def open(self, name: str, cpu: CpuModel, sim: SimModel) -> Device:
        """Open a device that the caller closes; skip the test where it is missing."""
        libraries = self.libraries(split_device(name)[0])
        try:
            self._lock(locate(name, libraries=libraries))
            return Device(name, cpu=cpu, sim=sim, libraries=libraries)
        except DeviceUnavailable as error:
            self.unavailable(name, error)

    def _lock(self, pci_id: str) -> None:
        """Lock a GPU until `close`, because this process keeps its driver open until then."""
        if pci_id not in self._locks:
            timeout_s = self._settings.lock_timeout_ns / 1e9
            self._locks[pci_id] = lock_gpus([pci_id], timeout_s=timeout_s)

    def record_profile(self, model: Model, name: str) -> Profile:
        """Record the profile of a model on a device; skip the test where that is missing."""
        require_recordable(model, name)
        self.only(None)
        if self._settings.process == "inside":  # this process has the GPU, so no other gets it
            device = self.get(name, CpuModel(), SimModel())
            return record_model(device, name, model, Place.here())
        try:
            return record_in_worker(
                model,
                name,
                libraries=self.libraries(split_device(name)[0]),
                lock_timeout_s=self._settings.lock_timeout_ns / 1e9,
            )
        except DeviceUnavailable as error:
            self.unavailable(name, error)

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

    def unavailable(self, name: str, error: DeviceUnavailable) -> NoReturn:
        """Skip the test, or fail it where --xsched-require-device names the device."""
        if self._settings.require_device is None:
            pytest.skip(f"no {name} device: {error}")
        pytest.fail(
            f"--xsched-require-device={self._settings.require_device}: {error}", pytrace=False
        )
