"""Servers that outlive their run: those of a comparison or of a search for a rate.

The next run takes them over if it would start the same servers in the same way; else they end.
"""

from __future__ import annotations

import os

from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.workers.multi_process import SeparateProcesses

_OF_PARENT: list[object] = []
"""What a fork has forgotten; see `run_processes`."""


class KeptServers:
    """The servers of the last run, with the process that holds its locks, or none."""

    def __init__(self) -> None:
        self._processes: SeparateProcesses | None = None
        self._pid = os.getpid()

    def take(
        self, scenario: Scenario, *, set_up_s: float, record: bool
    ) -> SeparateProcesses | None:
        """Return processes whose servers a run can have; end them if it cannot.

        Args:
            scenario: of the run.
            set_up_s: what the run allows for its set-up, see `isolated.RunWorker`.
            record: see `measure.measure`.
        """
        self._leave_to_parent()
        if self._processes is not None and not self._processes.serve(scenario):
            self.end()
        if self._processes is not None:
            self._processes.set_up_s, self._processes.record = set_up_s, record
        return self._processes

    def keep(self, processes: SeparateProcesses, scenario: Scenario) -> bool:
        """Let the servers of a run outlive it, if there are any; return whether they do.

        Under XSched and MPS they do not: these begin and end with a run.
        """
        if not scenario.servers or scenario.xsched is not None or scenario.mps is not None:
            return False
        processes.keeps_servers = True
        self._processes = processes
        return True

    def end(self) -> None:
        """End the servers."""
        self._leave_to_parent()
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.close()

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid():
            _OF_PARENT.append(self._processes)
            self._processes, self._pid = None, os.getpid()
