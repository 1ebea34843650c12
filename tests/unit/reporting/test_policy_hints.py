"""What a policy reads of queues, and what is reported where they lack it."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_xsched import Session, XSched, at, spin
from pytest_xsched.reporting.policy_hints import policy_hints
from pytest_xsched.reporting.run_table import remarks
from pytest_xsched.session.mechanism import arms_by_name
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


def test_a_level_that_was_only_asked_for_is_said_to_show_nothing():
    session = Session(Settings(device="sim"))
    queues = [session.queue(name, spin("1ms"), priority=i) for i, name in enumerate("ab")]
    record = session.run(*queues, duration="1s").to_dict()
    for level in (1, 2, 3):
        xsched = dataclasses.asdict(XSched(level=level))
        record["scenario"] |= {"scheduler": "xsched", "xsched": xsched}
        said = [line for line in remarks(record) if "level" in line]
        assert said == [
            f"! level {level} was requested of XSched, and this run does not show that it does "
            f"more than level 1; compare(..., schedulers=[XSched(level=1), XSched(level={level})]) "
            "does"
        ] * (level > 1)


def test_levels_of_one_policy_can_be_compared():
    named = arms_by_name([XSched(level=1), XSched(level=2), XSched(policy="cfs")], [])
    assert list(named) == ["xsched hpf", "xsched hpf level 2", "xsched cfs"]
