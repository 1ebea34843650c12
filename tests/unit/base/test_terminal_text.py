"""What other programs print reaches the terminal as text."""

import pytest

from pytest_xsched.base.terminal_text import printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nä 漢", "plain\ttext\nä 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J\x9b2J", r"\x1b[2J\x9b2J"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("\0\x7f\u202e\udc80", r"\x00\x7f\u202e\udc80"),
    ],
)
def test_escape_sequences_in_what_a_program_prints_do_not_reach_the_terminal(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_a_quoted_text_is_one_short_line():
    assert quoted("a\nb\tc") == r"'a\nb\tc'"
    assert quoted("\x00" * 1000) == "'" + r"\x00" * 15 + "...'"
