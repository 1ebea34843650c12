"""Published figures of XSched on an MI308X, compared where only the scheduler differs.

python examples/published_figures.py

The figures are those of the reports on two models in github.com/zhenhantech/amdgpudriver (directory
doc/scheduler/XSCHED, January 2026), one run an arm. They come without evidence that anything ran,
and are believed here.
"""

from __future__ import annotations

from typing import Any

from pytest_xsched import (
    IncomparableError,
    QueueSpec,
    Scenario,
    Workload,
    XSched,
    closed,
    compare_runs,
    constant,
    matmul,
)
from pytest_xsched.reporting.comparison_table import table

MS = 1_000_000


def run(
    scheduler: str,
    high: tuple[Workload | str, float, float, float] | None,
    low: tuple[Workload | str, float] | None,
    *,
    processes: str = "together",
) -> dict[str, Any]:
    """Put figures where the JSON file has them.

    Args:
        scheduler: "native" or "xsched".
        high: its workload, P50, P99 and max in ms, at 20 requests a second for 60 s; None: absent.
        low: its workload and its iterations a second, as fast as it could; None: absent.
        processes: "separate" if each had one of its own.
    """
    specs: list[QueueSpec] = []
    labels: dict[str, Workload | str] = {}
    numbers: list[dict[str, Any]] = []
    if high is not None:
        workload, *times = high
        labels["high"] = workload
        specs.append(_spec("high", workload, 10, constant("20/s")))
        keys = ("p50_ns", "p99_ns", "max_ns")
        figures = {key: round(ms * MS) for key, ms in zip(keys, times, strict=True)}
        numbers.append({"n": 1200, "throughput_hz": 19.99, "offered_hz": 20.0, **figures})
    if low is not None:
        labels["low"] = low[0]
        specs.append(_spec("low", low[0], 1, closed(1)))
        n = round(low[1] * 60)
        numbers.append({"n": n, "throughput_hz": low[1], "offered_hz": None})
    scenario = Scenario(
        queues=tuple(specs),
        duration_ns=60_000 * MS,
        warmup_ns=0,
        drain_ns=0,
        seed=0,
        device="hip",
        scheduler=scheduler,
        policy="none",
        xsched=XSched(policy="hpf") if scheduler == "xsched" else None,
    ).to_dict()
    scenario["processes"] = processes
    for queue in scenario["queues"]:
        label = labels[queue["name"]]
        if isinstance(label, str):  # nothing that this package could run
            queue["workload"] = {"label": label, "commands": []}
    device = {"kind": "hip", "index": 0, "name": "AMD Instinct MI308X", "architecture": "gfx942"}
    versions = {"driver_version": "6.4", "kernel_driver_version": None}
    return {
        "scenario": scenario,
        "scheduler": scheduler,
        "fingerprint": {
            "devices": [device | versions],
            **{"libraries": [], "environment": {}, "packages": {}},
            **{"kernel": "5.10.134", "cpu": None, "cpu_count": None, "cpus_usable": None},
        },
        "evidence": {"faults": [], "queue_faults": {}},
        "queues": [
            {"name": spec.name, "workload": _label(labels[spec.name]), **figures}
            for spec, figures in zip(specs, numbers, strict=True)
        ],
    }


def _spec(name: str, workload: Workload | str, priority: int, arrivals: Any) -> QueueSpec:
    stand_in = matmul(1) if isinstance(workload, str) else workload
    return QueueSpec(name=name, workload=stand_in, priority=priority, arrivals=arrivals)


def _label(workload: Workload | str) -> str:
    return workload if isinstance(workload, str) else workload.label


HEAVY = matmul(1024, batch=4), matmul(2048, batch=16)
INTENSIVE = {
    "high alone": run("native", (HEAVY[0], 6.36, 6.40, 14.20), None),
    "low alone": run("native", None, (HEAVY[1], 3.88)),
    "native": run("native", (HEAVY[0], 24.82, 29.63, 33.89), (HEAVY[1], 3.16)),
    "xsched": run("xsched", (HEAVY[0], 17.45, 24.55, 26.01), (HEAVY[1], 2.90)),
}
"""Four arms of one program."""

LIGHT = matmul(512), matmul(1024, batch=8)
HEADLINE = {
    "native": run(
        "native",
        ("ResNet-18, batch 1, in PyTorch", 6.11, 276.56, 276.56),
        ("ResNet-50, batch 256, in PyTorch", 7.84),
        processes="separate",
    ),
    "xsched": run("xsched", (LIGHT[0], 0.84, 4.36, 6.02), (LIGHT[1], 52.48)),
}
"""The two runs of a P99 that was called "63.4 times better"."""


def main() -> None:
    """Print the comparison of the four arms, and why there is none of the two."""
    alone = {name: INTENSIVE[f"{name} alone"] for name in ("high", "low")}
    intensive = compare_runs(INTENSIVE["native"], INTENSIVE["xsched"], alone=alone)
    print("\n".join(table(intensive.to_dict())))
    ratio = HEADLINE["native"]["queues"][0]["p99_ns"] / HEADLINE["xsched"]["queues"][0]["p99_ns"]
    try:
        compare_runs(HEADLINE["native"], HEADLINE["xsched"])
    except IncomparableError as error:
        print(f"{ratio:.1f} times better? IncomparableError: {error}")


if __name__ == "__main__":
    main()
