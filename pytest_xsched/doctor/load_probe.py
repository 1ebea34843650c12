"""Load libraries in a process of its own, because a library may end or stop its process.

`subprocesses.start_loading` starts it with `python -I -S`, without site-packages, so that it starts
within milliseconds. It writes its answer as JSON to the file descriptor that its first argument
names.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from pytest_xsched.system.process_maps import mapped_files


def load(*names: str) -> dict[str, Any]:
    """Load the first library that can be found, and resolve all its symbols at once."""
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
    """Load a driver as programs do, then other libraries; return which file has a symbol.

    Args:
        symbol: a function of the driver.
        library: its name, as programs load it.
        others: other libraries for the same process; "" is ignored.
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


class _Where(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _file_of(library: ctypes.CDLL, symbol: str) -> str | None:
    """Return the file from which the loader takes a symbol."""
    try:
        address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p)
    except AttributeError:
        return None
    where = _Where()
    if not ctypes.CDLL(None).dladdr(address, ctypes.byref(where)):
        return None
    return os.path.realpath(os.fsdecode(where.file))


_ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"load": load, "resolve": resolve}


def main() -> None:
    """Execute the action of the command line, and write the answer."""
    # Not to stdout, where libraries write.
    with open(int(sys.argv[1]), "w", encoding="utf-8", errors="surrogateescape") as answer:
        answer.write(json.dumps(_ACTIONS[sys.argv[2]](*sys.argv[3:])) + "\n")
