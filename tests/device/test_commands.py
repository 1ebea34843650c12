"""The record of commands in real time agrees with the samples; no time is asserted."""

import pytest

from pytest_xsched import Session, spin
from pytest_xsched.session.settings import Settings


@pytest.mark.parametrize("process", ["inside", "worker"])
def test_commands_on_record_agree_with_the_samples(process):
    session = Session(Settings(device="cpu", process=process, fixed_duration=True, noise="off"))
    run = session.run(
        session.queue("high", spin("1ms"), priority=2, rate="50/s", threshold=2),
        session.queue("low", spin("2ms", layers=3), priority=1, threshold=2),
        duration="200ms",
        warmup="0s",
        trace="all",
    )
    session.close()
    (window,) = run.trace.windows
    for name, per_request in (("high", 1), ("low", 3)):
        commands = window.records[name].commands
        samples = run[name].samples
        assert len(commands) == run[name].counts.launched == window.launched[name]
        assert commands["request"].tolist() == [n // per_request for n in range(len(commands))]
        assert commands["index"].tolist() == [n % per_request for n in range(len(commands))]
        assert (commands["launched_ns"][1:] >= commands["launched_ns"][:-1]).all()
        first, last = commands[::per_request], commands[per_request - 1 :: per_request]
        launched = samples["launched_ns"] >= 0
        assert first["launched_ns"].tolist() == samples["launched_ns"][launched].tolist()
        done = samples["completed_ns"] >= 0
        assert last["completed_ns"][: done.sum()].tolist() == samples["completed_ns"][done].tolist()
        assert (commands["began_ns"] == -1).all()  # this device does not tell
    assert run.low.counts.suspensions == len(window.records["low"].suspensions)
