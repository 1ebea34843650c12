"""Record the profile of a model in a worker process, which a driver may end or hang."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pytest_xsched.base.constants import split_device
from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.factory import Place
from pytest_xsched.models.recording import REQUESTS
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.workers.dispatch import MODEL_SET_UP_S
from pytest_xsched.workers.isolated import GRACE_S, POLL_S
from pytest_xsched.workers.worker import RESULT
from pytest_xsched.workers.worker_process import WorkerMessages, WorkerProcess

MODULE = "pytest_xsched.workers.recorder"
CAPTURING = ("cuda", "hip")
"""Kinds of devices that have graphs."""


def require_recordable(model: Model, device: str) -> None:
    """Check that the commands of a model can be recorded on a device.

    Raises:
        ScenarioError: they cannot; says what can be done.
    """
    if split_device(device)[0] not in CAPTURING:
        raise ScenarioError(
            f"{model.name}: models are captured on {' and '.join(CAPTURING)}, and the device is "
            f"{device!r}; record where there is a GPU, and replay the file here: "
            f'recorded("{model.factory.rpartition(":")[2]}.json")'
        )
    if model.mode != "graph":
        raise ScenarioError(
            f"{model.name}: mode {model.mode!r} has no commands whose times could be recorded; "
            'leave it out, which is mode="graph"'
        )
    if model.steps is not None:
        raise ScenarioError(
            f"{model.name}: a request with steps cannot be recorded; record prefill and step as "
            'models of their own, and join them: sequence([recorded("prefill.json"), '
            '*[recorded("step.json")] * 16], milestone="token")'
        )


def record_in_worker(
    model: Model,
    device: str,
    *,
    libraries: Libraries,
    lock_timeout_s: float = 600.0,
    requests: int = REQUESTS,
    waiting: Callable[[str], None] | None = None,
) -> Profile:
    """Build, capture and record a model in a fresh process.

    Args:
        model: of the user.
        device: name of the GPU.
        libraries: of the GPU.
        lock_timeout_s: longest wait for another measurement on the GPU.
        requests: how many requests are timed.
        waiting: called with a phrase, "waiting for ...", while another process measures there.

    Raises:
        ScenarioError: the model cannot be recorded: its code fails, or it cannot be captured.
        DeviceUnavailable: there is no such GPU.
        DeviceBusy: another process measured for longer than `lock_timeout_s`.
        WorkerCrashed: the process ended without a result, or did not end.
    """
    require_recordable(model, device)
    messages = WorkerMessages(MODEL_SET_UP_S, GRACE_S, None, waiting)
    job = {
        "model": model.to_json(),
        "device": device,
        "libraries": libraries.to_dict(),
        "lock_timeout_s": lock_timeout_s,
        "requests": requests,
        "place": asdict(Place.here()),
    }
    with TemporaryDirectory() as name:
        worker = WorkerProcess(Path(name), job, messages=messages, environment=None, module=MODULE)
        try:
            worker.listen_until(POLL_S)
        finally:  # also on Ctrl-C
            worker.end()
        left = Path(name) / RESULT
        if not left.exists():
            raise worker.error() or worker.crash(", without a result")
        return Profile.from_dict(json.loads(left.read_text(encoding="utf-8")))
