"""Becomes another program that does not outlive the process which asked for it.

`python -I exec_with_parent.py PARENT [NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]`: the kernel is
asked for a SIGKILL when the parent is gone, the variables are set, and the program takes over.
By a file and not as a module, because it imports nothing but the standard library; the variables
are arguments, because one of them may be LD_PRELOAD, which has no business in this process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
NOT_STARTED = 126
"""Exit status when the program cannot be started, as of a shell."""


def command_line(
    program: list[str], variables: dict[str, str] | None = None, *, parent: int | None = None
) -> list[str]:
    """Give the command line for a program on a leash, held by this process."""
    settings = [f"{name}={value}" for name, value in (variables or {}).items()]
    held_by = str(os.getpid() if parent is None else parent)
    return [sys.executable, "-I", os.path.abspath(__file__), held_by, *settings, "--", *program]


def main(arguments: list[str]) -> None:
    """Do what the first sentence of this file says."""
    behind = arguments.index("--")
    parent, settings, program = int(arguments[0]), arguments[1:behind], arguments[behind + 1 :]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it went before we asked
        sys.exit("the parent process is gone")
    environment = {**os.environ, **dict(setting.split("=", 1) for setting in settings)}
    # Python ignores this one, and would leave that to the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, environment)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
