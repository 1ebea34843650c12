"""The settings of a session, read and checked: one frozen object.

Precedence: argument of run() > marker > command line > ini > default. The one exception is
--xsched-duration, which replaces the duration of every run. An error message names the value and
where it came from.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pytest_xsched.base.constants import DEVICES, NOISE, NOISE_LIMIT_NS, SCHEDULERS, WAITING
from pytest_xsched.base.extras import require_extra
from pytest_xsched.base.output_file import directory_fault, output_fault
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import TIME_UNITS, parse_duration, parse_fraction
from pytest_xsched.base.validation import device_name
from pytest_xsched.errors import MissingExtra, ScenarioError
from pytest_xsched.reporting.trace_file import PERFETTO_SUFFIXES
from pytest_xsched.session.duration import RUN_UNITS
from pytest_xsched.session.named_builds import NOW, NamedBuild, builds_of, unknown_build
from pytest_xsched.session.options import NAMES, NOISE_VARIABLE, given
from pytest_xsched.stats.error_budget import SESSION_ALPHA
from pytest_xsched.system.driver_files import VARIABLES, LibraryFile
from pytest_xsched.xsched.installation import VARIABLE as HOME_VARIABLE
from pytest_xsched.xsched.installation import Home

ON_FAILURE, TRACE_ON_FAILURE = "on-failure", "xsched-trace.json"
"""The value of --xsched-trace that asks for runs that failed, and the file that then gets them."""
LOCK_TIMEOUT_NS = 600 * 10**9
EPISODES_MAX = 1000
HERE, ANY = "here", "any"
"""As a host: this machine. Of --xsched-hosts: all hosts, each test on one."""
Given = tuple[str | None, str]
"""A value as text (None: not set) and its origin, for error messages."""


@dataclass(frozen=True)
class Settings:
    """What the command line and the ini file set; None: not set."""

    device: str = "auto"
    """``"auto"``, a kind, or a kind and an index: ``"cuda:1"``."""
    scheduler: str = "builtin"
    duration: str | None = None
    """From the command line: replaces the duration of every run."""
    default_duration: str | None = None
    """From the ini file: for runs that set none."""
    seed: int = 0
    require_device: str | None = None
    """A kind, which matches any index, or a kind and an index."""
    require_origin: str = "--xsched-require-device"
    """Of `require_device`, for error messages."""
    json_path: Path | None = None
    html_path: Path | None = None
    samples_path: Path | None = None
    """A CSV file of all requests; compressed if its name ends with ``.gz``."""
    openmetrics_path: Path | None = None
    trace_path: Path | None = None
    """File of the timelines; its name says the format, see `trace_file`."""
    trace_failures_only: bool = False
    """Whether only runs that missed a target, or gave no verdict, have a timeline."""
    build: NamedBuild = field(default_factory=NamedBuild)
    """The one that is measured."""
    reference: NamedBuild | None = None
    """The build with which it is compared alternately; None: with stored runs, or not."""
    baseline_episodes: int = 0
    """How often each of the two builds is measured."""
    save: str | None = None
    """Name of the baseline to which the runs are added."""
    compare: str | None = None
    """Name of the baseline with which the runs are compared."""
    regression: float | None = None
    """Share by which a run must be worse than few stored runs to fail; None: few show nothing."""
    first_passes: bool = True
    """Whether a run passes that is stored, and that no stored run can be compared with."""
    baselines: Path = Path(".xsched")
    """Directory of the baselines."""
    corpus: Path | None = None
    """Directory of scenarios that once failed."""
    lock_timeout_ns: int = LOCK_TIMEOUT_NS
    """Longest wait for a GPU on which another process measures."""
    process: str = "auto"
    """Where runs are measured: ``"inside"`` pytest's process, in a new ``"worker"`` for each run,
    or ``"auto"``: in a worker on GPUs, because a driver may crash its process. On a host itself
    ``"host"``: in a worker on all but sim."""
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other machines by name, each with the command that starts a program there."""
    host: str | None = None
    """The one that measures; None: this machine."""
    fleet: tuple[str, ...] = ()
    """On which each test is repeated; empty: tests are not repeated."""
    spread: bool = False
    """Whether each test is run on one of all hosts."""
    waiting: str = "yield"
    """What the runner's threads do while they wait for a GPU; one of `constants.WAITING`."""
    xsched_home: Home | None = None
    """None: what the environment names; see `installation`."""
    gpu_driver: LibraryFile | None = None
    gpu_compiler: LibraryFile | None = None
    """None: what the environment names, or else a search; see `driver_files`."""
    alpha: float = SESSION_ALPHA
    """Probability of any wrong FAIL in the session; see `error_budget`."""
    undecided: str = "fail"
    """Result of a test whose target is undecided: ``"fail"`` or ``"warn"``."""
    burst: float = 1.0
    """Requests that are assumed to miss together while no burst was seen; see `sequential_test`."""
    noise: str = field(default_factory=lambda: os.environ.get(NOISE_VARIABLE) or "auto")
    """What happens to noisy seconds; one of `constants.NOISE`."""
    noise_limit_ns: int = NOISE_LIMIT_NS
    fixed_duration: bool = False
    """Whether a run measures its whole duration even when its targets are decided."""

    @property
    def measures_whole(self) -> bool:
        """Whether each run measures its whole duration: those of two builds must be as long."""
        return self.fixed_duration or self.reference is not None

    def shown_builds(self) -> str:
        """Return the builds that are measured, as the start of a list; "" without a name."""
        if self.reference is not None:
            return (
                f"build {self.build.name}, alternately with {self.reference.name}, "
                f"{self.baseline_episodes} episodes, "
            )
        return "" if self.build.name == NOW else f"build {self.build.name}, "

    def shown_hosts(self) -> str:
        """Return the machines that measure, as the start of a list; "" for this one."""
        if self.spread:
            return f"one of the hosts {', '.join(self.hosts)}, "
        if self.fleet:
            return f"hosts {', '.join(self.fleet)}, "
        return f"host {self.host}, " if self.host else ""


def read_settings(config: pytest.Config) -> Settings:
    """Read and check everything that was set.

    Raises:
        pytest.UsageError: a value is wrong; names the value and its origin.
    """
    try:
        return _read(config)
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from None


def read_builds(config: pytest.Config) -> dict[str, NamedBuild]:
    """Read the builds of the ini key xsched_builds, by name.

    Raises:
        pytest.UsageError: a line is wrong.
    """
    try:
        return _builds(config, hosts_of(config.getini("xsched_hosts")))
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from None


def _builds(config: pytest.Config, hosts: Iterable[str]) -> dict[str, NamedBuild]:
    return builds_of(config.getini("xsched_builds"), tuple(hosts), config.rootpath)


def _read(config: pytest.Config) -> Settings:
    values = {name: given(config, name) for name in NAMES}
    chosen = getattr(config, "workerinput", {}).get("xsched_seed")
    if chosen is not None:  # drawn by the xdist controller
        values["seed"] = (str(chosen), "xdist controller")

    def folder_of(origin: str) -> Path:
        """Return what a path is relative to: pytest's directory, or that of the ini file."""
        return config.invocation_params.dir if origin.startswith("--") else config.rootpath

    command_line = config.getoption("xsched_duration")
    duration, origin = values["duration"]
    time_ns(duration, origin, units=RUN_UNITS)
    lock_timeout_ns = time_ns(*values["lock_timeout"], allow_zero=True, units=RUN_UNITS)
    baselines = folder_at(values["baselines"], folder_of) or config.rootpath / ".xsched"
    save = _plain_name(*values["save"])
    if save is not None and baselines.exists():  # otherwise the directory is made on use
        _require_output(baselines / f"{save}.jsonl", values["save"][1])
    hosts = hosts_of(config.getini("xsched_hosts"))
    fleet, spread = fleet_of(values["hosts"], hosts)
    builds = _builds(config, hosts)
    build = _build(values["build"], builds)
    reference, episodes = _alternating(values, builds, build)
    _require_one_place(build, reference, values)
    return Settings(
        hosts=hosts,
        host=build.host or _host(values["host"], hosts),
        build=build,
        reference=reference,
        baseline_episodes=episodes,
        fleet=fleet,
        spread=spread,
        device=device_of(values["device"], ("auto", *DEVICES)) or "auto",
        scheduler=_choice(values["scheduler"], SCHEDULERS) or "builtin",
        duration=command_line,
        default_duration=None if command_line else duration,
        seed=seed_of(*values["seed"]),
        require_device=device_of(values["require_device"], DEVICES) and values["require_device"][0],
        require_origin=values["require_device"][1],
        lock_timeout_ns=LOCK_TIMEOUT_NS if lock_timeout_ns is None else lock_timeout_ns,
        process=_choice(values["process"], ("auto", "inside", "worker")) or "auto",
        waiting=_choice(values["waiting"], WAITING) or "yield",
        xsched_home=home_of(values["home"], folder_of),
        gpu_driver=library_of("driver", values["gpu_driver"], folder_of),
        gpu_compiler=library_of("compiler", values["gpu_compiler"], folder_of),
        json_path=_file(values["json"], folder_of),
        html_path=_page(values["html"], folder_of),
        samples_path=_file(values["samples"], folder_of),
        openmetrics_path=_file(values["openmetrics"], folder_of),
        trace_path=_trace(values["trace"], folder_of),
        trace_failures_only=values["trace"][0] == ON_FAILURE,
        save=save,
        compare=_plain_name(*values["compare"]),
        regression=_regression(*values["regression"], compares=bool(values["compare"][0])),
        first_passes=_choice(values["first_run"], ("pass", "fail")) != "fail",
        baselines=baselines,
        corpus=existing_folder_at(values["corpus"], folder_of),
        alpha=_probability(*values["alpha"]),
        burst=_burst(*values["burst"]),
        undecided=_choice(values["undecided"], ("fail", "warn")) or "fail",
        noise=noise_of(values["noise"]),
        noise_limit_ns=time_ns(*values["noise_limit"]) or NOISE_LIMIT_NS,
        fixed_duration=_flag(*values["fixed_duration"]),
    )


# ---- one value each: (text or None, origin) in, value out; ScenarioError where the text is wrong

FolderOf = Callable[[str], Path]


def device_of(value: Given, known: tuple[str, ...]) -> str | None:
    """Read the name of a device; None: not set."""
    text, origin = value
    return None if text is None else device_name(f"{origin}:", text, known)


def time_ns(
    text: str | None,
    origin: str,
    *,
    allow_zero: bool = False,
    units: tuple[str, str] = TIME_UNITS,
) -> int | None:
    """Read a time in ns; None: not set. A bare number may mean one of `units`."""
    if text is None:
        return None
    return parse_duration(text, what=origin, allow_zero=allow_zero, units=units)


def seed_of(text: str | None, origin: str) -> int:
    """Read a seed; ``"random"`` draws one."""
    if text is None:
        return 0
    if text == "random":
        import secrets

        return secrets.randbits(32)
    if not text.isdecimal() or int(text) >= 2**32:
        raise ScenarioError(
            f"{origin}: {text!r} is not a whole number from 0 to {2**32 - 1}, nor 'random'"
        )
    return int(text)


def folder_at(value: Given, folder_of: FolderOf) -> Path | None:
    """Read the path of a directory, whose parent must exist; None: not set."""
    text, origin = value
    if text is None:
        return None
    path = folder_of(origin) / expand_path(text, origin)
    if fault := directory_fault(path):
        raise ScenarioError(f"{origin}: {fault}")
    return path


def existing_folder_at(value: Given, folder_of: FolderOf) -> Path | None:
    """Read the path of a directory that must exist: of a misspelt one there is nothing to read."""
    path = folder_at(value, folder_of)
    if path is not None and not path.exists():
        raise ScenarioError(
            f"{value[1]}: {path} does not exist; make it first if it is a new one, or correct the "
            "name"
        )
    return path


def library_of(role: str, value: Given, folder_of: FolderOf) -> LibraryFile | None:
    """Read the path of a library; the environment wins over an ini file, since paths are local."""
    text, origin = value
    if text is None or (not origin.startswith("--") and os.environ.get(VARIABLES[role])):
        return None
    if not text:
        raise ScenarioError(f"{origin}: '' is not a file")
    text = expand_path(text, origin)
    path = str(folder_of(origin) / text) if "/" in text else text
    file = LibraryFile(path=path, origin=origin)
    if file.fault:
        raise ScenarioError(file.fault)
    return file


def home_of(value: Given, folder_of: FolderOf) -> Home | None:
    """Read the directory of XSched, with the precedence of a library."""
    text, origin = value
    if text is None or (not origin.startswith("--") and os.environ.get(HOME_VARIABLE)):
        return None
    path = (folder_of(origin) / expand_path(text, origin)).absolute()
    return Home(path=str(path), origin=origin)


def hosts_of(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read the lines of the ini key xsched_hosts: ``gpu7 = ssh gpu7``."""
    hosts: dict[str, tuple[str, ...]] = {}
    for line in lines:
        origin = f"ini option xsched_hosts: {line!r}"
        name, equals, command = (part.strip() for part in line.partition("="))
        if not equals or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or name in (HERE, ANY):
            raise ScenarioError(
                f"{origin} is not a name and a command, as in 'gpu7 = ssh gpu7'; a name has "
                f"letters, digits and . _ -, and is neither {HERE!r} nor {ANY!r}"
            )
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ScenarioError(f"{origin}: {error}") from None
        if not words:
            raise ScenarioError(f"{origin} has no command; write '{name} = ssh {name}'")
        if name in hosts:
            raise ScenarioError(f"{origin}: there are two hosts of that name; rename one")
        hosts[name] = words
    return hosts


def unknown_host(name: object, hosts: Iterable[str]) -> str:
    """Return the sentence that there is no host of a name."""
    known = ", ".join([*hosts, HERE])
    return (
        f"host {name!r} is unknown; known: {known}; a line of the ini key xsched_hosts names "
        f"another, as in '{name} = ssh {name}'"
    )


def _host(value: Given, hosts: Mapping[str, object]) -> str | None:
    text, origin = value
    if text is None or text == HERE:
        return None
    if text not in hosts:
        raise ScenarioError(f"{origin}: {unknown_host(text, hosts)}")
    return text


def fleet_of(value: Given, hosts: Mapping[str, object]) -> tuple[tuple[str, ...], bool]:
    """Read the hosts on which tests are repeated, and whether they are spread instead."""
    text, origin = value
    if text is None:
        return (), False
    if text == ANY:
        if not hosts:
            raise ScenarioError(f"{origin}=any: the ini key xsched_hosts names no host")
        return (), True
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in hosts and name != HERE:
            raise ScenarioError(f"{origin}: {unknown_host(name, hosts)}")
        if names.count(name) > 1:
            raise ScenarioError(f"{origin}: {text!r} names {name!r} twice; leave one out")
    return names, False


def _build(value: Given, builds: Mapping[str, NamedBuild]) -> NamedBuild:
    text, origin = value
    if text is None:
        return NamedBuild()
    if text not in builds:
        raise ScenarioError(f"{origin}: {unknown_build(text, builds)}")
    return builds[text]


def _alternating(
    values: Mapping[str, Given], builds: Mapping[str, NamedBuild], build: NamedBuild
) -> tuple[NamedBuild | None, int]:
    """Read with which build the one that is measured is compared alternately, and how often."""
    (text, origin), (name, of_name) = values["baseline_episodes"], values["compare"]
    if text is None:
        return None, 0
    if not text.isdecimal() or not 1 <= int(text) <= EPISODES_MAX:
        from pytest_xsched.stats.paired import episodes_needed  # imports numpy

        raise ScenarioError(
            f"{origin}: {text!r} is not a whole number from 1 to {EPISODES_MAX}; fewer than "
            f"{episodes_needed()} episodes decide nothing"
        )
    if name is None or name not in builds:
        if not origin.startswith("--"):  # of the sessions that compare with a build
            return None, 0
        if name is None:
            raise ScenarioError(
                f"{origin}={text} alone compares nothing; write --xsched-compare=NAME with it, "
                "where NAME is a build of the ini key xsched_builds"
            )
        raise ScenarioError(
            f"{of_name}: {unknown_build(name, builds)}; without {origin} the runs are compared "
            f"with the stored runs called {name!r}"
        )
    reference = builds[name]
    if name == build.name:
        raise ScenarioError(
            f"{of_name}={name} and --xsched-build={name} name one build twice; name another one"
        )
    if replace(reference, name="") == replace(build, name=""):
        raise ScenarioError(
            f"the builds {name!r} and {build.name!r} of the ini key xsched_builds are the same: "
            f"{build.shown()}"
        )
    if values["save"][0] == name:
        raise ScenarioError(
            f"{values['save'][1]}={name} would store runs of the build {build.name!r} under the "
            "name of the one that it is compared with; write another name"
        )
    return reference, int(text)


def _require_one_place(
    build: NamedBuild, reference: NamedBuild | None, values: Mapping[str, Given]
) -> None:
    """Raise ScenarioError where a build has a host, and an option names where tests measure."""
    for one in filter(None, (build, reference)):
        for text, origin in (values["host"], values["hosts"]):
            if one.host and text is not None:
                raise ScenarioError(
                    f"{origin}={text}: the build {one.name!r} is measured on {one.host!r}; leave "
                    f"{origin} out"
                )


def _choice(value: Given, known: tuple[str, ...]) -> str | None:
    text, origin = value
    if text is not None and text not in known:
        raise ScenarioError(f"{origin}: {text!r} is unknown; known: {', '.join(known)}")
    return text


def _flag(text: str | None, origin: str) -> bool:
    word = "no" if text is None else text.lower()
    if word not in ("yes", "no", "true", "false"):
        raise ScenarioError(f"{origin}: {text!r} is neither yes nor no, nor true or false")
    return word in ("yes", "true")


def noise_of(value: Given) -> str:
    """Read the mode: command line > environment > ini, because noise depends on the machine."""
    variable = os.environ.get(NOISE_VARIABLE)
    if variable and not value[1].startswith("--"):
        value = variable, NOISE_VARIABLE
    return _choice(value, NOISE) or "auto"


def _burst(text: str | None, origin: str) -> float:
    if text is None:
        return 1.0
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise ScenarioError(f"{origin}: {text!r} is not a whole number from 1 to 1000")
    return float(text)


def _probability(text: str | None, origin: str) -> float:
    if text is None:
        return SESSION_ALPHA
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise ScenarioError(f"{origin}: {text!r} is not a probability, above 0 and below 1")
    return number


def _regression(text: str | None, origin: str, *, compares: bool) -> float | None:
    """Read the margin; the ini file may have one for the sessions that compare."""
    if text is None:
        return None
    if origin.startswith("--") and not compares:
        raise ScenarioError(
            f"{origin}={text} alone compares nothing; write --xsched-compare=NAME with it"
        )
    share = parse_fraction(text, what=origin, allow_zero=False)
    if share == 1:
        raise ScenarioError(
            f"{origin}: {text!r} finds no throughput too low, since none is below 0; write a share "
            'below 100%, such as "20%"'
        )
    return share


def _file(value: Given, folder_of: FolderOf) -> Path | None:
    text, origin = value
    if text is None:
        return None
    path = folder_of(origin) / expand_path(text, origin)
    _require_output(path, origin)
    return path


def _page(value: Given, folder_of: FolderOf) -> Path | None:
    """Read the path of a page, which needs an optional package, before anything is measured."""
    path = _file(value, folder_of)
    if path is not None:
        try:
            require_extra("jinja2", "html")
        except MissingExtra as error:
            raise ScenarioError(f"{value[1]}: {error}") from None
    return path


def _trace(value: Given, folder_of: FolderOf) -> Path | None:
    """Read the path of the trace; the package that its format needs must be installed."""
    text, origin = value
    if text == ON_FAILURE:
        return _file((TRACE_ON_FAILURE, origin), folder_of)
    if text is not None and text.endswith(PERFETTO_SUFFIXES):
        try:
            require_extra("perfetto", "trace")
        except MissingExtra as error:
            raise ScenarioError(f"{origin}: {text!r} is a file of Perfetto. {error}") from None
    return _file(value, folder_of)


def _require_output(path: Path, origin: str) -> None:
    if fault := output_fault(path):
        raise ScenarioError(f"{origin}: {fault}")


def _plain_name(text: str | None, origin: str) -> str | None:
    if text is not None and not re.fullmatch(r"\w[\w.-]*", text, re.ASCII):
        raise ScenarioError(
            f"{origin}: {text!r} is not a name of letters, digits and . _ - (the directory is "
            "--xsched-baselines)"
        )
    return text
