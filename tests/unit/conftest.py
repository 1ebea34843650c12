"""For unit tests: a queue as a run would have measured it, from numbers written by hand."""

from __future__ import annotations

import numpy as np
import pytest

MS = 1_000_000
S = 1_000_000_000


@pytest.fixture
def made_queue():
    """Makes a MeasuredQueue: request i is scheduled at i periods and takes latencies[i] ms."""
    from pytest_xsched.analysis.measured_queue import MeasuredQueue
    from pytest_xsched.native.binding import CENSORED, DRAIN, SAMPLE, WARMUP
    from pytest_xsched.native.run import Counts
    from pytest_xsched.scenario.arrival_process import Closed, Constant
    from pytest_xsched.scenario.scenario import QueueSpec
    from pytest_xsched.scenario.workload import spin

    def make(
        latencies,
        *,
        name="high",
        period_ms=50,
        late_ms=0,
        window_ms=None,
        closed=False,
        rate_hz=None,
        **counts,
    ):
        """A latency of None: never completed. `window_ms`: (start, end), else all requests."""
        n = len(latencies)
        start_ms, end_ms = window_ms or (0, n * period_ms)
        samples = np.zeros(n, SAMPLE)
        for i, (sample, latency) in enumerate(zip(samples, latencies, strict=True)):
            at = i * period_ms
            flags = WARMUP * (at < start_ms) | DRAIN * (at >= end_ms) | CENSORED * (latency is None)
            sample["flags"] = flags
            sample["scheduled_ns"] = at * MS
            sample["submitted_ns"] = sample["launched_ns"] = (at + late_ms) * MS
            sample["completed_ns"] = -1 if latency is None else round((at + latency) * MS)
        done = sum(latency is not None for latency in latencies)
        numbers = {
            "submitted": n,
            "launched": n,
            "completed": n,
            "failed": 0,
            "requests_submitted": n,
            "requests_completed": done,
            "suspended": 0,
            "most_in_flight": 4,
            "priority": 10,
            "state": "idle",
            **counts,
        }
        arrivals = Closed() if closed else Constant(rate_hz=rate_hz or 1000 / period_ms)
        return MeasuredQueue(
            spec=QueueSpec(name=name, workload=spin("1ms"), priority=10, arrivals=arrivals),
            counts=Counts(**numbers),
            samples=samples,
            window_ns=(start_ms * MS, end_ms * MS),
        )

    return make


@pytest.fixture
def made_fingerprint():
    """Makes a Fingerprint of one device, its fields as given."""
    from pytest_xsched.monitoring.environment import DeviceFacts, Fingerprint

    def make(environment=None, **device):
        return Fingerprint(
            devices=(DeviceFacts(**{"kind": "sim", "name": "by hand", **device}),),
            libraries=(),
            environment=environment or {},
            kernel="6.1",
            cpu=None,
            cpu_count=None,
            cpus_usable=2,
            cpus="0-1",
            python="3.12.1",
            packages={},
        )

    return make


@pytest.fixture
def made_run(made_fingerprint):
    """Makes a Run of queues, with the evidence that they give."""
    from pytest_xsched.analysis.evidence import gather
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.scenario.scenario import Scenario

    def make(*queues, wrong_results=(), checked=False):
        scenario = Scenario(
            queues=tuple(queue.spec for queue in queues),
            duration_ns=60 * S,
            warmup_ns=0,
            drain_ns=0,
            seed=3,
            device="sim",
            scheduler="builtin",
            policy="hpf",
        )
        evidence = gather(queues, tuple(wrong_results), checked=checked)
        return Run(
            scenario=scenario, fingerprint=made_fingerprint(), queues=queues, evidence=evidence
        )

    return make


@pytest.fixture
def high(made_queue, made_run):
    """A queue of 300 requests that took 1, 2, ..., 300 ms, in no order, at 20/s."""
    return made_run(made_queue([i * 77 % 300 + 1 for i in range(300)])).high
