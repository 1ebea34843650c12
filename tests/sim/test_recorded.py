"""What the profiles of the package show in virtual time: the order of schedulers, exactly."""

import pytest

from pytest_xsched import SimModel, recorded


def p99_ns(sim, high, rate, low, scheduler):
    queues = [sim.queue("high", recorded(high), priority=10, rate=rate)]
    if low is not None:
        queues.append(sim.queue("low", recorded(low), priority=1))
    run = sim.run(*queues, duration="20s", whole=True, scheduler=scheduler, sim=SimModel.gpu())
    return run.high.p99.value


@pytest.mark.parametrize(
    ("high", "rate", "alone_ns"), [("resnet50", "50/s", 856_032), ("llm_decode", "20/s", 1_144_976)]
)
def test_builtin_is_near_alone_and_native_far_from_it(sim, high, rate, alone_ns):
    """As on the GPU where they were recorded, next to the transformer."""
    assert p99_ns(sim, high, rate, None, "native") == alone_ns
    assert p99_ns(sim, high, rate, "transformer", "builtin") < 2 * alone_ns
    assert p99_ns(sim, high, rate, "transformer", "native") > 8 * alone_ns


def test_turns_and_tails_make_the_difference_under_native(sim):
    """By order of launch all of a transformer's request may come before one kernel of ResNet-50."""
    queues = [
        sim.queue("high", recorded("resnet50"), rate="20/s"),
        sim.queue("low", recorded("transformer")),
    ]
    found = [
        sim.run(*queues, duration="20s", whole=True, scheduler="native", sim=model).high.p99.value
        for model in (
            SimModel.gpu(),
            SimModel(launch_ns=0),
            SimModel(launch_ns=0, interleave=True),
        )
    ]
    turns_and_tails, by_launch, turns = found
    # 280 kernels wait for a kernel of the other at each turn, unless that leaves them room.
    assert turns_and_tails < by_launch < turns
