"""Builds that the ini key xsched_builds names: ``pr: home=build/pr`` is what differs in them.

A build is a home of XSched, a host (a container image, for one), programs in place of others, or
variables of programs. Two of them are measured alternately in one session.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.programs import Program

if TYPE_CHECKING:
    from pytest_xsched.scenario.queue_spec import QueueSpec
    from pytest_xsched.scenario.scenario import Scenario
    from pytest_xsched.scenario.xsched_settings import XSched

KEY = "ini option xsched_builds"
NOW = "now"
"""What reports call the build that no name stands for: everything as it is."""
_EXAMPLES = (
    "'pr: home=build/pr', 'pr: host=gpu-pr', 'pr: program=build/pr/serve' or 'pr: env NAME=VALUE'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBuild:
    """What differs in a build.

    Attributes:
        name: of it.
        home: directory of its XSched, for runs under the scheduler ``"xsched"``; "": the session's.
        host: the machine that measures it; "": that of the run.
        programs: each in place of the program or script of the same file name, in `command` and
            `server`.
        env: variables of all such programs, pairs of name and value.
    """

    name: str = NOW
    home: str = ""
    host: str = ""
    programs: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    def apply(self, scenario: Scenario) -> Scenario:
        """Return a scenario as this build runs it; one that names its own home keeps it."""
        if not (self.home or self.programs or self.env):
            return scenario
        queues = tuple(map(self._apply, scenario.queues))
        return replace(scenario, queues=queues, xsched=self.apply_home(scenario.xsched))

    def apply_home(self, xsched: XSched | None) -> XSched | None:
        """Return the settings of XSched with the home of this build, unless they name one."""
        if xsched is None or xsched.home is not None or not self.home:
            return xsched
        return replace(xsched, home=self.home)

    def _apply(self, queue: QueueSpec) -> QueueSpec:
        workload = queue.workload
        if workload.program is not None:
            program = self._program(workload.program)
            is_named = workload.label == workload.program.label
            label = program.label if is_named else workload.label
            return replace(queue, workload=replace(workload, program=program, label=label))
        endpoint = workload.endpoint
        if endpoint is None or endpoint.server is None:
            return queue
        server = replace(endpoint.server, program=self._program(endpoint.server.program))
        return replace(queue, workload=replace(workload, endpoint=replace(endpoint, server=server)))

    def _program(self, program: Program) -> Program:
        names = {os.path.basename(path): path for path in self.programs}
        argv = tuple(names.get(os.path.basename(word), word) for word in program.argv)
        env = {**dict(program.env), **dict(self.env)}
        return replace(program, argv=argv, env=tuple(env.items()))

    def shown(self) -> str:
        """Return what the build is, as its line has it after the name."""
        parts = [f"{key}={value}" for key in ("home", "host") if (value := getattr(self, key))]
        parts += [f"program={path}" for path in self.programs]
        if self.env:
            parts += ["env", *(f"{name}={shlex.quote(value)}" for name, value in self.env)]
        return " ".join(parts)


def builds_of(lines: Iterable[str], hosts: Collection[str], folder: Path) -> dict[str, NamedBuild]:
    """Read the lines of the ini key xsched_builds.

    Args:
        lines: ``"pr: home=build/pr env LEVEL=2"``.
        hosts: names of the ini key xsched_hosts.
        folder: to which paths are relative: that of the ini file.
    """
    builds: dict[str, NamedBuild] = {}
    for line in lines:
        origin = f"{KEY}: {line!r}"
        name, colon, text = (part.strip() for part in line.partition(":"))
        if not colon or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or name == NOW:
            raise ScenarioError(
                f"{origin} is not a name, a colon and what differs, as in {_EXAMPLES}; a name has "
                f"letters, digits and . _ -, and is not {NOW!r}"
            )
        if name in builds:
            raise ScenarioError(f"{origin}: there are two builds of that name; rename one")
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ScenarioError(f"{origin}: {error}") from None
        builds[name] = _read(name, words, origin, hosts, folder)
    return builds


def _read(
    name: str, words: list[str], origin: str, hosts: Collection[str], folder: Path
) -> NamedBuild:
    given: dict[str, str] = {}
    programs: list[str] = []
    env: dict[str, str] = {}
    in_env = False
    for word in words:
        key, equals, value = word.partition("=")
        if word == "env" and not in_env:
            in_env = True
        elif in_env and equals:
            env[key] = value
        elif key == "program" and value:
            programs.append(value)
        elif key in ("home", "host") and value and key not in given:
            given[key] = value
        else:
            raise ScenarioError(f"{origin}: {word!r} is not understood here; write {_EXAMPLES}")
    if not (given or programs or env):
        raise ScenarioError(f"{origin} names nothing that differs; write {_EXAMPLES}")
    host = given.get("host", "")
    if host and host not in hosts:
        known = ", ".join(hosts) or "none"
        raise ScenarioError(
            f"{origin}: host {host!r} is unknown; known: {known}; a line of the ini key "
            f"xsched_hosts names another, as in '{host} = ssh {host}'"
        )
    try:
        Program(argv=("program",), env=tuple(env.items()))
    except ScenarioError as error:
        raise ScenarioError(f"{origin}: {error}") from None

    def path(text: str) -> str:
        if host:  # a path as it is there
            return text
        text = expand_path(text, origin)
        return str((folder / text).absolute()) if os.sep in text or text == home else text

    home = given.get("home", "")
    return NamedBuild(
        name=name,
        home=path(home) if home else "",
        host=host,
        programs=tuple(map(path, programs)),
        env=tuple(
            (key, value if host else expand_path(value, origin)) for key, value in env.items()
        ),
    )


def unknown_build(name: str, builds: Iterable[str]) -> str:
    """Return the sentence that there is no build of a name."""
    known = ", ".join(builds) or "none"
    return (
        f"build {name!r} is unknown; known: {known}; a line of the ini key xsched_builds names "
        f"another, as in '{name}: home=build/{name}'"
    )
