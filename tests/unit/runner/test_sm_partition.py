"""Multiprocessors are divided as the queues ask, in whole groups, or one sentence says why not."""

import pytest

from pytest_xsched import ScenarioError
from pytest_xsched.runner.sm_partition import partition
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.scenario.workload import spin


def queue(name, **share):
    return QueueSpec(name=name, workload=spin("1ms"), arrivals=Closed(), **share)


def divided(*queues, units=32, step=8):
    return partition(queues, units=units, step=step)


def test_nobody_asks_nobody_is_bound():
    assert divided(queue("a"), queue("b"), units=0) == [(), ()]


def test_a_share_is_taken_and_the_rest_is_for_the_others():
    low, high, other = divided(queue("low"), queue("high", sm_share=0.25), queue("other"))
    assert high == tuple(range(8))
    assert low == other == tuple(range(8, 32))


@pytest.mark.parametrize(
    ("share", "count"), [(0.01, 8), (0.2, 8), (0.3, 8), (0.4, 16), (0.5, 16), (0.9, 32)]
)
def test_a_share_is_rounded_to_groups_and_never_nothing(share, count):
    assert len(divided(queue("high", sm_share=share))[0]) == count


def test_shares_do_not_overlap():
    given = divided(queue("a", sm_share=0.5), queue("b", sm_share=0.25), queue("c", sm_share=0.25))
    assert [len(units) for units in given] == [16, 8, 8]
    assert sorted(unit for units in given for unit in units) == list(range(32))


def test_a_mask_is_taken_as_it_is_and_shares_go_around_it():
    masked, share, rest = divided(
        queue("masked", cu_mask=(0, 1, 9)), queue("share", sm_share=0.25), queue("rest")
    )
    assert masked == (0, 1, 9)
    assert share == tuple(range(16, 24))  # the first whole group that is free
    assert set(rest) == set(range(32)) - set(masked) - set(share)


@pytest.mark.parametrize(
    ("queues", "units", "complaint"),
    [
        (
            [queue("a", sm_share=0.5)],
            0,
            "queue 'a' asks for multiprocessors of its own, which this device cannot assign; use",
        ),
        (
            [queue("a", sm_share=0.5), queue("b", sm_share=0.75)],
            32,
            "queue 'b': sm_share 0.75 is 24 of 32 multiprocessors, but only 16 are left; lower it",
        ),
        (
            [queue("a", sm_share=0.99), queue("b")],
            32,
            "no multiprocessor is left for queue 'b'",
        ),
    ],
)
def test_too_much_is_refused(queues, units, complaint):
    with pytest.raises(ScenarioError, match=f"^{complaint}"):
        divided(*queues, units=units)
