"""Command line, ini and marker: what a user may set, read into one frozen object.

Order: what a test passes to run() > marker > command line > ini > default. The one exception is
--xsched-duration, which shortens or lengthens every run whatever the tests say. Every value is
refused with the place it came from.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_xsched.base.constants import DEVICES, NOISE, NOISE_LIMIT_NS, SCHEDULERS, WAITING
from pytest_xsched.stats.error_budget import SESSION_ALPHA
from pytest_xsched.system.driver_files import VARIABLES, LibraryFile
from pytest_xsched.xsched.installation import VARIABLE as HOME_VARIABLE
from pytest_xsched.xsched.installation import Home

LOCK_TIMEOUT_NS = 600 * 10**9
NOISE_VARIABLE = "PYTEST_XSCHED_NOISE"
MARKER_KEYS = ("device", "scheduler", "policy", "duration", "seed")


@dataclass(frozen=True)
class Settings:
    """What the command line and the ini file say; None: nothing."""

    device: str = "auto"
    """``"auto"``, a kind, or a kind and an index: ``"cuda:1"``."""
    scheduler: str = "builtin"
    duration: str | None = None
    """Of the command line: overrides every other."""
    default_duration: str | None = None
    """Of the ini file: for runs that name none."""
    seed: int = 0
    require_device: str | None = None
    """A kind, which takes any index, or a kind and an index."""
    json_path: Path | None = None
    save: str | None = None
    """Name under which the runs are kept."""
    compare: str | None = None
    """Name of kept runs beside which the runs are set."""
    baselines: Path = Path(".xsched")
    """Directory of both."""
    corpus: Path | None = None
    """Directory of scenarios that once failed."""
    lock_timeout_ns: int = LOCK_TIMEOUT_NS
    """Longest wait for a GPU on which another process measures."""
    process: str = "auto"
    """Where runs are measured: ``"inside"`` pytest's process, in a fresh ``"worker"`` each, or
    ``"auto"``: in a worker where a GPU's driver could take the process with it."""
    waiting: str = "yield"
    """What the runner's threads do while they wait for a GPU; one of `names.WAITING`."""
    xsched_home: Home | None = None
    """None: what the environment names; see `installation`."""
    gpu_driver: LibraryFile | None = None
    gpu_compiler: LibraryFile | None = None
    """None: what the environment names, or else a search; see `libraries`."""
    alpha: float = SESSION_ALPHA
    """Probability of any wrong FAIL in the session; see `budget`."""
    undecided: str = "fail"
    """What becomes of a test whose target is undecided: ``"fail"`` or ``"warn"``."""
    burst: float = 1.0
    """Requests that are taken to miss together while no burst was seen; see `gate`."""
    noise: str = field(default_factory=lambda: os.environ.get(NOISE_VARIABLE) or "auto")
    """What becomes of seconds in which the machine was noisy; one of `names.NOISE`."""
    noise_limit_ns: int = NOISE_LIMIT_NS
    fixed_duration: bool = False
    """Whether a run takes all of its duration, decided or not."""
    asked_for: bool = False
    """Whether anything was set, or the plugin loaded by name."""


def add_options(parser: pytest.Parser) -> None:
    """Register the options and their ini keys (the same names with underscores)."""
    group = parser.getgroup("xsched", "GPU QoS targets (pytest-xsched)")
    for name, metavar, text in (
        ("device", "NAME", "auto (default), cpu, sim, hip, cuda, opencl; of several: cuda:1"),
        ("scheduler", "NAME", "native, priority, builtin or xsched (default: builtin)"),
        ("duration", "TIME", 'measured time of every run, overrides the tests: "10s"'),
        ("seed", "N", "seed of arrivals and inputs, or 'random' (default: 0)"),
        ("require-device", "NAME", "fail instead of skipping or using another device"),
        ("process", "WHERE", "measure in a worker process, inside pytest's, or auto (default)"),
        ("waiting", "HOW", "for a GPU: yield (default), spin or sleep between two looks"),
        (
            "lock-timeout",
            "TIME",
            'longest wait for a GPU that others measure on (default: "10min")',
        ),
        ("home", "DIR", "where the XSched is installed that scheduler xsched uses"),
        ("gpu-driver", "PATH", "the GPU's driver library, instead of a search"),
        ("gpu-compiler", "PATH", "the library that compiles its kernels, instead of a search"),
        ("corpus", "DIR", "keep scenarios that failed in DIR, and run those kept there"),
        ("save", "NAME", "keep the runs under NAME in the directory of baselines"),
        ("compare", "NAME", "set the runs beside those kept under NAME"),
        ("baselines", "DIR", "where runs are kept (default: .xsched below the rootdir)"),
        ("alpha", "P", "probability of any wrong FAIL in the session (default: 0.01)"),
        ("burst", "N", "requests taken to miss together while no burst was seen (default: 1)"),
        ("noise", "HOW", "mask noisy seconds, note them, off, or auto (default): mask on GPUs"),
        ("noise-limit", "TIME", 'lateness from which a second is noisy (default: "5ms")'),
        ("undecided", "HOW", "fail (default) or warn, where too little was measured to say"),
        ("json", "PATH", "write scenarios, evidence, numbers and verdicts to a file"),
    ):
        group.addoption(f"--xsched-{name}", metavar=metavar, default=None, help=text)
        ini_text = text if name != "duration" else "measured time of runs that name none"
        parser.addini(f"xsched_{name.replace('-', '_')}", help=ini_text, default=None)
    text = "measure all of a run's duration, also when its targets are decided"
    group.addoption("--xsched-fixed-duration", action="store_const", const="yes", help=text)
    parser.addini("xsched_fixed_duration", help=f"yes or no: {text}", default=None)


def read_settings(config: pytest.Config) -> Settings:
    """Read and check everything that was set.

    Raises:
        pytest.UsageError: a value is wrong; says which, and where it came from.
    """
    given = {name: _given(config, name) for name in NAMES}
    chosen = getattr(config, "workerinput", {}).get("xsched_seed")
    if chosen is not None:  # drawn by the xdist controller
        given["seed"] = (str(chosen), "xdist controller")
    if not any(value for value, _ in given.values()) and "xsched" not in config.option.plugins:
        return Settings(noise=_noise(given["noise"]))
    command_line = config.getoption("xsched_duration")
    duration, origin = given["duration"]
    time_ns(duration, origin)
    lock_timeout_ns = time_ns(*given["lock_timeout"], allow_zero=True)
    return Settings(
        device=_device(given["device"], ("auto", *DEVICES)) or "auto",
        scheduler=_choice(given["scheduler"], SCHEDULERS) or "builtin",
        duration=command_line,
        default_duration=None if command_line else duration,
        seed=_seed(*given["seed"]),
        require_device=_device(given["require_device"], DEVICES) and given["require_device"][0],
        lock_timeout_ns=LOCK_TIMEOUT_NS if lock_timeout_ns is None else lock_timeout_ns,
        process=_choice(given["process"], ("auto", "inside", "worker")) or "auto",
        waiting=_choice(given["waiting"], WAITING) or "yield",
        xsched_home=_home(config, *given["home"]),
        gpu_driver=_library(config, "driver", given["gpu_driver"]),
        gpu_compiler=_library(config, "compiler", given["gpu_compiler"]),
        json_path=_path(config, *given["json"]),
        save=_plain_name(*given["save"]),
        compare=_plain_name(*given["compare"]),
        baselines=_folder(config, *given["baselines"]) or config.rootpath / ".xsched",
        corpus=_folder(config, *given["corpus"]),
        alpha=_probability(*given["alpha"]),
        burst=_burst(*given["burst"]),
        undecided=_choice(given["undecided"], ("fail", "warn")) or "fail",
        noise=_noise(given["noise"]),
        noise_limit_ns=time_ns(*given["noise_limit"]) or NOISE_LIMIT_NS,
        fixed_duration=_choice(given["fixed_duration"], ("yes", "no")) == "yes",
        asked_for=True,
    )


NAMES = (  # of all but what runs no tests
    *("device", "scheduler", "duration", "seed", "require_device", "process", "waiting"),
    *("home", "lock_timeout", "gpu_driver", "gpu_compiler", "json", "corpus"),
    *("save", "compare", "baselines"),
    *("alpha", "burst", "undecided", "fixed_duration", "noise", "noise_limit"),
)


def _given(config: pytest.Config, name: str) -> tuple[str | None, str]:
    value = config.getoption(f"xsched_{name}")
    if value is not None:
        return value, f"--xsched-{name.replace('_', '-')}"
    return config.getini(f"xsched_{name}") or None, f"ini option xsched_{name}"


def _choice(given: tuple[str | None, str], known: tuple[str, ...]) -> str | None:
    value, origin = given
    if value is not None and value not in known:
        raise pytest.UsageError(f"{origin}: {value!r} is unknown; known: {', '.join(known)}")
    return value


def _noise(given: tuple[str | None, str]) -> str:
    """Read what becomes of noise: command line > environment > ini, since it is the machine's."""
    variable = os.environ.get(NOISE_VARIABLE)
    if variable and not given[1].startswith("--"):
        given = variable, NOISE_VARIABLE
    return _choice(given, NOISE) or "auto"


def _device(given: tuple[str | None, str], known: tuple[str, ...]) -> str | None:
    value, origin = given
    if value is None:
        return None
    from pytest_xsched.base.validation import device_name
    from pytest_xsched.errors import ScenarioError

    try:
        return device_name(f"{origin}:", value, known)
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from None


def time_ns(value: str | None, origin: str, *, allow_zero: bool = False) -> int | None:
    """Read a time; None: none was given.

    Raises:
        pytest.UsageError: it is not a time.
    """
    if value is None:
        return None
    from pytest_xsched.base.units import parse_duration
    from pytest_xsched.errors import ScenarioError

    try:
        return parse_duration(value, what=origin, allow_zero=allow_zero)
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from None


def _seed(value: str | None, origin: str) -> int:
    if value is None:
        return 0
    if value == "random":
        import secrets

        return secrets.randbits(32)
    if not value.isdecimal() or int(value) >= 2**32:
        raise pytest.UsageError(
            f"{origin}: {value!r} is not a whole number from 0 to {2**32 - 1}, nor 'random'"
        )
    return int(value)


def _burst(value: str | None, origin: str) -> float:
    if value is None:
        return 1.0
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise pytest.UsageError(f"{origin}: {value!r} is not a whole number from 1 to 1000")
    return float(value)


def _probability(value: str | None, origin: str) -> float:
    if value is None:
        return SESSION_ALPHA
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise pytest.UsageError(f"{origin}: {value!r} is not a probability, above 0 and below 1")
    return number


def _path(config: pytest.Config, value: str | None, origin: str) -> Path | None:
    if value is None:
        return None
    path = _directory(config, origin) / value
    if path.is_dir():
        raise pytest.UsageError(f"{origin}: {path} is a directory")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise pytest.UsageError(f"{origin}: {path} lies below {there}, which is not a directory")
    return path


def _folder(config: pytest.Config, value: str | None, origin: str) -> Path | None:
    if value is None:
        return None
    path = _directory(config, origin) / value
    if path.exists() and not path.is_dir():
        raise pytest.UsageError(f"{origin}: {path} is not a directory")
    return path


def _plain_name(value: str | None, origin: str) -> str | None:
    if value is not None and not re.fullmatch(r"\w[\w.-]*", value, re.ASCII):
        raise pytest.UsageError(
            f"{origin}: {value!r} is no name of letters, digits and . _ - (the directory is "
            "--xsched-baselines)"
        )
    return value


def _library(config: pytest.Config, role: str, given: tuple[str | None, str]) -> LibraryFile | None:
    """Read the path of a library: command line > environment > ini, since a path is a machine's."""
    value, origin = given
    if value is None or (not origin.startswith("--") and os.environ.get(VARIABLES[role])):
        return None
    if not value:
        raise pytest.UsageError(f"{origin}: '' is not a file")
    path = str(_directory(config, origin) / value) if "/" in value else value
    file = LibraryFile(path=path, origin=origin)
    if file.fault:
        raise pytest.UsageError(file.fault)
    return file


def _home(config: pytest.Config, value: str | None, origin: str) -> Home | None:
    """Read the directory of XSched: command line > environment > ini, as for a library."""
    if value is None or (not origin.startswith("--") and os.environ.get(HOME_VARIABLE)):
        return None
    return Home(path=str((_directory(config, origin) / value).absolute()), origin=origin)


def _directory(config: pytest.Config, origin: str) -> Path:
    """Give what a path is relative to: the command line's directory, or the ini file's rootdir."""
    return config.invocation_params.dir if origin.startswith("--") else config.rootpath


def read_marker(item: pytest.Item) -> dict[str, Any]:
    """Give the overrides of `@pytest.mark.xsched(...)` on a test, its class and its module.

    Raises:
        pytest.UsageError: for positional arguments and unknown keywords; the values are checked
            where they are used.
    """
    overrides: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("xsched"))):
        unknown = sorted(set(marker.kwargs) - set(MARKER_KEYS))
        if marker.args or unknown:
            what = ", ".join([*map(repr, marker.args), *unknown])
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.xsched does not take {what}; "
                f"it takes {', '.join(f'{key}=' for key in MARKER_KEYS)}"
            )
        overrides.update(marker.kwargs)
    return overrides
