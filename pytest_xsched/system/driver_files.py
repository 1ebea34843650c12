"""The files of a GPU's driver and of its kernel compiler that the user names.

The devices of this process use them, and workers, which get them as JSON.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pytest_xsched.base.constants import GPUS
from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import ScenarioError

VARIABLES = {
    "driver": "PYTEST_XSCHED_GPU_DRIVER",
    "compiler": "PYTEST_XSCHED_GPU_COMPILER",
}
_COMPILERS = ("nvrtc", "hiprtc")  # how the call of an error begins


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
        """Return what is wrong with the file, as a sentence, or ''. The file is not loaded."""
        if "/" not in self.path or os.path.isfile(self.path):
            return ""
        wrong = "is not a file" if os.path.exists(self.path) else "does not exist"
        return f"{self.origin}: {self.path} {wrong}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The files that are used instead of a search by name; None: search."""

    driver: LibraryFile | None = None
    compiler: LibraryFile | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return them in JSON's types; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Libraries:
        """Return the object that `to_dict` has written."""
        return cls(**{role: file and LibraryFile(**file) for role, file in data.items()})

    def remark(self, call: str) -> str:
        """Return which file an error of opening a device is about and what named it, or ''.

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
    """Return the files that the user named; an option or an ini key precedes the environment.

    Args:
        kind: of the device; only GPUs have such files.
        driver: the file that an option or an ini key names.
        compiler: likewise.

    Raises:
        ScenarioError: a file does not exist; the message has its path and what named it.
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
    path = expand_path(path, VARIABLES[role])
    # Absolute, because a worker has another working directory.
    return LibraryFile(path=os.path.abspath(path) if "/" in path else path, origin=VARIABLES[role])
