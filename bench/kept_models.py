"""How long a comparison with models takes if each model is built once, and if each run builds it.

    python bench/kept_models.py [--device cpu] [--episodes 2] [--duration 1s]

Needs PyTorch. `high` is a stack of 64 small layers at 20 requests a second, and `low` one of larger
layers, both of `examples/models/test_own_model.py`; each is measured alone, too. On a GPU the arms
are native, priority and builtin. On the processor, where a model has no scheduler, they are two
builds of `low`. The rows are measured alternately, the first one again at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import finish, judge, table

from pytest_xsched import Build, Session, model
from pytest_xsched.session.machines import Machines
from pytest_xsched.session.settings import Settings

HERE = Path(__file__).resolve().parent
ROWS = ("once", "for each run", "once again")


def layers(note: str, name: str, *size: int) -> Callable[[], Any]:
    """Build a model of the example, and note that."""
    sys.path.append(str(HERE.parent / "examples" / "models"))
    from test_own_model import layers as build

    with open(note, "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    return build(*size)


@contextlib.contextmanager
def ending_with_each_run() -> Iterator[None]:
    """Let no process outlive its run, until the end of the block."""
    keeping = Machines.keeping_processes
    Machines.keeping_processes = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    try:
        yield
    finally:
        Machines.keeping_processes = keeping  # type: ignore[method-assign]


def compare(given: argparse.Namespace, note: str) -> tuple[float, int]:
    """Return the time of a comparison in seconds, and the number of its runs."""

    def stack(name: str, *size: int) -> Any:
        return model(f"{HERE / 'kept_models.py'}:layers", note, name, *size)

    on_cpu = given.device == "cpu"
    session = Session(Settings(device=given.device, noise="off"))
    try:
        high = session.queue("high", stack("high", 64, 256, 1), priority=10, rate="20/s")
        large = (8, 256, 16) if on_cpu else (16, 4096, 4096)
        low = session.queue("low", stack("low", *large), priority=1)
        arms: list[Any] = ["native", "priority", "builtin"]
        if on_cpu:
            arms = [Build("now"), Build("next", {"low": stack("low", 9, 256, 16)})]
        begin_s = time.monotonic()
        comparison = session.compare(
            high,
            low,
            schedulers=arms,
            arms=["alone"],
            episodes=given.episodes,
            duration=given.duration,
        )
        took_s = time.monotonic() - begin_s
        return took_s, sum(len(comparison.episodes(arm)) for arm in comparison.arms)
    finally:
        session.close()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--episodes", type=int, default=2)
    options.add_argument("--duration", default="1s")
    given = options.parse_args()
    rows, took, built = [], [], []
    for row in ROWS:
        with tempfile.TemporaryDirectory() as directory:
            note = os.path.join(directory, "built")
            with ending_with_each_run() if row == "for each run" else contextlib.nullcontext():
                took_s, runs = compare(given, note)
            names = Path(note).read_text(encoding="utf-8").split()
        took.append(took_s)
        built.append(names)
        rows.append((row, f"{took_s:.1f}", runs, names.count("high"), names.count("low")))
    table(("each model is built", "s", "runs", "high", "low"), rows)
    faster = max(took[0], took[2]) < took[1]
    return judge(
        [
            ("high is built once", built[0].count("high") == built[2].count("high") == 1),
            (f"{max(took[0], took[2]):.1f} s, less than {took[1]:.1f} s", faster),
        ]
    )


if __name__ == "__main__":
    finish(main)
