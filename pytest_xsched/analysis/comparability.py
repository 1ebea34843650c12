"""Which runs may be compared: everything that a figure depends on, as named fields.

Reads only what `Run.to_dict` returns, so that a run from a file is as good as a new one. Two runs
are comparable if only the scheduler and the seed differ. Every field of a scenario counts unless
this file names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
"""One run in JSON's types."""

_PACKAGE = "pytest-xsched"
_OF_THE_DRAW = ("seed",)
_OF_THE_SCHEDULER = ("scheduler", "policy", "xsched", "mps", "stream_priority")
_QUEUE_OF_THE_SCHEDULER = ("threshold", "batch_size", "utilization", "deadline_ns", "laxity_ns")
# Clocks differ from moment to moment. A compiler is mapped only if something was compiled, and the
# facts of the device have its version.
_MOMENTARY = ("core_clock_mhz", "memory_clock_mhz")
_DRIVERS = re.compile(r"lib(cuda|amdhip64|hsa-runtime64|OpenCL|pocl)\.so")
_SCHEDULERS = re.compile(r"lib(xsched|preempt|shim|hal)")
_VARIABLES_OF_THE_SCHEDULER = re.compile(r"XSCHED_|CUDA_MPS_|LD_PRELOAD$")
# The uuid identifies the device, and the libraries have fields of their own. A daemon of a run is
# in another directory each time.
_OWN_DAEMON = re.compile(r"/pytest-xsched-\d+-\w{8}$")
_VARIABLES_OF_NOTHING = re.compile(r".*_VISIBLE_DEVICES$|LD_LIBRARY_PATH$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field in which two runs differ.

    Attributes:
        field: its name with dots: ``"queues.high.workload"``.
        first: its value in the first run, in JSON's types; None if it has none.
        second: its value in the second run.
        advice: what makes it equal, with a semicolon before it; "" where that is plain.
    """

    field: str
    first: Any
    second: Any
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {_show(self.first)} against {_show(self.second)}{self.advice}"


def likeness(run: Record, *, scheduler: bool = False) -> dict[str, Any]:
    """Return the fields that must be equal, by name, in JSON's types.

    Args:
        run: what `Run.to_dict` returned.
        scheduler: whether the scheduler counts too: its name, settings and libraries.
    """
    scenario = run["scenario"]
    fields: dict[str, Any] = {}
    for key, value in scenario.items():
        if key == "queues" or key in _OF_THE_DRAW or (key in _OF_THE_SCHEDULER and not scheduler):
            continue
        _flatten(key, value, fields)
    fields["queues"] = [queue["name"] for queue in scenario["queues"]]
    labels = {queue["name"]: queue["workload"] for queue in run["queues"]}
    for queue in scenario["queues"]:
        start = f"queues.{queue['name']}"
        # The label is for people; the hash distinguishes other commands under the same label.
        digest = _hash(_as_before(queue["workload"]))[:8]
        fields[f"{start}.workload"] = f"{labels[queue['name']]} ({digest})"
        for key, value in queue.items():
            if key in ("name", "workload") or (key in _QUEUE_OF_THE_SCHEDULER and not scheduler):
                continue
            if key == "arrivals":  # a trace is known by its digest, wherever it lies
                value = {name: part for name, part in value.items() if name != "path"}
            _flatten(f"{start}.{key}", value, fields)
    for model in run["fingerprint"].get("models", ()):  # absent in old records
        start = f"queues.{model['queue']}"
        fields[f"{start}.kernels"] = f"{model['kernels']} kernels ({model['kernels_digest'][:8]})"
        fields[f"{start}.framework"] = model["framework"]
    fields |= _machine(run["fingerprint"], scheduler=scheduler)
    if (host := run.get("host")) is not None:  # absent in old records
        fields["host.name"] = host
    return fields


def _as_before(workload: Record) -> Record:
    """Return a workload without fields that are younger than stored runs and say nothing here."""
    younger = ("endpoint", "milestones")
    workload = {key: value for key, value in workload.items() if value or key not in younger}
    if (model := workload.get("model")) is not None and model.get("steps") is None:
        workload["model"] = {name: value for name, value in model.items() if name != "steps"}
    return workload


def mapped_schedulers(run: Record) -> list[str]:
    """Return the paths of XSched's libraries that the measuring process had mapped."""
    paths = (library["path"] for library in run["fingerprint"]["libraries"])
    return [path for path in paths if _SCHEDULERS.match(os.path.basename(path))]


def schedulers_digests(run: Record) -> dict[str, str]:
    """Return the SHA-256 of each of XSched's libraries that was mapped, by the name of its file."""
    files = (run["evidence"].get("xsched") or {}).get("files", ())
    names = ((os.path.basename(file["path"]), file["sha256"]) for file in files)
    return {name: digest for name, digest in names if _SCHEDULERS.match(name)}


def machine_part(field: str) -> bool:
    """Check whether a field of `likeness` is about the machine, not about the scenario."""
    return field.partition(".")[0] in ("devices", "libraries", "environment", "host", _PACKAGE)


def likeness_digest(run: Record, *, scheduler: bool = False) -> str:
    """Compute the SHA-256 of `likeness`, in hex: equal for runs that may be compared."""
    return _hash(likeness(run, scheduler=scheduler))


def differences(first: Record, second: Record, *, scheduler: bool = False) -> list[Difference]:
    """List the fields of `likeness` in which two runs differ, in the order of their names."""
    a, b = (likeness(run, scheduler=scheduler) for run in (first, second))
    chosen = _kernels_of_shares(first) | _kernels_of_shares(second)
    return [
        Difference(field=field, first=a.get(field), second=b.get(field))
        for field in sorted(a.keys() | b.keys())
        if a.get(field) != b.get(field) and field not in chosen
    ]


def _kernels_of_shares(run: Record) -> set[str]:
    """Return the fields that differ because MPS shows a process fewer multiprocessors.

    Libraries choose other kernels for them, which is an effect of the scheduler.
    """
    mps = run["scenario"].get("mps")
    shares = mps["active_thread_percentage"] if mps is not None else ()
    return {f"queues.{name}.kernels" for name, _ in shares}


def _machine(fingerprint: Record, *, scheduler: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for i, device in enumerate(fingerprint["devices"]):
        for key, value in device.items():
            if key not in _MOMENTARY:
                fields[f"devices.{i}.{key}"] = value
    for library in fingerprint["libraries"]:
        name = os.path.basename(library["path"])
        if _DRIVERS.match(name) or (scheduler and _SCHEDULERS.match(name)):
            fields[f"libraries.{name}"] = {k: v for k, v in library.items() if k != "path"}
    for name, value in fingerprint["environment"].items():
        of_the_scheduler = bool(_VARIABLES_OF_THE_SCHEDULER.match(name))
        if value is None or _VARIABLES_OF_NOTHING.match(name) or _OWN_DAEMON.search(value):
            continue
        if scheduler or not of_the_scheduler:
            fields[f"environment.{name}"] = value
    for key in ("kernel", "cpu", "cpu_count", "cpus_usable"):
        fields[f"host.{key}"] = fingerprint[key]
    fields["host.cpus"] = fingerprint.get("cpus")  # absent in old records
    # Of all packages, only this one takes part in a measurement.
    fields[_PACKAGE] = fingerprint["packages"].get(_PACKAGE)
    return fields


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, into)
    else:
        into[name] = value


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _show(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}... ({_hash(value)[:8]})"
