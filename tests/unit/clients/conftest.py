"""Windows of a load process without pytest-xsched: what is sent, and what is reported."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from pytest_xsched.clients.engine import Engine
from pytest_xsched.clients.load import make_sender
from pytest_xsched.clients.request import ReportWriter
from pytest_xsched.models.factory import Place


@pytest.fixture
def server(new_http_server):
    return new_http_server()


class Window:
    """The lines that a load process reported, by request; times in seconds since the start."""

    def __init__(self, text, start_ns, arrivals_ns):
        self.lines = [line.split(" ") for line in text.splitlines()]
        self.due = [at / 1e9 for at in arrivals_ns]
        self.begun = self._times("begin", start_ns)
        self.ended = self._times("end", start_ns)
        self.failed = {int(w[1]): " ".join(w[3:]) for w in self.lines if w[0] == "fail"}
        self.failed_at = self._times("fail", start_ns)
        self.held = [int(w[1]) for w in self.lines if w[0] == "held"]
        self.milestones = {}
        for words in self.lines:
            if words[0] == "at":
                at = (int(words[3]) - start_ns) / 1e9
                self.milestones.setdefault((int(words[1]), words[2]), []).append(at)

    def _times(self, word, start_ns):
        return {int(w[1]): (int(w[2]) - start_ns) / 1e9 for w in self.lines if w[0] == word}

    @property
    def latency(self):
        return {number: at - self.due[number] for number, at in self.ended.items()}


@pytest.fixture
def send(tmp_path):
    """Sends requests of a workload at times in seconds; gives what was reported."""

    def send(workload, times, *, sizes=None, starts=lambda start_s: None):
        endpoint = workload.endpoint
        arrivals_ns = [int(at * 1e9) for at in times]
        read_fd, write_fd = os.pipe()

        async def run():
            writer = ReportWriter(write_fd)
            async with make_sender(endpoint, Place.here()) as sender:
                limits = {"in_flight": endpoint.in_flight, "timeout_ns": endpoint.timeout_ns}
                engine = Engine(sender, writer, sizes=sizes, **limits)
                start_ns = time.monotonic_ns() + 50_000_000
                starts(start_ns / 1e9)
                await engine.open_loop(start_ns, arrivals_ns)
                return start_ns

        try:
            start_ns = asyncio.run(run())
        finally:
            os.close(write_fd)
            with os.fdopen(read_fd) as file:
                text = file.read()
        return Window(text, start_ns, arrivals_ns)

    return send
