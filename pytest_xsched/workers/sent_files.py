"""Files of the user that a run needs on another machine: models, programs and their data."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import Endpoint
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.scenario import Scenario

_NOT_SENT = ("__pycache__", ".git")
_CHUNK_BYTES = 2**24
_PARTS_MAX = 1000
"""Of one message."""

FilePart: TypeAlias = tuple[str, int, int]
"""Name of a file there, its permission bits, and the offset of the bytes that follow."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFiles:
    """The files of a run, by name."""

    files: tuple[SentFile, ...] = ()

    def digest(self) -> str:
        """Compute the SHA-256, in hex, of names, modes and contents; "" of no files."""
        if not self.files:
            return ""
        whole = hashlib.sha256()
        for file in self.files:
            with open(file.path, "rb") as opened:
                content = hashlib.sha256()
                while chunk := opened.read(_CHUNK_BYTES):
                    content.update(chunk)
            whole.update(f"{file.name}\0{file.mode:o}\0{content.hexdigest()}\n".encode())
        return whole.hexdigest()

    def messages(self) -> Iterator[tuple[list[FilePart], list[bytes]]]:
        """Yield the contents in messages of some 16 MiB: parts of files, and the bytes of each."""
        parts: list[FilePart] = []
        chunks: list[bytes] = []
        for file in self.files:
            with open(file.path, "rb") as opened:
                at = 0
                while (chunk := opened.read(_CHUNK_BYTES)) or at == 0:
                    parts.append((file.name, file.mode, at))
                    chunks.append(chunk)
                    at += len(chunk)
                    if sum(map(len, chunks)) >= _CHUNK_BYTES or len(chunks) >= _PARTS_MAX:
                        yield parts, chunks
                        parts, chunks = [], []
                    if not chunk:  # an empty file
                        break
        if parts:
            yield parts, chunks

    def place(self, scenario: Scenario) -> Scenario:
        """Return a scenario whose programs and models are named as they are on the host."""
        placed: Scenario = _mapped(scenario, self._placed)
        return placed

    def place_model(self, model: Model) -> Model:
        """Return a model whose file is named as it is on the host."""
        placed: Model = self._placed(model)
        return placed

    def _placed(self, value: Any) -> Any:
        if isinstance(value, Program):
            preload = value.preload and self._name_there(value.preload)
            argv = tuple(map(self._name_there, value.argv))
            return dataclasses.replace(value, argv=argv, preload=preload)
        if isinstance(value, Model):
            return dataclasses.replace(value, factory=self._function_there(value.factory))
        if isinstance(value, Endpoint):
            names = ("function", "body_function", "success_function")
            changes: dict[str, Any] = {
                name: self._function_there(getattr(value, name)) for name in names
            }
            verify = value.verify and self._name_there(value.verify)
            body_file = self._name_there(value.body_file)
            return dataclasses.replace(value, body_file=body_file, verify=verify, **changes)
        return None

    def _function_there(self, function: str) -> str:
        """Return the name there of a function: ``"path/file.py:name"``."""
        where, colon, name = function.rpartition(":")
        return f"{self._name_there(where)}{colon}{name}"

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

    def change(value: Any) -> Any:
        if isinstance(value, Program) and value.argv[0] == python:
            return dataclasses.replace(value, argv=(sys.executable, *value.argv[1:]))
        return None

    changed: Scenario = _mapped(scenario, change)
    return changed


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a part of a scenario in which a function has replaced parts; None: it leaves one."""
    changed = change(value)
    if changed is not None:
        return changed
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return tuple(_mapped(one, change) for one in value)
    if not dataclasses.is_dataclass(value):
        return value
    parts = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    mapped = {name: _mapped(part, change) for name, part in parts.items()}
    other = {name: part for name, part in mapped.items() if part is not parts[name]}
    return dataclasses.replace(value, **other) if other else value  # type: ignore[type-var]


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
    inside = path == here or path.startswith(here + os.sep)
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
                there = os.path.normpath(os.path.join(name, os.path.relpath(full, path)))
                files.append(_sent(there, full))
    return files


def _sent(name: str, path: str) -> SentFile:
    return SentFile(name=name, path=path, mode=os.stat(path).st_mode & 0o777)


def save_part(directory: Path, part: FilePart, content: bytes) -> None:
    """Write a part of a file that was sent into a directory of this process.

    Raises:
        ScenarioError: the name of the file would lead out of the directory.
    """
    name, mode, at = part
    where = PurePosixPath(name)
    if not where.parts or where.is_absolute() or ".." in where.parts:
        raise ScenarioError(f"files: the name {name!r} leads out of the directory")
    path = directory / where
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "r+b" if at else "wb") as file:
        file.seek(at)
        file.write(content)
    path.chmod(mode | 0o600)
