"""Paths as users write them: with `~` and with variables of the environment, as in a shell.

A shell expands neither within an ini file nor after the `=` of an option. Standard library only.
"""

from __future__ import annotations

import os
import re

from pytest_xsched.errors import ScenarioError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)


def expand_path(text: str, what: str) -> str:
    """Return a path with `~`, `~user`, `$NAME` and `${NAME}` replaced.

    Args:
        text: the path.
        what: origin of the path; an error message begins with it.

    Raises:
        ScenarioError: a variable is not set, a user is not known, or the text holds a NUL.
    """
    if "\0" in text:
        raise ScenarioError(f"{what}: {text!r} holds a NUL, which no path can")
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if name not in os.environ:
            raise ScenarioError(
                f"{what}: {text!r} names the variable {name}, which is not set; set it, or write "
                "the whole path"
            )
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ScenarioError(
            f"{what}: {text!r} begins with a home directory that is not known; write the whole "
            f"path, or './{text}' for a file of this name"
        )
    return os.path.expandvars(path)
