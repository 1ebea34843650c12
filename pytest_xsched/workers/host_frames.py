"""Messages between this machine and a host: a line of JSON each, and the bytes that it announces.

Every message ends with the end of a line, because some launchers pass on whole lines only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MODULE = "pytest_xsched.session.host"
"""What the Python of a host runs."""
HELLO = b"pytest-xsched-host "
"""Start of the first line of a host. What precedes it is of the launcher, such as a greeting."""

BEAT_S = 5.0
"""How often each side shows that it is there: this side always, a host while it works."""
LOST_S = 60.0
"""After such a silence the other side is lost."""
_PART = "parts"

Message = dict[str, Any]


def encode(message: Message, parts: Sequence[bytes] = ()) -> bytes:
    """Return a message as bytes.

    Args:
        message: in JSON's types.
        parts: bytes that go with it.
    """
    if not parts:
        return json.dumps(message).encode() + b"\n"
    line = json.dumps({**message, _PART: [len(part) for part in parts]}).encode()
    return b"".join([line, b"\n", *parts, b"\n"])


class Decoder:
    """Makes messages of the bytes that arrive."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def feed(self, data: bytes) -> None:
        """Take in what has arrived."""
        self._data += data

    def next(self) -> tuple[Message, list[bytes]] | None:
        """Return the next message and its bytes; None: it is not there as a whole.

        Raises:
            ValueError: it is no message.
        """
        end = self._data.find(b"\n")
        if end < 0:
            return None
        message = json.loads(self._data[:end])
        if not isinstance(message, dict):
            raise ValueError(f"{message!r} is not a message")
        sizes = message.pop(_PART, [])
        after = end + 1 + sum(sizes) + bool(sizes)
        if len(self._data) < after:
            return None
        parts, at = [], end + 1
        for size in sizes:
            parts.append(bytes(self._data[at : at + size]))
            at += size
        del self._data[:after]
        return message, parts
