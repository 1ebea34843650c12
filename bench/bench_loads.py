"""How long 300,000 arrivals take: from what a user writes to the report of a run on `sim`.

The traces are made here, in the formats in which Azure, BurstGPT and Mooncake publish theirs.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import finish, judge, table, wall_ns
from numpy.typing import NDArray

from pytest_xsched import QueueSpec, Session, replay, s, spin, trace_file
from pytest_xsched.session.settings import Settings

COUNT = 300_000
SPAN_S = 3000
REPETITIONS = 5
MOST_S = 1.0
"""Loading that is not well below a second is felt each time a test begins."""


def median_s(function: Callable[[], object]) -> float:
    return statistics.median(wall_ns(function) for _ in range(REPETITIONS)) / 1e9


def write_traces(seconds: NDArray[np.float64], folder: Path) -> dict[str, Path]:
    """Write one load in three formats, with sizes of requests drawn at random."""
    rng = np.random.default_rng(1)
    sent, received = rng.integers(1, 8000, COUNT).tolist(), rng.integers(1, 900, COUNT).tolist()
    begin = np.datetime64("2024-05-12T00:00:00", "us")
    moments = begin + (seconds * 1e6).astype("m8[us]")
    texts = {
        "azure.csv": ["TIMESTAMP,ContextTokens,GeneratedTokens"],
        "burstgpt.csv": ["Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"],
        "mooncake.jsonl": [],
    }
    for at, moment, i, o in zip(seconds.tolist(), moments, sent, received, strict=True):
        texts["azure.csv"].append(f"{str(moment).replace('T', ' ')}+00:00,{i},{o}")
        texts["burstgpt.csv"].append(f"{at:.3f},ChatGPT,{i},{o},{i + o},Conversation log")
        blocks = list(range(i // 512 + 1))
        texts["mooncake.jsonl"].append(
            json.dumps(
                {"timestamp": int(at * 1000), "input_length": i, "output_length": o}
                | {"hash_ids": blocks}
            )
        )
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines))
    return {name: folder / name for name in texts}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        return measured(Path(name))


def measured(folder: Path) -> int:
    seconds = np.sort(np.random.default_rng(0).random(COUNT)) * SPAN_S
    texts = [f"{moment:.6f}s" for moment in seconds]
    load = replay(seconds * s)
    session = Session(Settings(device="sim", scheduler="builtin"))
    queue = session.queue("high", spin("1us"), arrivals=load)

    def run_of(queue: QueueSpec) -> str:
        run = session.run(queue, duration=f"{SPAN_S + 1}s", policy="hpf", trace="off")
        return json.dumps(run.to_dict())

    scenario = session.run(queue, duration=f"{SPAN_S + 1}s", policy="hpf", trace="off").scenario
    traces = write_traces(seconds, folder)

    def load_anew(path: Path) -> object:
        os.utime(path)  # a file that did not change is read once
        return trace_file(path)

    found = {
        "replay(array * s)": median_s(lambda: replay(seconds * s)),
        "replay(texts)": median_s(lambda: replay(texts)),
        **{
            f"trace_file({name})": median_s(functools.partial(load_anew, path))
            for name, path in traces.items()
        },
        "digest of the scenario": median_s(scenario.digest),
        "scenario as Python": median_s(scenario.to_python),
        "run on sim, and its record": median_s(lambda: run_of(queue)),
    }
    table([f"{COUNT} arrivals", "s"], [(what, f"{took:.3f}") for what, took in found.items()])
    loads = [name for name in found if "(" in name]
    return judge((f"{name} takes less than {MOST_S} s", found[name] < MOST_S) for name in loads)


if __name__ == "__main__":
    finish(main)
