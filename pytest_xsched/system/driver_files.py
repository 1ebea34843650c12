"""The files of a GPU's driver and of its compiler, where the user names them.

Apart from `options`, because they travel: to the devices of this process and, in JSON, to workers.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pytest_xsched.base.constants import GPUS
from pytest_xsched.errors import ScenarioError

VARIABLES = {
    "driver": "PYTEST_XSCHED_GPU_DRIVER",
    "compiler": "PYTEST_XSCHED_GPU_COMPILER",
}
_COMPILERS = ("nvrtc", "hiprtc")  # as the calls of errors begin


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFile:
    """A shared library that the user named.

    Args:
        path: absolute, or a name without a slash, for which the dynamic loader searches.
        origin: what named it: an option, an ini key or an environment variable.
    """

    path: str
    origin: str

    @property
    def fault(self) -> str:
        """What can be seen to be wrong with it without loading it, as a sentence, or ''."""
        if "/" not in self.path or os.path.isfile(self.path):
            return ""
        wrong = "is not a file" if os.path.exists(self.path) else "does not exist"
        return f"{self.origin}: {self.path} {wrong}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The files that are used instead of the names that are searched for; None: search."""

    driver: LibraryFile | None = None
    compiler: LibraryFile | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give them in JSON's types; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Libraries:
        """Make the object from what `to_dict` gave."""
        return cls(**{role: file and LibraryFile(**file) for role, file in data.items()})

    def remark(self, call: str) -> str:
        """Say where the file came from that an error of opening a device is about, or ''.

        Args:
            call: the call that failed, ``"cuda.open"`` or ``"nvrtc.compile"``.
        """
        start, _, what = call.partition(".")
        file = self.driver if what == "open" else None
        if start in _COMPILERS:
            file = self.compiler
        return f" ({file.path} is from {file.origin})" if file else ""


def find_libraries(
    kind: str, driver: LibraryFile | None = None, compiler: LibraryFile | None = None
) -> Libraries:
    """Give the files that were named, by the environment where nothing else named one.

    Args:
        kind: of device; none but a GPU has such files.
        driver: what an option or an ini key named.
        compiler: likewise.

    Raises:
        ScenarioError: a file is not there; says which, and what named it.
    """
    if kind not in GPUS:
        return Libraries()
    found = Libraries(
        driver=driver or _of_environment("driver"),
        compiler=compiler or _of_environment("compiler"),
    )
    for file in (found.driver, found.compiler):
        if file is not None and file.fault:
            raise ScenarioError(file.fault)
    return found


def _of_environment(role: str) -> LibraryFile | None:
    path = os.environ.get(VARIABLES[role])
    if not path:
        return None
    # A worker has another working directory.
    return LibraryFile(path=os.path.abspath(path) if "/" in path else path, origin=VARIABLES[role])
