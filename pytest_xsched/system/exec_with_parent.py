"""Become another program, which the kernel kills when the parent process ends.

`python -I exec_with_parent.py PARENT [NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]` requests a SIGKILL
for the end of the parent, sets the variables, and execs the program. It runs as a file and not as a
module, because it needs only the standard library. The variables are arguments, because one of them
may be LD_PRELOAD, which must not act on this process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
NOT_STARTED = 126
"""Exit status when the program cannot be started, as a shell has it."""


def command_line(
    program: list[str], variables: dict[str, str] | None = None, *, parent: int | None = None
) -> list[str]:
    """Return the command line of a program that ends with a process.

    Args:
        program: its path and arguments.
        variables: set in its environment only.
        parent: id of the process; None: this one.
    """
    settings = [f"{name}={value}" for name, value in (variables or {}).items()]
    holder = str(os.getpid() if parent is None else parent)
    return [sys.executable, "-I", os.path.abspath(__file__), holder, *settings, "--", *program]


def main(arguments: list[str]) -> None:
    """Become the program that the arguments name."""
    separator = arguments.index("--")
    parent, settings, program = (
        int(arguments[0]),
        arguments[1:separator],
        arguments[separator + 1 :],
    )
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the request
        sys.exit("the parent process has ended")
    environment = {**os.environ, **dict(setting.split("=", 1) for setting in settings)}
    # Python ignores SIGPIPE, and the program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, environment)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
