"""What a policy reads of queues, and what is reported where they lack it."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_xsched import Session, XSched, at, spin
from pytest_xsched.reporting.policy_hints import policy_hints
from pytest_xsched.session.settings import Settings


@pytest.mark.parametrize(
    ("high", "low", "how", "said"),
    [
        ({"priority": 2}, {}, {}, []),
        ({}, {}, {}, ["hpf orders queues by priority, and all queues have the same priority"]),
        ({}, {}, {"scheduler": "native"}, []),
        ({}, {}, {"policy": "fair"}, []),
        ({}, {}, {"policy": "partition"}, []),  # equal shares
        ({}, {}, {"changes": [at("1s", "low", priority=3)]}, []),
        ({"priority": 2}, {}, {"policy": "edf"}, ["edf orders queues by deadline, and no queue "]),
        ({"deadline": "1ms"}, {}, {"policy": "edf"}, []),
        (
            {"priority": 2, "utilization": 50},
            {"utilization": 20, "deadline": "1s"},
            {},
            [
                "hpf does not read the deadline of low",
                "hpf does not read the utilization of high and low",
            ],
        ),
    ],
)
def test_what_is_said(high, low, how, said):
    session = Session(Settings(device="sim"))
    run = session.run(
        session.queue("high", spin("1ms"), rate="20/s", **high),
        session.queue("low", spin("1ms"), **low),
        duration="2s",
        **how,
    )
    found = policy_hints(run.scenario.to_dict())
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_one_queue_is_ordered_by_nothing():
    session = Session(Settings(device="sim"))
    run = session.run(session.queue("high", spin("1ms")), duration="1s")
    assert policy_hints(run.scenario.to_dict()) == []


@pytest.mark.parametrize(("policy", "count"), [("lax", 1), ("kedf", 1), ("hhpf", 1), ("cfs", 0)])
def test_those_of_xsched(policy, count):
    session = Session(Settings(device="sim"))
    queues = [session.queue(name, spin("1ms")) for name in ("high", "low")]
    record = session.run(*queues, duration="1s").scenario.to_dict()
    record |= {"scheduler": "xsched", "xsched": dataclasses.asdict(XSched(policy=policy))}
    assert len(policy_hints(record)) == count
