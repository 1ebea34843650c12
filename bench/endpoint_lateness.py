"""How late the load process sends, and whether the latencies of `endpoint` are true.

Two measurements on two cores, each against a real HTTP server on loopback in a process of its own:

1. 2,000 requests a second in open loop: how late is each of them sent?
2. A server that delays request i by a time that is known beforehand: is the latency that time?

With --realtime the processes get a real-time priority, so that other work on the machine delays
neither of them.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import selectors
from typing import Any

import numpy as np
from http_clients import Plain, serve
from measure import judge, table
from numpy.typing import NDArray

from pytest_xsched import Session, endpoint
from pytest_xsched.session.settings import Settings

RATE, SECONDS = 2000, 10
DELAYS_MS = (10, 20, 40, 60, 100)
"""Request i is delayed by one of these, in turn."""
SHARES = (0.5, 0.9, 0.99)


class Delaying(Plain):
    """Answers after the delay that the request names: "/20" after 20 ms."""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request when its delay is over."""
        loop = asyncio.get_running_loop()
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end], self.data[end + 4 :]
            length = head.lower().find(b"content-length:")
            size = int(head[length + 15 :].split(b"\r\n", 1)[0])
            body, self.data = self.data[:size], self.data[size:]
            loop.call_later(int(body) / 1000, self.answer)

    def answer(self) -> None:
        """Answer a request."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def delay(kind: type[asyncio.Protocol], core: int, ports: Any) -> None:
    """Serve as `serve` does, by a loop whose timers are not rounded to milliseconds."""
    os.sched_setaffinity(0, {core})
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    server = loop.run_until_complete(loop.create_server(kind, "127.0.0.1", 0))
    ports.put(server.sockets[0].getsockname()[1])
    loop.run_forever()


def delay_of(number: int) -> str:
    """Return the body of a request: how long its answer takes, in ms."""
    return str(DELAYS_MS[number % len(DELAYS_MS)])


def measure(kind: type[asyncio.Protocol], workload: Any, rate: int, seconds: int) -> Any:
    """Return the samples of a run against a server of a kind."""
    ports: Any = multiprocessing.Queue()
    cores = sorted(os.sched_getaffinity(0))
    target = delay if kind is Delaying else serve
    server = multiprocessing.Process(target=target, args=(kind, cores[-1], ports))
    server.start()
    try:
        session = Session(Settings(device="cpu"))
        url = f"http://127.0.0.1:{ports.get()}/"
        queue = session.queue("web", workload(url), rate=f"{rate}/s")
        run = session.run(queue, duration=f"{seconds}s", scheduler="native", trace="off")
        session.close()
        samples = run.web.measured
        if failed := int((samples["completed_ns"] < 0).sum()):
            raise SystemExit(f"{failed} of {len(samples)} requests did not succeed")
        return samples
    finally:
        server.terminate()


def shares(values: NDArray[np.float64]) -> list[float]:
    """Return percentiles of times in ns, in ms."""
    return [float(np.quantile(values, share, method="inverted_cdf")) / 1e6 for share in SHARES]


def main() -> int:
    """Print what was measured; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    asked = parser.parse_args()
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    targets = []

    sent = measure(Plain, lambda url: endpoint(url, body={"a": 1}), RATE, asked.seconds)
    late = sent["launched_ns"] - sent["scheduled_ns"]
    latency = sent["completed_ns"] - sent["scheduled_ns"]
    rows = [
        ["sent after it was due", *(f"{value:.3f}" for value in shares(late))],
        ["answered after it was due", *(f"{value:.3f}" for value in shares(latency))],
    ]
    header = [f"{RATE}/s, n = {len(sent)}; ms", "P50", "P90", "P99"]
    table(header, rows)
    p50 = shares(late)[0]
    targets.append((f"P50 of the lateness is {p50:.3f} ms, at most 0.5", p50 <= 0.5))

    rate = 200
    timed = measure(Delaying, lambda url: endpoint(url, body=delay_of), rate, asked.seconds)
    known = np.resize(np.array(DELAYS_MS) * 1e6, len(timed))
    measured = shares(timed["completed_ns"] - timed["scheduled_ns"])
    rows = [
        ["delays of the server", *(f"{value:.3f}" for value in shares(known))],
        ["latency that was measured", *(f"{value:.3f}" for value in measured)],
    ]
    table([f"{rate}/s, n = {len(timed)}; ms", "P50", "P90", "P99"], rows)
    for name, share, most in (("P50", 0, 0.05), ("P99", 2, 0.1)):
        off = measured[share] / shares(known)[share] - 1
        text = f"{name} is {off:+.1%} off the known one, at most {most:.0%}"
        targets.append((text, abs(off) <= most))
    return judge(targets)


if __name__ == "__main__":
    raise SystemExit(main())
