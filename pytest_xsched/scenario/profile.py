"""Recorded profiles: how long each command of a model took, once, on a GPU, kept as a JSON file.

A profile stands for its model where the model cannot run: on `sim`, in virtual time and without a
GPU, and on a GPU without the framework. Its commands become spins of the same durations. The times
are facts of one device; how they combine with the work of other queues is up to the device of the
run. docs/reference/xsched-profile.schema.json describes the file.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.base.output_file import read_regular, write_whole
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import MAX_NS, DurationLike, format_duration, one_line
from pytest_xsched.base.validation import (
    checked_fields,
    checked_list,
    checked_object,
    set_integer,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.grouping import checked_commands, grouped
from pytest_xsched.scenario.workload import COMMANDS_MAX, Command, Workload

FORMAT = "pytest-xsched profile"
VERSION = 1
PIECES_MAX = 2**16
"""Commands of a profile; a request has at most COMMANDS_MAX, so more must be grouped."""
REQUESTS_MAX = 10**6
SUFFIX = ".json"
LONGER_MAX = 2
"""How many times longer than its commands together a request may be: they ran at another clock.

It may be shorter by any amount: launches of short commands take longer than the commands.
"""

_FOLDER = Path(__file__).with_name("profiles")
_WAY_OUT = "write it with `pytest-xsched record`"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCommand:
    """One piece of a request as it was recorded: some kernels that were launched at once.

    Args:
        name: of its first kernel; "" if the driver does not tell, or if it has none.
        kernels: count of its kernels; 0 where it only copies or clears memory.
        duration_ns: its time within the request, in [0, MAX_NS], median over the requests.
    """

    name: str
    kernels: int
    duration_ns: int

    def __post_init__(self) -> None:
        _check_text("command", "name", self.name, may_be_empty=True)
        set_integer(self, "kernels", "command", 0, PIECES_MAX)
        set_integer(self, "duration_ns", "command", 0, MAX_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The times of a model's commands, and where they were recorded.

    Args:
        model: what was recorded, for people: ``"resnet(batch=1)"``.
        device: the name that the driver reports.
        driver: version of the driver.
        packages: versions of the frameworks, pairs of name and version.
        requests: how many requests were timed.
        request_ns: time of a whole request that is launched at once, in [1, MAX_NS], median.
        commands: its pieces in order, as small as the model could be cut, at most PIECES_MAX.
    """

    model: str
    device: str
    driver: str
    packages: tuple[tuple[str, str], ...] = ()
    requests: int
    request_ns: int
    commands: tuple[RecordedCommand, ...]

    def __post_init__(self) -> None:
        for name in ("model", "device", "driver"):
            _check_text("profile", name, getattr(self, name))
        pairs = tuple(sorted((name, version) for name, version in self.packages))
        for name, version in pairs:
            _check_text("profile", "a name in packages", name)
            _check_text("profile", f"version of {name}", version)
        object.__setattr__(self, "packages", pairs)
        set_integer(self, "requests", "profile", 1, REQUESTS_MAX)
        set_integer(self, "request_ns", "profile", 1, MAX_NS)
        set_tuple(self, "commands", RecordedCommand, "profile", PIECES_MAX)
        if sum(command.duration_ns for command in self.commands) > MAX_NS:
            raise ScenarioError("profile: the commands together take longer than ten years")

    @property
    def durations_ns(self) -> list[int]:
        """The times of the commands in a request that is launched at once; the sum is `request_ns`.

        While they were recorded each was launched by itself, which takes the same time for each.
        What that adds to the request is taken off in equal parts, down to 0.
        """
        return in_one_launch([c.duration_ns for c in self.commands], self.request_ns)

    @property
    def kernels(self) -> int:
        """Count of the kernels of a request."""
        return sum(command.kernels for command in self.commands)

    def to_dict(self) -> dict[str, Any]:
        """Return the profile in JSON's types, as a file has it; `from_dict` reads it back."""
        fields = asdict(self) | {
            "packages": dict(self.packages),
            "commands": [asdict(command) for command in self.commands],
        }
        return {"format": FORMAT, "version": VERSION, **fields}

    @classmethod
    def from_dict(cls, data: Any) -> Profile:
        """Return the profile that `to_dict` returned.

        Raises:
            ScenarioError: it is not one, or is of another version.
        """
        values = checked_object(data, "profile")
        if values.pop("format", None) != FORMAT:
            raise ScenarioError(f'"format" is not "{FORMAT}"; {_WAY_OUT}')
        version = values.pop("version", None)
        if version != VERSION or type(version) is not int:
            raise ScenarioError(
                f"version {one_line(version)} is unknown: this pytest-xsched reads version "
                f"{VERSION}; record the profile again"
            )
        values = checked_fields(cls, values, "profile")
        packages = checked_object(values["packages"], "profile: packages")
        commands = checked_list(values, "commands", "profile")
        read = [_read_command(i, command) for i, command in enumerate(commands)]
        return cls(**values | {"packages": tuple(packages.items()), "commands": tuple(read)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a file, whole or not at all; equal profiles give equal bytes.

        Args:
            path: the file; its name ends in ``.json``, so that `recorded` takes it.

        Raises:
            ScenarioError: the name ends otherwise.
            OSError: the file cannot be written.
        """
        text = os.fspath(path)
        if not text.endswith(SUFFIX):
            raise ScenarioError(f"profile: the name of the file {text!r} must end in {SUFFIX}")
        data = self.to_dict()
        commands = data.pop("commands")
        head = json.dumps(data, indent=1, allow_nan=False).removesuffix("\n}")
        lines = ",\n".join(f"  {json.dumps(command)}" for command in commands)  # a line for each
        write_whole(
            Path(expand_path(text, "profile")), f'{head},\n "commands": [\n{lines}\n ]\n}}\n'
        )


def recorded(
    profile: str | os.PathLike[str] | Profile,
    *,
    commands: int | DurationLike | None = None,
) -> Workload:
    """Make a workload out of a recorded profile: its requests take the times of that model's.

    Each command is a spin, so the workload runs on every device: on ``"sim"`` in virtual time, on a
    GPU without the model and its framework. Nothing is computed. The times are those of the device
    that recorded them, and each command takes all of the device.

    Args:
        profile: a file that ``pytest-xsched record`` wrote, whose name ends in ``.json``; or the
            name of a profile that comes with the package: ``"resnet50"``. A relative path starts at
            the directory in which pytest runs; for a file next to the test write
            ``Path(__file__).with_name("resnet50.json")``. Or what `profile()` of a measured queue
            returned.
        commands: None: each command as it was recorded. Else neighbours are grouped as `model`
            groups them: ``"auto"``, a number of commands of about equal times, or the time of a
            command, ``"50us"``.

    Raises:
        ScenarioError: there is no such file or name, the file holds no profile, or its request
            takes more than twice the time of its commands.
    """
    if isinstance(profile, Profile):
        name, read = profile.model.partition(": ")[0], profile
        _require_all_commands(f"recorded: the profile {name!r}", read)
    else:
        name, read = _read_profile(profile)
    durations_ns = read.durations_ns
    more = ""
    if commands is not None:
        commands = checked_commands("recorded", commands)
        more = f", commands={commands!r}"
        ends = grouped(range(1, len(durations_ns) + 1), durations_ns, commands)
        durations_ns = [sum(durations_ns[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    if len(durations_ns) > COMMANDS_MAX:
        raise ScenarioError(
            f"recorded({name!r}{more}): {len(durations_ns)} commands, above {COMMANDS_MAX} of a "
            'request; group them: commands="auto"'
        )
    spins = (Command(kind="spin", duration_ns=duration_ns) for duration_ns in durations_ns)
    return Workload(commands=tuple(spins), label=f"recorded({name!r}{more})")


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{SUFFIX}")))


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile from a file, or one that comes with the package; `path` is as of `recorded`.

    Raises:
        ScenarioError: there is no such file or name, or the file holds no profile.
    """
    return _read_profile(path)[1]


def in_one_launch(durations_ns: Sequence[int], whole_ns: int) -> list[int]:
    """Return the times of pieces that together take a given time.

    If they take longer, by their launches, each is less by the same amount; a piece that would be
    below 0 is 0, and the others bear the rest. If they take less, the clock was higher when they
    were timed, and each is longer in proportion.

    Returns:
        Whole numbers whose sum is `whole_ns`.

    >>> in_one_launch([10, 20, 30], 45), in_one_launch([1, 20, 30], 41), in_one_launch([10, 20], 33)
    ([5, 15, 25], [0, 16, 25], [11, 22])
    """
    left = sorted(durations_ns)
    excess = sum(left) - whole_ns
    if excess <= 0:
        less, factor = 0.0, whole_ns / max(1, sum(left))
    else:
        smallest = 0
        while smallest < len(left) - 1 and left[smallest] * (len(left) - smallest) < excess:
            excess -= left[smallest]
            smallest += 1
        less, factor = excess / (len(left) - smallest), 1.0
    sums = itertools.accumulate(max(0.0, ns - less) * factor for ns in durations_ns)
    ends = [round(sum_ns) for sum_ns in sums]
    ends[-1] = whole_ns
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _read_profile(given: object) -> tuple[str, Profile]:
    """Return the name for labels and the profile of a file or of the package."""
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise ScenarioError(
            f"recorded: {one_line(given)} is neither a path nor the name of a profile; {_known()}"
        )
    text = os.fspath(given)
    if isinstance(given, str) and not text.endswith(SUFFIX):
        if text not in shipped_profiles():
            raise ScenarioError(f"recorded: {one_line(text)} is no name of a profile; {_known()}")
        return text, _read_file(_FOLDER / f"{text}{SUFFIX}")
    path = Path(expand_path(text, "recorded"))
    return path.name, _read_file(path)


def _known() -> str:
    return f"known: {', '.join(shipped_profiles())}; the name of a file ends in {SUFFIX}"


def _read_file(path: Path) -> Profile:
    what = f"recorded: {str(path)!r}"
    try:
        data = json.loads(read_regular(path).decode())
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {os.getcwd()}"
        next_to_it = f"Path(__file__).with_name({path.name!r}) is one next to the test"
        raise ScenarioError(f"{what}: there is no such file{where}; {next_to_it}") from None
    except OSError as error:
        raise ScenarioError(f"{what} cannot be read: {error.strerror}; {_WAY_OUT}") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{what} is not JSON: byte {error.start} is no UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{what} is not JSON: {error}; {_WAY_OUT}") from None
    try:
        profile = Profile.from_dict(data)
    except ScenarioError as error:
        raise ScenarioError(f"{what} holds no profile: {error}") from None
    _require_all_commands(what, profile)
    return profile


def _require_all_commands(what: str, profile: Profile) -> None:
    """Raise ScenarioError where commands seem to be missing, whose time the others would get."""
    sum_ns = sum(command.duration_ns for command in profile.commands)
    if profile.request_ns > LONGER_MAX * sum_ns:
        raise ScenarioError(
            f"{what}: request_ns {format_duration(profile.request_ns)} is more than twice what its "
            f"commands take together, {format_duration(sum_ns)}; record it again, or write the sum "
            "of all commands as request_ns"
        )


def _read_command(i: int, data: Any) -> RecordedCommand:
    try:
        return RecordedCommand(**checked_fields(RecordedCommand, data, "command"))
    except ScenarioError as error:
        sentence = str(error).removeprefix("command: ")
        raise ScenarioError(f"command {i}: {sentence}") from None


def _check_text(what: str, name: str, value: object, *, may_be_empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ScenarioError(f"{what}: {name} {one_line(value)} is not a text")
