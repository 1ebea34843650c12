"""Measuring in several worker processes at once: one lock, a barrier, one clock, one measurement.

Each worker makes its queue and waits; when all are ready they are told one moment of the monotonic
clock, which is time 0 for all of them. None tears anything down before all have left their data,
and the first, which holds the GPUs' locks, is the last to end.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_xsched.activity import unite_activities
from pytest_xsched.child import Environment, News, Worker
from pytest_xsched.fingerprint import DeviceFacts, Fingerprint
from pytest_xsched.harness import Measurement, Progress
from pytest_xsched.installation import Files
from pytest_xsched.libraries import Libraries, find_libraries
from pytest_xsched.model import Scenario
from pytest_xsched.process import GRACE_S, POLL_S, SET_UP_S, make_job, run_s
from pytest_xsched.worker import LEFT, LOCKED, READY

LEAD_NS = 500_000_000
"""Between the word and the start, so that every worker has heard it by then."""


def measure_separately(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    libraries: Libraries | None = None,
    lock_timeout_s: float = 600.0,
    environment: Environment | None = None,
    xsched: Files | None = None,
    set_up_s: float = SET_UP_S,
    grace_s: float = GRACE_S,
    module: str = "pytest_xsched.worker",
) -> Measurement:
    """Measure a scenario with each of its queues in a process of its own.

    Args and errors are those of `process.measure_in_worker`; an error of one process ends the
    others, and names the queue.
    """
    if libraries is None:
        libraries = find_libraries(scenario.device_kind)
    workers: list[Worker] = []

    def start(index: int) -> None:
        first = index == 0
        (directory := Path(name) / str(index)).mkdir()
        workers.append(
            Worker(
                directory,
                make_job(
                    scenario, libraries, lock_timeout_s, lock=first, part=[index], xsched=xsched
                ),
                news=News(
                    set_up_s + run_s(scenario),
                    grace_s,
                    progress if first else None,
                    waiting if first else None,
                ),
                environment=environment,
                module=module,
                of=f"queue {scenario.queues[index].name!r}",
            )
        )

    with tempfile.TemporaryDirectory(prefix="pytest-xsched-") as name:
        try:
            start(0)
            fallen = _accompany(workers, LOCKED)
            if fallen is None:
                for index in range(1, len(scenario.queues)):
                    start(index)
                fallen = _accompany(workers, READY)
            if fallen is None:
                _give_the_word(workers)
                fallen = _accompany(workers, LEFT)
            if fallen is None:
                for worker in workers[1:]:
                    worker.dismiss()
                for worker in (*workers[1:], workers[0]):
                    _see_off(worker, grace_s)
        finally:  # also on Ctrl-C and time-outs
            for worker in workers:
                worker.dismiss()
            for worker in workers:
                worker.end()
        if fallen is not None:
            fallen.measurement()  # raises, and is the cause of what the others would raise
        return unite([worker.measurement() for worker in workers])


def unite(parts: Sequence[Measurement]) -> Measurement:
    """Make one measurement of those of the queues, in the scenario's order."""
    first = parts[0]
    return dataclasses.replace(
        first,
        fingerprint=_unite_fingerprints([part.fingerprint for part in parts]),
        counts=tuple(counts for part in parts for counts in part.counts),
        samples=tuple(samples for part in parts for samples in part.samples),
        wrong_results=tuple(sentence for part in parts for sentence in part.wrong_results),
        activity=unite_activities([part.activity for part in parts if part.activity]),
        remark="; ".join(part.remark for part in parts if part.remark),
        output="".join(part.output for part in parts),
    )


def _unite_fingerprints(parts: Sequence[Fingerprint]) -> Fingerprint:
    """Take the host and its settings from the first: the others inherited them, too."""
    devices: dict[tuple[str, int], DeviceFacts] = {}
    for device in (device for part in parts for device in part.devices):
        devices.setdefault((device.kind, device.index), device)
    libraries = {library.path: library for part in parts for library in part.libraries}
    return dataclasses.replace(
        parts[0],
        devices=tuple(devices.values()),
        libraries=tuple(library for _, library in sorted(libraries.items())),
    )


def _accompany(workers: Sequence[Worker], until: str) -> Worker | None:
    """Listen until all have said a word; give the one that ended, or was late, before it did."""
    while True:
        behind = [worker for worker in workers if until not in worker.news.said]
        if not behind:
            return None
        for worker in behind:
            over = not worker.works() or worker.is_late()
            if over and until not in worker.news.said:  # which may have been its last word
                return worker
        for worker in workers:
            worker.listen(POLL_S / len(workers))


def _give_the_word(workers: Sequence[Worker]) -> None:
    start_clock_ns = time.monotonic_ns() + LEAD_NS
    for worker in workers:
        worker.news.allow(worker.news.allowed_s)
        worker.tell(str(start_clock_ns))


def _see_off(worker: Worker, grace_s: float) -> None:
    worker.dismiss()
    worker.news.allow(grace_s)
    while worker.works() and not worker.is_late():
        worker.listen(POLL_S)
