"""By which percentile two sides are compared."""

import pytest

from pytest_xsched.comparison.episode import GATES, first_with_a_figure


@pytest.mark.parametrize(
    ("with_figure", "chosen"),
    [(GATES, 0.99), ((0.95, 0.5), 0.95), ((0.5,), 0.5), ((), 0.99)],
)
def test_the_highest_percentile_with_a_figure_counts_and_the_first_if_none_has_one(
    with_figure, chosen
):
    def judge(q):
        return q, "undecided" if q in with_figure else "no figure"

    assert first_with_a_figure(judge, lambda one: one[1])[0] == chosen
