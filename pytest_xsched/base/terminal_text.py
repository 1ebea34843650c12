"""Text that other programs wrote, so that a terminal shows it and does not obey it."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_LINE_ENDS = re.compile(r"\r+\n|\r")


def printable(text: str) -> str:
    r"""Return a text without colours, and with other control characters escaped: "\x1b]0;".

    Line ends and tabs stay; a carriage return, as progress bars write it, is a line end.
    """
    plain = _LINE_ENDS.sub("\n", _COLOUR.sub("", text))
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in plain)


def quoted(text: str, most: int = 60) -> str:
    """Return a text in quotes, on one line, escaped and shortened to some characters."""
    shown = printable(text).replace("\n", "\\n").replace("\t", "\\t")
    return f"'{shown}'" if len(shown) <= most else f"'{shown[:most]}...'"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
