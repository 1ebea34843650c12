"""The overview of parametrised runs names the worst verdict on a queue."""

import pytest

from pytest_xsched.reporting.terminal_summary import _worst


@pytest.mark.parametrize(
    ("verdicts", "refused", "worst"),
    [
        ([], [], "-"),
        (["PASS"], [], "PASS"),
        (["PASS"], ["no verdict"], "NO VERDICT"),
        (["PASS", "UNDECIDED"], ["no verdict"], "UNDECIDED"),
        (["UNDECIDED", "FAIL"], ["no verdict"], "FAIL"),
    ],
)
def test_the_worst_is_named(verdicts, refused, worst):
    run = {"verdicts": [{"status": one, "queue": "high"} for one in verdicts], "refused": refused}
    assert _worst(run, "high") == worst
