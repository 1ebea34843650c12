"""Where graphs are cut: exact ends for exact times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_xsched.models.grouping import divided, finest, is_steady
from pytest_xsched.scenario.grouping import joined_by_count, joined_by_time


@pytest.mark.parametrize(
    ("cuts", "most", "ends"),
    [
        ([5], 256, [5]),
        ([1, 2, 3, 4], 4, [1, 2, 3, 4]),
        ([1, 2, 3, 4, 5, 6], 3, [2, 4, 6]),
        ([1, 2, 3, 4, 5, 6], 1, [6]),
        # It may be cut at its begin only: the rest, which has forks, is one piece.
        ([1, 2, 3, 100], 3, [3, 100]),
    ],
)
def test_the_finest_pieces_have_about_equally_many_nodes(cuts, most, ends):
    assert finest(cuts, most) == ends


@pytest.mark.parametrize(
    ("ends", "times", "most", "finer"),
    [
        ([1, 2, 3, 4, 5, 6], [1] * 6, 12, [1, 2, 3, 4, 5, 6]),  # there is nothing to cut
        ([2, 4, 6], [10, 30, 20], 3, [2, 4, 6]),
        ([2, 4, 6], [10, 30, 20], 5, [2, 3, 4, 5, 6]),  # the longest two
        ([2, 4, 6], [10, 30, 20], 6, [1, 2, 3, 4, 5, 6]),
        ([1, 6], [40, 30], 4, [1, 6]),  # its five parts are too many
    ],
)
def test_the_longest_pieces_are_cut_wherever_they_may_be(ends, times, most, finer):
    assert divided([1, 2, 3, 4, 5, 6], ends, times, most) == finer


@pytest.mark.parametrize(
    ("times", "target", "ends"),
    [
        ([10], 100, [1]),
        ([50, 50, 50, 50], 100, [2, 4]),
        ([500, 500], 100, [1, 2]),  # each is too long already
        ([60, 30, 500, 20], 100, [2, 3, 4]),
        ([90, 20, 90, 20], 100, [2, 4]),  # 110 is as near as 90, and saves a launch
        ([90, 21, 90, 21], 100, [1, 3, 4]),  # 111 is farther than 90
        ([0, 0, 0, 0], 100, [4]),
    ],
)
def test_neighbours_are_joined_as_near_to_the_target_as_they_come(times, target, ends):
    assert joined_by_time(range(1, len(times) + 1), times, target) == ends


@pytest.mark.parametrize(
    ("times", "count", "ends"),
    [
        ([10, 10, 10, 30], 2, [3, 4]),
        ([10] * 6, 3, [2, 4, 6]),
        ([10] * 6, 1, [6]),
        ([10] * 6, 6, [1, 2, 3, 4, 5, 6]),
        ([10] * 6, 99, [1, 2, 3, 4, 5, 6]),
        ([1000, 1, 1, 1], 2, [1, 4]),
        ([0, 0, 0, 0], 2, [2, 4]),
    ],
)
def test_a_number_of_commands_takes_about_equal_times(times, count, ends):
    assert joined_by_count(range(1, len(times) + 1), times, count) == ends


@given(
    st.lists(st.integers(0, 2_000), min_size=1, max_size=60),
    st.integers(1, 5_000),
    st.integers(1, 80),
)
def test_every_grouping_covers_the_whole_graph_with_ends_of_pieces(times, target, count):
    ends = [3 * (i + 1) for i in range(len(times))]
    for joined in (
        joined_by_time(ends, times, target),
        joined_by_count(ends, times, count),
        finest(ends, count),
    ):
        assert joined == sorted(set(joined)) and set(joined) <= set(ends)
        assert joined[-1] == ends[-1]
    assert len(joined_by_count(ends, times, count)) <= max(count, 1)
    assert len(finest(ends, count)) <= count


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_a_command_is_longer_than_twice_the_target_only_if_one_piece_is(times):
    ends, begin = joined_by_time(range(1, len(times) + 1), times, 100), 0
    for end in ends:
        group, begin = times[begin:end], end
        assert sum(group) <= 200 or max(group) > 100


@pytest.mark.parametrize(
    ("times", "steady"),
    [
        ([], False),
        ([10] * 5, False),
        ([10] * 6, True),
        ([900, 100, 50, 20, 11, 10], False),
        ([900, 100, 50, 20, 11, 10, 10, 10, 10, 10], True),
        ([10, 10, 10, 12, 12, 12], True),  # slower is not colder
        ([10, 99, 10, 10, 10, 10], True),  # one late request is noise
    ],
)
def test_a_warm_up_ends_when_requests_are_no_longer_getting_faster(times, steady):
    assert is_steady(times) == steady
