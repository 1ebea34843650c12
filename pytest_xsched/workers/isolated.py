"""Measure a run, or its windows, in a worker process; `multi_process` measures one in several."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.models.factory import Place
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.workers.worker import LEFT
from pytest_xsched.workers.worker_process import Environment, WorkerMessages, WorkerProcess
from pytest_xsched.xsched.installation import Files

SET_UP_S = 60.0
"""Time in addition to the run: to import, open the device, compile, and read results."""

GRACE_S = 10.0
"""Time for the end of a worker that has left its data."""

POLL_S = 0.05


class RunWorker:
    """A worker process that measures the windows of a run, one after another.

    It lives on after a window only if the next one needs what it has made: models that are built
    and captured. Else a fresh one measures each window, which no earlier window can have spoilt.
    In a comparison it lives on after a run for the same reason; see `kept_processes`.

    Args:
        libraries: of the GPU; None: those that the environment names.
        lock_timeout_s: longest wait for another measurement on the GPU.
        environment: how its environment differs from that of this process; None: not at all.
        xsched: the files of XSched that the worker loads, where XSched is the scheduler.
        watch: see `measure.measure`.
        record: see `measure.measure`.
        set_up_s: wall time in addition to the run, after which the worker is killed.
        grace_s: wall time after it has left its data, after which the worker is killed.
        module: that the process runs.
    """

    def __init__(
        self,
        *,
        libraries: Libraries | None = None,
        lock_timeout_s: float = 600.0,
        environment: Environment | None = None,
        xsched: Files | None = None,
        watch: bool = True,
        record: bool = True,
        set_up_s: float = SET_UP_S,
        grace_s: float = GRACE_S,
        module: str = "pytest_xsched.workers.worker",
    ) -> None:
        self._libraries = libraries
        self._lock_timeout_s = lock_timeout_s
        self._environment = environment
        self._xsched = xsched
        self._watch, self._record = watch, record
        self.set_up_s, self._grace_s = set_up_s, grace_s
        self._module = module
        self.outlives_run = False
        """Whether it lives on after the last window of its run."""
        self._worker: WorkerProcess | None = None
        self._started_for: Scenario | None = None
        self._place: Place | None = None
        self._around = contextlib.ExitStack()

    @property
    def is_waiting(self) -> bool:
        """Whether its process runs and waits for the next window."""
        return self._worker is not None and self._worker.is_running()

    def measure(
        self,
        scenario: Scenario,
        progress: Progress | None = None,
        *,
        waiting: Callable[[str], None] | None = None,
        is_last: bool = True,
    ) -> Measurement:
        """Measure a window.

        Args:
            scenario: the run, or the window.
            progress: called with elapsed and total ns of the run.
            waiting: called with a phrase, "waiting for ...", while another process measures on the
                GPU. That time does not count against the worker.
            is_last: whether no further window follows.

        Raises:
            DeviceBusy: another process measured for longer than `lock_timeout_s`.
            WorkerCrashed: it ended without a result, or did not end; the message says how.
            XSchedError: the worker raised it.
        """
        try:
            if self._worker is not None and self._worker.is_running():
                worker = self._worker
                worker.messages.begin_again(self._allowed_s(scenario), progress, waiting)
                worker.measure_again(scenario.to_dict())
            else:
                self.close()
                worker = self._worker = self._start(scenario, progress, waiting, is_last)
            worker.listen_until(POLL_S, lambda: LEFT in worker.reached)
            if LEFT in worker.reached and worker.is_running():
                if not is_last:
                    return worker.data()
                worker.request_stop()  # it may wait for another window
                worker.listen_until(POLL_S)
            worker.end()
            return worker.measurement()
        except BaseException:  # also on Ctrl-C and time-outs
            self.close()
            raise
        finally:
            if is_last:
                self.close()

    def serve(self, scenario: Scenario, set_up_s: float, *, record: bool) -> bool:
        """Prepare for another run; return False if that would start its worker in another way.

        Args:
            scenario: of the run.
            set_up_s: see the class.
            record: see the class.
        """
        first = self._started_for
        if first is None or not self.is_waiting or record != self._record:
            return False
        if scenario.xsched is not None or scenario.has_separate_processes or scenario.programs:
            return False
        opened = (first.device, first.cpu, first.sim, self._place)
        wanted = (scenario.device, scenario.cpu, scenario.sim, Place.here())
        if opened != wanted or not set(scenario.devices) <= set(first.devices):
            return False
        self.set_up_s = set_up_s
        return True

    def _start(
        self,
        scenario: Scenario,
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
        is_last: bool,
    ) -> WorkerProcess:
        libraries = self._libraries
        if libraries is None:
            libraries = find_libraries(scenario.device_kind)
        self._started_for, self._place = scenario, Place.here()
        allowed_s = self._allowed_s(scenario)
        messages = WorkerMessages(allowed_s, self._grace_s, progress, waiting)
        job = make_job(
            scenario,
            libraries,
            self._lock_timeout_s,
            xsched=self._xsched,
            watch=self._watch,
            record=self._record,
            may_go_on=not is_last,
        )
        directory = Path(self._around.enter_context(TemporaryDirectory()))
        worker = WorkerProcess(
            directory,
            job,
            messages=messages,
            environment=self._environment,
            module=self._module,
        )
        self._around.callback(worker.end)
        return worker

    def _allowed_s(self, scenario: Scenario) -> float:
        return self.set_up_s + run_s(scenario)

    def close(self) -> None:
        """End the process, and remove its files."""
        self._worker = None
        self._around.close()


def measure_in_worker(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    **settings: Any,
) -> Measurement:
    """Measure a scenario in a fresh process.

    Args:
        scenario: the run.
        progress: see `RunWorker.measure`.
        waiting: see `RunWorker.measure`.
        settings: those of `RunWorker`.
    """
    return RunWorker(**settings).measure(scenario, progress, waiting=waiting)


def run_s(scenario: Scenario) -> float:
    """Return the longest time of the run itself."""
    return (scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns) / 1e9


def make_job(
    scenario: Scenario,
    libraries: Libraries,
    lock_timeout_s: float,
    *,
    lock: bool = True,
    only_lock: bool = False,
    part: Sequence[int] | None = None,
    xsched: Files | None = None,
    watch: bool = True,
    record: bool = True,
    may_go_on: bool = False,
) -> dict[str, Any]:
    """Return the job of a worker, in JSON's types.

    Args:
        scenario: of the run.
        libraries: of the GPU.
        lock_timeout_s: longest wait for the GPU.
        lock: whether the worker locks the GPU.
        only_lock: whether it does nothing else, until it is stopped.
        part: indices of its queues, where other processes have the rest.
        xsched: the files of XSched that it loads, where XSched is the scheduler.
        watch: see `measure.measure`.
        record: see `measure.measure`.
        may_go_on: whether it waits for another window after it has left its data.
    """
    return {
        "scenario": scenario.to_dict(),
        "libraries": libraries.to_dict(),
        "lock_timeout_s": lock_timeout_s,
        "lock": lock,
        "only_lock": only_lock,
        "part": None if part is None else list(part),
        "xsched": None if xsched is None else asdict(xsched),
        "watch": watch,
        "record": record,
        "may_go_on": may_go_on,
        "place": asdict(Place.here()),
    }
