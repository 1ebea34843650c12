"""The example's server of tokens next to a training job, under what shares a GPU between processes.

    python bench/gpu_server.py [--device cuda] [--duration 5s] [--episodes 1] [--rate 10/s]

Needs PyTorch, torchvision, aiohttp and nvidia-cuda-mps-control. `chat` streams 16 tokens an answer
from `examples/server/serve.py`; `train` is the training step of `models.py`, eagerly, in a process
of its own. Arms that follow each other share the server if they start it alike. The arm `xsched`
is measured if XSCHED_HOME names an installation. Figures are medians over the episodes.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
from pathlib import Path

from measure import finish, judge, table
from mechanisms import Told

from pytest_xsched import MPS, model, openai_chat, server
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.session.settings import Settings

HERE = Path(__file__).resolve().parent
SERVE = HERE.parent / "examples" / "server" / "serve.py"
TOKENS = 16


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="5s")
    options.add_argument("--episodes", type=int, default=1)
    options.add_argument("--rate", default="10/s")
    options.add_argument("--layers", default="48")
    options.add_argument("--width", default="4096")
    given = options.parse_args()
    url = f"http://127.0.0.1:{free_port()}"
    size = ("--layers", given.layers, "--width", given.width)
    where = ("--port", url.rpartition(":")[2], "--device", given.device)
    serving = server([sys.executable, SERVE, *where, *size], ready=f"{url}/health")
    chat = openai_chat(
        f"{url}/v1",
        model="small",
        messages="Which planets of the solar system have rings?",
        parameters={"max_tokens": TOKENS},
        server=serving,
    )
    train = model(f"{HERE / 'models.py'}:training_step", mode="eager", tolerance=None)
    schedulers: list[str | MPS] = ["native", "time-slicing", "mps"]
    schedulers += [
        MPS(active_thread_percentage={"train": share}, priority={"train": 1}) for share in (80, 50)
    ]
    if os.environ.get("XSCHED_HOME"):
        schedulers.append("xsched")
    session = Told(Settings(device=given.device, process="worker"))
    comparison = session.compare(
        session.queue("chat", chat, priority=10, rate=given.rate),
        session.queue("train", train, priority=1),
        schedulers=schedulers,
        arms=["alone"],
        episodes=given.episodes,
        duration=given.duration,
    )
    session.close()
    rows, spoilt = [], []
    for arm in comparison.arms:
        runs = [one.run for one in comparison.episodes(arm)]
        cells = [arm, *["-"] * 6]
        if "chat" in runs[0].queues:
            cells[1] = str(sum(run.chat.n for run in runs))
            for at, name in ((2, "first_token"), (4, "per_token")):
                for shift, q in ((0, 0.5), (1, 0.9)):
                    ns = [getattr(run.chat, name).percentile(q).value for run in runs]
                    cells[at + shift] = format_duration(round(statistics.median(ns)))
        if "train" in runs[0].queues:
            cells[6] = format_rate(statistics.median(run.train.throughput.value for run in runs))
        spoilt += [f"{arm}: {fault}" for run in runs for fault in run.evidence.faults]
        rows.append(cells)
    name = comparison.episodes("native")[0].run.device_name
    print(f"\nchat at {given.rate}, {TOKENS} tokens, next to training on {name}, ", end="")
    print(f"{given.episodes} x {given.duration}\n")
    header = ["", "n", "first token P50", "P90", "per token P50", "P90", "train"]
    table(header, rows)
    return judge([(f"faults of runs: {'; '.join(spoilt) or 'none'}", not spoilt)])


if __name__ == "__main__":
    finish(main)
