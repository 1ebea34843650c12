"""Record the profiles that come with the package, on a GPU with PyTorch and torchvision.

    python bench/record_profiles.py [--folder DIR] [--device cuda] [--requests 100]

Each model of `models.py` is built and recorded in a fresh process. The files go into
pytest_xsched/scenario/profiles, or into another folder.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from measure import finish, table

from pytest_xsched import Profile
from pytest_xsched.base.units import format_duration
from pytest_xsched.cli.record import RecordRequest, describe, record

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent / "pytest_xsched/scenario/profiles"
PROFILES = {"resnet50": "resnet50", "transformer": "transformer", "llm_decode": "decode_step"}
"""Functions of `models.py` by the names of their profiles."""


def summary(name: str, profile: Profile) -> list[str]:
    durations_ns = profile.durations_ns
    apart_ns = sum(command.duration_ns for command in profile.commands)
    times = [profile.request_ns, apart_ns, statistics.median(durations_ns), max(durations_ns)]
    return [
        name,
        str(len(durations_ns)),
        str(profile.kernels),
        *(format_duration(round(ns)) for ns in times),
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=SHIPPED)
    options.add_argument("--device", default="cuda")
    options.add_argument("--requests", default="100")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, function in PROFILES.items():
        request = RecordRequest(
            factory=f"{HERE / 'models.py'}:{function}",
            framework="torch",
            arguments=None,
            output=str(given.folder / f"{name}.json"),
            requests=given.requests,
            device=given.device,
            driver=None,
            compiler=None,
        )
        path, profile = record(request, print)
        print(describe(path, profile), flush=True)
        rows.append(summary(name, profile))
    print(f"\n{profile.device}, driver {profile.driver}, {dict(profile.packages)}\n")
    table(["", "commands", "kernels", "request", "in commands", "median", "longest"], rows)
    return 0


if __name__ == "__main__":
    finish(main)
