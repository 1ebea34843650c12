"""The memory that malloc has given to this process, to the byte.

What the process has from the kernel shows less: malloc keeps most of what is freed.
"""

from __future__ import annotations

import ctypes

__all__ = ["heap_bytes"]


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def heap_bytes() -> int | None:
    """Return the bytes that are allocated and not freed; None: the C library does not count.

    Source: mallinfo2() of glibc 2.33 and later, man 3 mallinfo.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)
