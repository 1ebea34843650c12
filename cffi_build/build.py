"""The cffi declarations of pytest_xsched.native._native, from native/include/xs_api.h.

CMake runs this file with ``python -m cffi.gen_src exec-python``, which writes the C
source of the module. The header stays the only copy of the declarations.
"""

from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).resolve().parent.parent / "native" / "include" / "xs_api.h"
BEGIN = "/* cdef begin */"
END = "/* cdef end */"


def cut_cdef(text: str, origin: str) -> str:
    """Return the text between the two marks of ``text``.

    Args:
        text: A C header.
        origin: Path of the header, for messages.

    Raises:
        SystemExit: A mark is missing or there twice, or the two are in the wrong order.
    """
    for mark in (BEGIN, END):
        if text.count(mark) != 1:
            raise SystemExit(
                f"{origin}: the mark {mark!r} is there {text.count(mark)} times instead of once"
            )
    before, _, rest = text.partition(BEGIN)
    cdef, end, _ = rest.partition(END)
    if not end:
        raise SystemExit(f"{origin}: {END!r} is before {BEGIN!r}")
    for number, line in enumerate(cdef.splitlines(), start=before.count("\n") + 1):
        if line.lstrip().startswith("#"):
            raise SystemExit(
                f"{origin}:{number}: cffi cannot read a preprocessor line: {line.strip()!r}"
            )
    return cdef


ffibuilder = FFI()
ffibuilder.cdef(cut_cdef(HEADER.read_text(encoding="utf-8"), str(HEADER)))
ffibuilder.set_source("pytest_xsched.native._native", '#include "xs_api.h"')
