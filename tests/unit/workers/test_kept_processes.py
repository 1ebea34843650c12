"""Processes that outlive their run serve the next one as that one needs it."""

from types import SimpleNamespace

from pytest_xsched.workers.dispatch import measure_in_processes
from pytest_xsched.workers.kept_processes import KeptProcesses
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.workers.run_processes import RunProcesses

RUN = SimpleNamespace(
    queues=(),
    models=(),
    servers={"serve.py": 0},
    duration_ns=10**9,
    xsched=None,
    mps=None,
    has_separate_processes=True,
)


def test_a_run_that_takes_servers_over_has_the_time_that_its_own_set_up_needs(monkeypatch):
    """The first run may start nothing but programs, and the next one may build a model."""
    measured = []

    def measure(self, *args, **kwargs):
        measured.append((self, self.set_up_s, self.record))

    monkeypatch.setattr(SeparateProcesses, "measure", measure)
    monkeypatch.setattr(SeparateProcesses, "_has_processes_for", lambda self, scenario: True)
    kept = KeptProcesses()
    for set_up_s, record in ((60.0, True), (600.0, False)):
        processes = RunProcesses(RUN.duration_ns)
        processes.kept = kept
        measure_in_processes(
            RUN,
            None,
            waiting=None,
            libraries=None,
            lock_timeout_s=1.0,
            home=None,
            record=record,
            set_up_s=set_up_s,
            processes=processes,
        )
    (first, *of_first), (second, *of_second) = measured
    assert first is second
    assert of_first == [60.0, True]
    assert of_second == [600.0, False]
