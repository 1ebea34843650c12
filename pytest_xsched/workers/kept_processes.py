"""Processes that outlive their run: those of a comparison or of a search for a rate.

They are servers and the programs of eager models, or the worker that has captured models. The next
run takes them over if it would start the same in the same way; else they end.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.workers.isolated import RunWorker
from pytest_xsched.workers.multi_process import SeparateProcesses

Keepable: TypeAlias = SeparateProcesses | RunWorker

_OF_PARENT: list[object] = []
"""What a fork has forgotten; see `run_processes`."""


class KeptProcesses:
    """Those of the last run, with the locks that they hold, or none."""

    def __init__(self) -> None:
        self._processes: Keepable | None = None
        self._pid = os.getpid()

    def take(self, scenario: Scenario, *, set_up_s: float, record: bool) -> Keepable | None:
        """Return processes that a run can have; end them if it cannot.

        Args:
            scenario: of the run.
            set_up_s: what the run allows for its set-up, see `isolated.RunWorker`.
            record: see `measure.measure`.
        """
        self._leave_to_parent()
        processes = self._processes
        if processes is not None and not processes.serve(scenario, set_up_s, record=record):
            self.end()
        return self._processes

    def keep(self, processes: Keepable, scenario: Scenario) -> bool:
        """Let processes outlive their run, if they may; return whether they do.

        Under XSched and MPS they may not: these begin and end with a run.
        """
        if scenario.xsched is not None or scenario.mps is not None:
            return False
        eager = any(queue.workload.own_program is not None for queue in scenario.models)
        is_apart = isinstance(processes, SeparateProcesses)
        if not (eager or scenario.servers if is_apart else scenario.models):
            return False  # a fresh process spoils nothing, and costs little
        processes.outlives_run = True
        self._processes = processes
        return True

    def end(self) -> None:
        """End the processes."""
        self._leave_to_parent()
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.close()

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid():
            _OF_PARENT.append(self._processes)
            self._processes, self._pid = None, os.getpid()
