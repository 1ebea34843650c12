"""The example's server next to a training job, under what shares a GPU between processes.

    python bench/gpu_server.py [--duration 8s] [--episodes 1] [--chat 10/s] [--classify 20/s]

Needs PyTorch, torchvision, aiohttp and nvidia-cuda-mps-control. `examples/server/serve.py` serves
two models of `models.py`, eagerly: `chat` streams 8 tokens an answer, a decode step each, and
`classify` is a request to ResNet-50. `train` is the training step of `models.py`, eagerly, in a
process of its own. The tokens have limits, and each arm a verdict on them, whatever it is. Arms
that follow each other share the server if they start it alike. The arm `xsched` is measured if
XSCHED_HOME names an installation. Figures are medians over the episodes.
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

from pytest_xsched import (
    MPS,
    Comparison,
    Run,
    Session,
    XSched,
    endpoint,
    model,
    openai_chat,
    server,
)
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.errors import TargetMissed, TargetUndecided
from pytest_xsched.session.settings import Settings

HERE = Path(__file__).resolve().parent
SERVE = HERE.parent / "examples" / "server" / "serve.py"
MODELS = HERE / "models.py"
TOKENS = 8
Q = 0.9
TARGETS = {"first_token": "20ms", "per_token": "10ms"}
"""Limits of the P90 of `chat`."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def compared(session: Session, given: argparse.Namespace) -> Comparison:
    url = f"http://127.0.0.1:{free_port()}"
    models = ("--chat", f"{MODELS}:decode_step", "--classify", f"{MODELS}:resnet50")
    where = ("--port", url.rpartition(":")[2])
    serving = server([sys.executable, SERVE, *where, *models], ready=f"{url}/health")
    chat = openai_chat(
        f"{url}/v1",
        model="small",
        messages="Which planets of the solar system have rings?",
        parameters={"max_tokens": TOKENS},
        server=serving,
    )
    classify = endpoint(f"{url}/classify", method="POST", server=serving)
    train = model(f"{MODELS}:training_step", mode="eager", tolerance=None)
    schedulers: list[str | MPS | XSched] = ["native", "time-slicing", "mps"]
    for share in (80, 50):
        schedulers.append(MPS(active_thread_percentage={"train": share}, priority={"train": 1}))
    if os.environ.get("XSCHED_HOME"):
        schedulers.append(XSched(scheduler="global"))
    return session.compare(
        session.queue("chat", chat, priority=10, rate=given.chat),
        session.queue("classify", classify, priority=10, rate=given.classify),
        session.queue("train", train, priority=1),
        schedulers=schedulers,
        episodes=given.episodes,
        duration=given.duration,
    )


def verdict(run: Run, latency: str) -> str:
    """Return whether the P90 of a latency of `chat` is below its limit."""
    try:
        getattr(run.chat, latency).assert_percentile_below(Q, TARGETS[latency])
    except TargetMissed:
        return "FAIL"
    except TargetUndecided:
        return "UNDECIDED"
    return "PASS"


def cells(arm: str, runs: list[Run]) -> list[str]:
    """Return the row of an arm: medians over its episodes, and the verdicts of the last one."""
    found = [arm, *["-"] * 8]

    def middle(queue: str, latency: str | None, q: float) -> str:
        queues = [getattr(run, queue) for run in runs]
        parts = queues if latency is None else [getattr(queue, latency) for queue in queues]
        return format_duration(round(statistics.median(part.percentile(q).value for part in parts)))

    if "chat" in runs[0].queues:
        found[1] = str(sum(run.chat.n for run in runs))
        for at, latency in ((2, "first_token"), (4, "per_token")):
            found[at] = middle("chat", latency, 0.5)
            found[at + 1] = f"{middle('chat', latency, Q)} {verdict(runs[-1], latency)}"
    if "classify" in runs[0].queues:
        found[6:8] = middle("classify", None, 0.5), middle("classify", None, Q)
    if "train" in runs[0].queues:
        found[8] = format_rate(statistics.median(run.train.throughput.value for run in runs))
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="8s")
    options.add_argument("--episodes", type=int, default=1)
    options.add_argument("--chat", default="10/s", help="rate of answers of 8 tokens")
    options.add_argument("--classify", default="20/s", help="rate of classifications")
    given = options.parse_args()
    session = Told(Settings(device=given.device, process="worker"))
    comparison = compared(session, given)
    session.close()
    rows, spoilt = [], []
    for arm in comparison.arms:
        runs = [one.run for one in comparison.episodes(arm)]
        spoilt += [f"{arm}: {fault}" for run in runs for fault in run.evidence.faults]
        rows.append(cells(arm, runs))
    name = comparison.episodes("native")[0].run.device_name
    print(f"\nchat at {given.chat}, {TOKENS} tokens, and ResNet-50 at {given.classify}, ", end="")
    print(f"next to training on {name}, {given.episodes} x {given.duration}")
    limits = (f"P90 of {latency} below {limit}" for latency, limit in TARGETS.items())
    print(f"targets: {', '.join(limits)}\n")
    header = ("", "n", "first token P50", "P90", "per token P50", "P90")
    table((*header, "ResNet-50 P50", "P90", "train"), rows)
    return judge([(f"faults of runs: {'; '.join(spoilt) or 'none'}", not spoilt)])


if __name__ == "__main__":
    finish(main)
