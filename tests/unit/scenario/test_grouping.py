"""Pieces of a request become commands by time or by number, and none is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_xsched import us
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.grouping import (
    AUTO_NS,
    Grouping,
    by_count,
    by_time,
    parse_grouping,
    spell_grouping,
)

times = st.lists(st.integers(0, 1000), min_size=1, max_size=40)


def sums(times_ns, ends):
    return [sum(times_ns[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


@given(times, st.integers(1, 2000))
def test_commands_of_several_pieces_are_within_the_time(times_ns, target_ns):
    ends = by_time(times_ns, target_ns)
    assert ends == sorted(set(ends)) and ends[-1] == len(times_ns)
    for begin, end in zip([0, *ends], ends, strict=False):
        assert end == begin + 1 or sum(times_ns[begin:end]) <= target_ns
    # No two neighbours could be one command.
    grouped = sums(times_ns, ends)
    for i, end in enumerate(ends[:-1]):
        assert grouped[i] + times_ns[end] > target_ns


@given(times, st.integers(1, 50))
def test_the_number_of_commands_is_met_where_there_are_pieces(times_ns, count):
    ends = by_count(times_ns, count)
    assert ends == sorted(set(ends)) and ends[-1] == len(times_ns)
    assert len(ends) == min(count, len(times_ns))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 100))
def test_equal_pieces_make_equal_commands(count, each, time_ns):
    times_ns = [time_ns] * (count * each)
    assert sums(times_ns, by_count(times_ns, count)) == [each * time_ns] * count


def test_one_command_is_the_whole_request():
    assert by_count([3, 1, 4], 1) == [3]


def test_cuts_say_where_a_piece_ends():
    assert Grouping(target_ns=100).ends([40, 40, 40], [7, 9, 30]) == [9, 30]
    assert Grouping(count=3).ends([40, 40, 40], [7, 9, 30]) == [7, 9, 30]


@pytest.mark.parametrize(
    ("value", "grouping"),
    [
        ("auto", Grouping(target_ns=AUTO_NS)),
        (8, Grouping(count=8)),
        ("50us", Grouping(target_ns=50_000)),
        (50 * us, Grouping(target_ns=50_000)),
    ],
)
def test_a_grouping_is_read_and_spelled(value, grouping):
    assert parse_grouping(value, what="commands", most=4096) == grouping
    assert parse_grouping(spell_grouping(grouping), what="commands", most=4096) == grouping


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0, r"commands 0 is outside \[1, 4096\]"),
        (5000, r"commands 5000 is outside \[1, 4096\]"),
        (True, "commands True is not an integer"),
        (0.5, 'commands: 0.5 has no unit; write .*; commands are "auto", a number as 8, or the '),
        ("8", 'commands: \'8\' has no unit; write "8us" or "8ms"; commands are "auto", a number'),
        ("fast", "commands: 'fast' is not a time"),
        ("0us", "commands: '0us' is zero"),
    ],
)
def test_what_is_no_grouping_is_refused_in_a_sentence(value, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        parse_grouping(value, what="commands", most=4096)
