"""Sizes of the requests of a trace reach the program that does them."""

import sys
from pathlib import Path

import pytest

from pytest_xsched import Session, command, model, trace_file
from pytest_xsched.session.settings import Settings

TRACE = Path(__file__).resolve().parents[1] / "traces" / "azure_2024.csv"

COPY = r"""
import os, pathlib, sys
from pytest_xsched.client import requests, sizes
out = pathlib.Path(sys.argv[1])
lines = [open(os.environ["PYTEST_XSCHED_SIZES"]).readline()]
for number in requests(warmup=0):
    lines.append("{tokens_in},{tokens_out}\n".format(**sizes(number)))
out.write_text("".join(lines))
"""


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("3s", "tokens_in,tokens_out\n2400,15\n640,200\n18,3\n9000,77\n"),
        ("1s", "tokens_in,tokens_out\n2400,15\n640,200\n"),
    ],
)
def test_a_program_has_the_sizes_of_the_requests_of_its_window(tmp_path, duration, expected):
    out = tmp_path / "sizes.csv"
    program = command([sys.executable, "-c", COPY, out])
    session = Session(Settings(device="cpu", scheduler="native", noise="off"))
    try:
        load = trace_file(TRACE, speed=10)
        run = session.run(
            session.queue("high", program, arrivals=load), duration=f"{float(duration[0]) / 10}s"
        )
    finally:
        session.close()
    assert out.read_text() == expected
    assert len(run.high.samples) == expected.count("\n") - 1


def of_its_size(out):
    """A model whose requests write which sizes they had."""
    lines = open(out, "a", buffering=1)  # noqa: SIM115 - for all requests

    def request(tokens_out, tokens_in):
        lines.write(f"{tokens_in},{tokens_out}\n")

    return request


def test_an_eager_model_has_the_sizes_of_its_requests(tmp_path):
    out = tmp_path / "sizes.csv"
    session = Session(Settings(device="cpu", scheduler="native", noise="off"))
    try:
        load = trace_file(TRACE, speed=10)
        queue = session.queue("high", model(of_its_size, str(out)), arrivals=load)
        run = session.run(queue, duration="300ms")
    finally:
        session.close()
    assert out.read_text().endswith("2400,15\n640,200\n18,3\n9000,77\n")
    assert run.high.n == 4
