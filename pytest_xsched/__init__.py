"""pytest-xsched: latency and throughput targets for workloads that share a GPU, as pytest tests.

Names are loaded on first use, so that `pytest -p xsched` costs nothing where no test asks for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_xsched.analysis.measured_queue import MeasuredQueue
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.analysis.verdict import Verdict
    from pytest_xsched.base.quantity import Quantity
    from pytest_xsched.base.units import Duration, Rate, minutes, ms, ns, per_min, per_s, s, us
    from pytest_xsched.comparison.comparison import ComparedQueue, Comparison
    from pytest_xsched.comparison.existing_runs import compare_runs
    from pytest_xsched.errors import (
        DeviceBusy,
        DeviceError,
        DeviceUnavailable,
        ForkedError,
        IncomparableError,
        InvalidRun,
        MissingExtra,
        NotBuilt,
        QosAssertionError,
        QueueTimeout,
        ScenarioError,
        SchedulerInactive,
        WorkerCrashed,
        WorkerHung,
        XSchedError,
        XSchedWarning,
    )
    from pytest_xsched.runner.live_queues import Ticket, XQueue, XQueues
    from pytest_xsched.scenario.arrival_process import (
        bursts,
        closed,
        constant,
        gamma,
        poisson,
        replay,
    )
    from pytest_xsched.scenario.device_models import CpuModel, SimModel
    from pytest_xsched.scenario.kernels import buffer, float32, int32, int64
    from pytest_xsched.scenario.model_traces import trace
    from pytest_xsched.scenario.queue_spec import QueueSpec
    from pytest_xsched.scenario.scenario import Scenario
    from pytest_xsched.scenario.timed_changes import Change, at
    from pytest_xsched.scenario.workload import (
        Workload,
        command,
        empty,
        kernel,
        matmul,
        sequence,
        spin,
        vector_add,
    )
    from pytest_xsched.scenario.xsched_settings import XSched
    from pytest_xsched.session.session import Session

_HOMES = {
    "analysis.run": ["Run"],
    "comparison.comparison": ["ComparedQueue", "Comparison"],
    "errors": [
        "DeviceBusy",
        "DeviceError",
        "DeviceUnavailable",
        "ForkedError",
        "IncomparableError",
        "InvalidRun",
        "MissingExtra",
        "NotBuilt",
        "QosAssertionError",
        "QueueTimeout",
        "ScenarioError",
        "SchedulerInactive",
        "WorkerCrashed",
        "WorkerHung",
        "XSchedError",
        "XSchedWarning",
    ],
    "scenario.timed_changes": ["Change", "at"],
    "scenario.kernels": ["buffer", "float32", "int32", "int64"],
    "runner.live_queues": ["Ticket", "XQueue", "XQueues"],
    "scenario.xsched_settings": ["XSched"],
    "scenario.arrival_process": ["bursts", "closed", "constant", "gamma", "poisson", "replay"],
    "scenario.device_models": ["CpuModel", "SimModel"],
    "analysis.measured_queue": ["MeasuredQueue"],
    "scenario.scenario": ["Scenario"],
    "scenario.queue_spec": ["QueueSpec"],
    "base.quantity": ["Quantity"],
    "session.session": ["Session"],
    "scenario.model_traces": ["trace"],
    "base.units": ["Duration", "Rate", "minutes", "ms", "ns", "per_min", "per_s", "s", "us"],
    "analysis.verdict": ["Verdict"],
    "comparison.existing_runs": ["compare_runs"],
    "scenario.workload": [
        *("Workload", "command", "empty", "kernel", "matmul", "sequence", "spin", "vector_add"),
    ],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Change",
    "ComparedQueue",
    "Comparison",
    "CpuModel",
    "DeviceBusy",
    "DeviceError",
    "DeviceUnavailable",
    "Duration",
    "ForkedError",
    "IncomparableError",
    "InvalidRun",
    "MeasuredQueue",
    "MissingExtra",
    "NotBuilt",
    "QosAssertionError",
    "Quantity",
    "QueueSpec",
    "QueueTimeout",
    "Rate",
    "Run",
    "Scenario",
    "ScenarioError",
    "SchedulerInactive",
    "Session",
    "SimModel",
    "Ticket",
    "Verdict",
    "WorkerCrashed",
    "WorkerHung",
    "Workload",
    "XQueue",
    "XQueues",
    "XSched",
    "XSchedError",
    "XSchedWarning",
    "at",
    "buffer",
    "bursts",
    "closed",
    "command",
    "compare_runs",
    "constant",
    "empty",
    "float32",
    "gamma",
    "int32",
    "int64",
    "kernel",
    "matmul",
    "minutes",
    "ms",
    "ns",
    "per_min",
    "per_s",
    "poisson",
    "replay",
    "s",
    "sequence",
    "spin",
    "trace",
    "us",
    "vector_add",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pytest_xsched' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pytest_xsched.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
