"""Find the files of the user's own XSched, without loading any of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import SchedulerInactive
from pytest_xsched.scenario.xsched_settings import XSched

VARIABLE = "XSCHED_HOME"
HALS = {"cuda": "libhalcuda.so", "hip": "libhalhip.so", "opencl": "libhalopencl.so"}
SHIMS = {"cuda": "libshimcuda.so", "hip": "libshimhip.so", "opencl": "libshimopencl.so"}
LIBRARY = re.compile(r"lib(preempt|hal\w+|shim\w+)\.so")
"""Names of XSched's libraries."""
_FOLDERS = ("lib", "output/lib", "")  # of an installation, of a build, of the bare files


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where XSched is installed.

    Args:
        path: absolute.
        origin: what named it: an option, an ini key or an environment variable.
    """

    path: str
    origin: str

    def library(self, name: str) -> str:
        """Return the absolute path of one of its libraries.

        Raises:
            SchedulerInactive: there is none; the message has the paths that were searched.
        """
        places = [os.path.join(self.path, folder, name) for folder in _FOLDERS]
        for place in places:
            if os.path.isfile(place):
                return os.path.realpath(place)
        raise SchedulerInactive(
            f"scheduler inactive: {self.origin} names {self.path}, which has no {name} "
            f"(not at {', '.join(places)})"
        )

    def program(self, name: str) -> str:
        """Return the absolute path of one of its programs; errors are those of `library`."""
        places = [os.path.join(self.path, folder, name) for folder in ("bin", "output/bin", "")]
        for place in places:
            if os.path.isfile(place) and os.access(place, os.X_OK):
                return place
        raise SchedulerInactive(
            f"scheduler inactive: {self.origin} names {self.path}, which has no program {name} "
            f"(not at {', '.join(places)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


def find_home(named: Home | None = None) -> Home:
    """Return the installation that the user named; `named` precedes the environment.

    Args:
        named: by an option or an ini key.

    Raises:
        SchedulerInactive: nothing names one, or it is not a directory.
    """
    home = named
    if home is None:
        path = os.environ.get(VARIABLE)
        if not path:
            raise SchedulerInactive(
                f"scheduler inactive: no XSched is named; set the variable {VARIABLE}, the ini key "
                "xsched_home or an option (pytest: --xsched-home=DIR, pytest-xsched: --home=DIR) "
                "to the directory where it is installed"
            )
        home = Home(path=os.path.abspath(expand_path(path, VARIABLE)), origin=VARIABLE)
    if not os.path.isdir(home.path):
        wrong = "is not a directory" if os.path.exists(home.path) else "does not exist"
        raise SchedulerInactive(f"scheduler inactive: {home.origin}: {home.path} {wrong}")
    return home


def home_of(xsched: XSched) -> Home | None:
    """Return the installation that a scheduler names itself; None: it has that of the session."""
    if xsched.home is None:
        return None
    path = os.path.abspath(xsched.home)
    return Home(path=path, origin=f"XSched(home={os.fspath(xsched.home)!r})")


def files_of_others(home: Home, paths: Iterable[str]) -> list[str]:
    """Return the libraries of XSched among mapped files that are not those of an installation.

    A library may load another one from the installation for which it was linked.
    """
    found = []
    for path in paths:
        name = os.path.basename(path)
        if not LIBRARY.match(name):
            continue
        try:
            own = home.library(name)
        except SchedulerInactive:
            own = ""
        if os.path.realpath(path) != own:
            found.append(path)
    return sorted(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The libraries of an installation that a process loads; absolute paths."""

    preempt: str
    hal: str


def files_for(kind: str, home: Home) -> Files:
    """Return the libraries that schedule a kind of device.

    Raises:
        SchedulerInactive: the installation lacks one.
    """
    return Files(preempt=home.library("libpreempt.so"), hal=home.library(HALS[kind]))


SCRUBBED = ("XSCHED_", "CUXTRA_", "XLOG_LEVEL")
"""Prefixes of the variables that change what XSched does; a run sets its own."""

ENVIRONMENT = {"XLOG_LEVEL": "INFO", "XSCHED_SCHEDULER": "APP"}
"""Variables of a run: XSched reports what it does, and schedules nothing by itself."""
