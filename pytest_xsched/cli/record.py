"""`pytest-xsched record MODEL -o FILE`: the times of a model's commands, kept for `recorded`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.base.constants import split_device
from pytest_xsched.base.output_file import output_fault
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import format_duration, one_line
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.recording import REQUESTS
from pytest_xsched.scenario.models import Model, make_model
from pytest_xsched.scenario.profile import REQUESTS_MAX, SUFFIX, Profile
from pytest_xsched.session.auto_device import auto_device
from pytest_xsched.system.driver_files import LibraryFile, find_libraries
from pytest_xsched.workers.recording import record_in_worker, require_recordable


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """What to record, as the user wrote it.

    Attributes:
        factory: the function that builds the model, ``"path/file.py:name"``.
        framework: who captures it, one of `models.FRAMEWORKS`.
        arguments: its keyword arguments as the text of a JSON object; None: none.
        output: the file to write; None: the name of the function.
        requests: how many requests are timed, as a text; None: REQUESTS.
        device: ``"auto"`` or the name of a device.
        driver: the GPU's driver library, if an option names it.
        compiler: likewise.
    """

    factory: str
    framework: str
    arguments: str | None
    output: str | None
    requests: str | None
    device: str
    driver: LibraryFile | None
    compiler: LibraryFile | None


def record(request: RecordRequest, waiting: Callable[[str], None]) -> tuple[Path, Profile]:
    """Record a model and write its profile; nothing is measured if the file cannot be written.

    Args:
        request: what to record.
        waiting: called with a phrase, "waiting for ...", while another process measures.

    Raises:
        ScenarioError: a value is wrong, or the model cannot be recorded.
        XSchedError: there is no GPU, or a call of its driver failed.
        OSError: the file cannot be written.
    """
    arguments = _arguments(request.arguments)
    model = make_model(request.factory, (), arguments, framework=request.framework)
    path = _output(request.output, model)
    requests = _requests(request.requests)
    device = auto_device() if request.device == "auto" else request.device
    require_recordable(model, device)
    profile = record_in_worker(
        model,
        device,
        libraries=find_libraries(split_device(device)[0], request.driver, request.compiler),
        requests=requests,
        waiting=waiting,
    )
    profile.save(path)
    return path, profile


def describe(path: Path, profile: Profile) -> str:
    """Return one sentence about a profile that was recorded."""
    apart_ns = sum(command.duration_ns for command in profile.commands)
    return (
        f"{path}: {len(profile.commands)} commands with {profile.kernels} kernels; a request takes "
        f"{format_duration(profile.request_ns)}, and {format_duration(apart_ns)} with a launch for "
        f"each command (medians of {profile.requests} requests on {profile.device})"
    )


def _arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ScenarioError(
            f"--arguments: {one_line(text)} is not JSON: {error}; write '{{\"batch\": 8}}'"
        ) from None
    if not isinstance(values, dict):
        raise ScenarioError(
            f"--arguments: {one_line(text)} is not a JSON object; write '{{\"batch\": 8}}'"
        )
    return values


def _output(text: str | None, model: Model) -> Path:
    text = model.factory.rpartition(":")[2] + SUFFIX if text is None else text
    if not text.endswith(SUFFIX):
        raise ScenarioError(
            f"--output: the name of the file {text!r} must end in {SUFFIX}, so that recorded() "
            "takes it for a file"
        )
    path = Path(expand_path(text, "--output"))
    if fault := output_fault(path):
        raise ScenarioError(f"--output: {fault}")
    return path


def _requests(text: str | None) -> int:
    if text is None:
        return REQUESTS
    if not text.isdecimal():
        raise ScenarioError(f"--requests: {one_line(text)} is not a whole number")
    return integer("--requests:", int(text), 1, REQUESTS_MAX)
