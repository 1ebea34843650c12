"""Files of the user that a run needs on another machine: models, programs and their data."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.scenario import Scenario

_NOT_SENT = ("__pycache__", ".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file that is sent.

    Attributes:
        name: its path there, relative to a private directory, which is the working directory.
        path: here, absolute.
        mode: its permission bits.
    """

    name: str
    path: str
    mode: int

    def read(self) -> bytes:
        """Read the file."""
        return Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFiles:
    """The files of a run, by name."""

    files: tuple[SentFile, ...] = ()

    def digest(self) -> str:
        """Compute the SHA-256, in hex, of names, modes and contents."""
        whole = hashlib.sha256()
        for file in self.files:
            content = hashlib.sha256(file.read()).hexdigest()
            whole.update(f"{file.name}\0{file.mode:o}\0{content}\n".encode())
        return whole.hexdigest()

    def place(self, scenario: Scenario) -> Scenario:
        """Return a scenario whose programs and models are named as they are on the host."""
        queues = []
        for queue in scenario.queues:
            workload = queue.workload
            if workload.program is not None:
                workload = dataclasses.replace(workload, program=self._program(workload.program))
            if workload.model is not None:
                workload = dataclasses.replace(workload, model=self.place_model(workload.model))
            queues.append(dataclasses.replace(queue, workload=workload))
        return dataclasses.replace(scenario, queues=tuple(queues))

    def place_model(self, model: Model) -> Model:
        """Return a model whose file is named as it is on the host."""
        where, _, name = model.factory.rpartition(":")
        return dataclasses.replace(model, factory=f"{self._name_there(where)}:{name}")

    def _program(self, program: Program) -> Program:
        argv = tuple(map(self._name_there, program.argv))
        preload = program.preload and self._name_there(program.preload)
        return dataclasses.replace(program, argv=argv, preload=preload)

    def _name_there(self, word: str) -> str:
        """Return the name there of a file that is sent; another word stays as it is."""
        if not os.path.isabs(word):
            return word
        names = {file.path: file.name for file in self.files}
        name = names.get(os.path.normpath(word))
        if name is None:
            return word
        return name if "/" in name else f"./{name}"


NO_FILES = SentFiles()


def with_python(scenario: Scenario, python: str) -> Scenario:
    """Return a scenario whose programs that name one Python are run by the Python of this process.

    Args:
        scenario: of another machine.
        python: `sys.executable` there.
    """
    queues = []
    for queue in scenario.queues:
        program = queue.workload.program
        if program is not None and program.argv[0] == python:
            program = dataclasses.replace(program, argv=(sys.executable, *program.argv[1:]))
            queue = dataclasses.replace(
                queue, workload=dataclasses.replace(queue.workload, program=program)
            )
        queues.append(queue)
    return dataclasses.replace(scenario, queues=tuple(queues))


def find_files(files: Any) -> SentFiles:
    """Find the files that a run names; of a directory all that are in it.

    Args:
        files: paths; a relative one starts at the working directory and keeps its name there, an
            absolute one outside of the working directory has its last part as its name.

    Raises:
        ScenarioError: there is no such file, or two have one name.
    """
    if isinstance(files, (str, os.PathLike)) or not isinstance(files, Iterable):
        raise ScenarioError(
            f'files {one_line(files)} are not a list of paths; write files=["serve.py"]'
        )
    found: dict[str, SentFile] = {}
    for given in files:
        if not isinstance(given, (str, os.PathLike)):
            raise ScenarioError(f"files: {one_line(given)} is not a path")
        for file in _found(os.fspath(given)):
            other = found.setdefault(file.name, file)
            if other.path != file.path:
                raise ScenarioError(
                    f"files: {other.path} and {file.path} would both be {file.name!r} on a host; "
                    "rename one"
                )
    return SentFiles(files=tuple(found[name] for name in sorted(found)))


def _found(given: str) -> list[SentFile]:
    here = os.getcwd()
    path = os.path.normpath(os.path.join(here, given))
    inside = path.startswith(here + os.sep)
    name = os.path.relpath(path, here) if inside else os.path.basename(path)
    if os.path.isfile(path):
        return [_sent(name, path)]
    if not os.path.isdir(path):
        raise ScenarioError(f"files: there is no file {given!r} in {here}")
    files = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(set(folders).difference(_NOT_SENT))
        for one in sorted(names):
            full = os.path.join(folder, one)
            if os.path.isfile(full):
                files.append(_sent(os.path.join(name, os.path.relpath(full, path)), full))
    return files


def _sent(name: str, path: str) -> SentFile:
    return SentFile(name=name, path=path, mode=os.stat(path).st_mode & 0o777)


def save_file(directory: Path, name: str, mode: int, content: bytes) -> None:
    """Write a file that was sent into a directory of this process.

    Raises:
        ScenarioError: its name would lead out of the directory.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ScenarioError(f"files: the name {name!r} leads out of the directory")
    path = directory.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode | 0o400)
