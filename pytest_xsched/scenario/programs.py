"""A program that the user wrote as a workload: the command that starts it, as data."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import one_line
from pytest_xsched.base.validation import check_flag, checked_fields, set_tuple
from pytest_xsched.errors import ScenarioError

_ARGUMENTS_MAX = 4096
_LABEL_MAX = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that runs in a process of its own during a run.

    Args:
        argv: the program and its arguments.
        env: variables in addition to those of pytest, pairs of name and value.
        preload: the library that puts XSched under the program; None: the installation's, for the
            kind of device.
        reports: whether it reports when its requests begin and end (`pytest_xsched.client`).
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    preload: str | None = None
    reports: bool = True

    def __post_init__(self) -> None:
        set_tuple(self, "argv", str, "command", _ARGUMENTS_MAX)
        if not self.argv[0]:
            raise ScenarioError("command: the name of the program is empty")
        for text in self.argv:
            _check_text("an argument", text)
        pairs = tuple(tuple(pair) for pair in self.env)
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ScenarioError(f"command: {pair!r} in env is not two texts, name and value")
            _check_variable(*pair)
        object.__setattr__(self, "env", tuple(sorted(pairs)))
        if self.preload is not None:
            _check_text("preload", self.preload)
        check_flag("command: reports", self.reports)

    @property
    def label(self) -> str:
        """Name in reports."""
        line = shlex.join((os.path.basename(self.argv[0]), *self.argv[1:]))
        if len(line) > _LABEL_MAX:
            line = f"{line[: _LABEL_MAX - 3]}..."
        return f"command({line})"


def make_program(
    argv: Iterable[str | os.PathLike[str]],
    env: Mapping[str, str] | None,
    preload: str | os.PathLike[str] | None,
    reports: bool,
) -> Program:
    """Return a program from the arguments of `command`, or of `server`."""
    if isinstance(argv, str) or not isinstance(argv, Iterable):
        words = argv.split() if isinstance(argv, str) and argv.split() else ["python", "serve.py"]
        raise ScenarioError(f"command: {argv!r} is not a list; write {one_line(words)}")
    argv = list(argv)
    if not argv:
        raise ScenarioError('command: [] names no program; write ["python", "serve.py"]')
    if env is not None and not isinstance(env, Mapping):
        raise ScenarioError(f"command: env {env!r} is not a mapping of names to values")
    parts = [_text(part) for part in argv]
    if parts and "\0" not in parts[0]:
        parts[0] = expand_path(parts[0], "command")
    return Program(
        argv=tuple(parts),
        env=tuple((env or {}).items()),
        preload=None if preload is None else expand_path(_text(preload), "command: preload"),
        reports=reports,
    )


def read_program(data: Any) -> Program:
    """Return a program from its JSON."""
    return Program(**checked_fields(Program, data, "command"))


def _text(part: object) -> str:
    if isinstance(part, (str, os.PathLike)):
        text = os.fspath(part)
        if isinstance(text, str):
            return text
    raise ScenarioError(f"command: {part!r} is neither a text nor a path")


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str) or "\0" in text:
        raise ScenarioError(f"command: {what}, {text!r}, is not a text without NUL")


def _check_variable(name: str, value: str) -> None:
    _check_text(f"value of {name}", value)
    if not name or "=" in name or "\0" in name:
        raise ScenarioError(f"command: {name!r} in env cannot name a variable")
    if name == "LD_PRELOAD":
        raise ScenarioError("command: LD_PRELOAD in env; preload= names a library, and adds to it")
