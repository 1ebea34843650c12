"""Where and when the runs of a JSON file were measured, in the words of a page."""

from __future__ import annotations

from pytest_xsched.reporting.run_table import Record


def session(document: Record) -> Record:
    """Describe the session of a file."""
    commit = document["commit_info"]
    dirty = " with changes" if commit["dirty"] else ""
    versioned = commit["id"] != "unversioned"
    return {
        "project": commit["project"],
        "commit": f"{commit['id'][:12]}{dirty} on {commit['branch']}" if versioned else "",
        "time": moment(document["datetime"]),
        "machine": machine(document),
        "devices": ", ".join(map(str, document["machine_info"]["xsched_devices"])),
        "version": document["version"],
        "environment": list(document["xsched"].get("environment", {}).items()),
    }


def moment(text: str) -> str:
    """Return a time of ISO 8601 without its fraction of a second."""
    day, _, time = text.partition("T")
    return f"{day} {time[:8]} UTC" if text.endswith("+00:00") else text


def machine(document: Record) -> str:
    """Name the machine of a file."""
    info = document["machine_info"]
    parts = [info["node"], info["cpu"]["brand_raw"], f"{info['system']} {info['release']}"]
    return ", ".join(str(part) for part in parts if part)


def machine_key(document: Record) -> tuple[str, ...]:
    """Return what tells the machine of a file from others."""
    devices = document["machine_info"]["xsched_devices"]
    return (machine(document), *map(str, devices))
