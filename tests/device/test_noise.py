"""What a real run notes of the machine: that it does, and where; never how noisy it was."""

from __future__ import annotations

import pytest

from pytest_xsched import Session, spin
from pytest_xsched.options import Settings


@pytest.mark.parametrize(
    ("process", "processes"),
    [("inside", "together"), ("worker", "together"), ("auto", "separate")],
)
def test_every_block_has_a_heartbeat(process, processes):
    session = Session(Settings(device="cpu", process=process))
    run = session.run(
        session.queue("high", spin("1ms"), priority=2, rate="50/s"),
        session.queue("low", spin("1ms"), priority=1),  # goes on until the window ends
        duration="300ms",
        scheduler="native",
        processes=processes,
    )
    session.close()

    (window,) = run.evidence.noise.windows
    assert not run.evidence.noise.masks
    assert (window.end_ns - window.start_ns, window.readings.block_ns) == (300_000_000, 100_000_000)
    assert len(window.readings.heartbeat_ns) == len(window.late_ns) == 3
    assert min(window.readings.heartbeat_ns) > 0
    assert len(window.readings.run_delay_ns) in (0, 3)  # a kernel may not tell
    assert run.high.n == 15
    assert run.to_dict()["evidence"]["noise"]["mode"] == "note"


def test_nobody_looks():
    session = Session(Settings(device="cpu", noise="off"))
    run = session.run(session.queue("q", spin("1ms"), rate="50/s"), duration="100ms")
    session.close()
    assert run.evidence.noise is None
