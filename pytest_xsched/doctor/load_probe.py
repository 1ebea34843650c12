"""What the doctor lets a process of its own do, because a library may end or stop its process.

Run as a file, `python -I -S load_probe.py FD WHAT ...`: it imports nothing of the package and
starts in no time. The answer goes to the file descriptor, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def load(*names: str) -> dict[str, Any]:
    """Load the first of some libraries that can be found, with all its symbols resolved now."""
    errors = []
    for name in names:
        try:
            ctypes.CDLL(name, mode=os.RTLD_NOW)
        except OSError as error:
            errors.append(str(error))
            continue
        return {"loaded": name, "files": mapped_files()}
    return {"loaded": None, "errors": errors, "files": mapped_files()}


def resolve(symbol: str, library: str, *others: str) -> dict[str, Any]:
    """Load a driver as programs do, then others; say which file answers to a symbol.

    Args:
        symbol: a function of the driver.
        library: its name, as programs ask for it.
        others: what else is loaded into the same process; "" is left out.
    """
    found: dict[str, Any] = {"errors": []}
    handle = None
    for name in (library, *filter(None, others)):
        try:
            loaded = ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_GLOBAL)
        except OSError as error:
            found["errors"].append(str(error))
            continue
        handle = handle or loaded
    found["by_scope"] = _file_of(ctypes.CDLL(None), symbol)
    found["by_handle"] = _file_of(handle, symbol) if handle else None
    found["files"] = mapped_files()
    return found


def mapped_files() -> list[str]:
    """Give the files that this process has mapped, sorted."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        columns = (line.rstrip("\n").split(maxsplit=5) for line in maps)
        return sorted({column[5] for column in columns if len(column) == 6 and "/" in column[5]})


class _Where(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _file_of(library: ctypes.CDLL, symbol: str) -> str | None:
    """Ask the loader which file a symbol is from."""
    try:
        address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p)
    except AttributeError:
        return None
    where = _Where()
    if not ctypes.CDLL(None).dladdr(address, ctypes.byref(where)):
        return None
    return os.path.realpath(os.fsdecode(where.file))


_ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"load": load, "resolve": resolve}

if __name__ == "__main__":
    # The pipe of the answer, and not fd 1: libraries write there.
    with open(int(sys.argv[1]), "w", encoding="utf-8", errors="surrogateescape") as answer:
        answer.write(json.dumps(_ACTIONS[sys.argv[2]](*sys.argv[3:])) + "\n")
