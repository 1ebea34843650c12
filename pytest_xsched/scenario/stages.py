"""A load in stages: each has a length and a rate, or a ramp from one rate to another.

The count of requests up to any moment is the area below the rate up to it, rounded half up. So the
count in every stage, and in every part of a stage, is exact, whatever the seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.units import (
    MAX_HZ,
    MAX_NS,
    DurationLike,
    RateLike,
    format_rate,
    one_line,
    parse_duration,
    parse_rate,
    refuse_swapped,
    spell_duration,
)
from pytest_xsched.base.validation import checked_fields, one_of, set_integer, set_tuple
from pytest_xsched.errors import ScenarioError

STAGES_MAX = 1000
PROCESSES = ("poisson", "constant")
StageLike: TypeAlias = (
    "tuple[DurationLike, RateLike] | tuple[DurationLike, RateLike, RateLike] | Stage"
)
_FORMS = '("30s", "100/s"), or ("30s", "20/s", "100/s") for a ramp'


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a load.

    Args:
        duration_ns: its length, at least 1 ms.
        begin_hz: the rate at its begin, at least 0...
        end_hz: ...and at its end; between them the rate changes evenly.
        name: by which `stage()` knows it; "": by its index only.
    """

    duration_ns: int
    begin_hz: float
    end_hz: float
    name: str = ""

    def __post_init__(self) -> None:
        set_integer(self, "duration_ns", "stage", 10**6, MAX_NS)
        for name in ("begin_hz", "end_hz"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ScenarioError(f"stage: {name} {one_line(value)} is not a number")
            if not 0 <= value <= MAX_HZ:
                raise ScenarioError(f"stage: {name} {value!r} is outside [0, {MAX_HZ:g}]")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.name, str) or not self.name.isprintable() or len(self.name) > 40:
            raise ScenarioError(f"stage: name {one_line(self.name)} is not a text of one line")

    @property
    def rates(self) -> str:
        """The rate, or both rates of a ramp, as text."""
        begin, end = (format_rate(hz) for hz in (self.begin_hz, self.end_hz))
        return begin if begin == end else f"{begin} to {end}"

    def requests_until(self, at_ns: int) -> Fraction:
        """Return the area below the rate from the begin of the stage to a time in it."""
        begin, end = (Fraction(hz).limit_denominator(10**9) for hz in (self.begin_hz, self.end_hz))
        return (begin * at_ns + (end - begin) * at_ns**2 / (2 * self.duration_ns)) / 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Requests at a rate that changes from stage to stage. Made by `stages`.

    Args:
        stages: in order of time, at least one.
        process: how requests are placed within a stage, one of PROCESSES.
    """

    stages: tuple[Stage, ...]
    process: str = "poisson"

    def __post_init__(self) -> None:
        set_tuple(self, "stages", Stage, "stages", STAGES_MAX)
        one_of("stages: process", self.process, PROCESSES)
        names = [stage.name for stage in self.stages if stage.name]
        for name in names:
            if names.count(name) > 1:
                raise ScenarioError(f"stages: two stages are named {name!r}")
        if self.length_ns > MAX_NS:
            raise ScenarioError(f"stages: {spell_duration(self.length_ns)} is over ten years")

    @property
    def rate_hz(self) -> None:
        """Stages have several rates."""
        return None

    @property
    def length_ns(self) -> int:
        """Length of all stages together, ns."""
        return sum(stage.duration_ns for stage in self.stages)

    def spans_ns(self) -> list[tuple[int, int]]:
        """Return start and end of each stage, ns since the start of the measured window."""
        found, at_ns = [], 0
        for stage in self.stages:
            found.append((at_ns, at_ns + stage.duration_ns))
            at_ns += stage.duration_ns
        return found

    def label(self, index: int) -> str:
        """Return how messages call a stage: by its name, or by its index."""
        name = self.stages[index].name
        return f"stage {name!r}" if name else f"stage {index}"

    def index_of(self, which: int | str) -> int:
        """Return the index of a stage by name or index, which may count from the end.

        Raises:
            ScenarioError: there is no such stage.
        """
        if isinstance(which, str):
            names = [stage.name for stage in self.stages]
            if which and which in names:
                return names.index(which)
        elif type(which) is int and -len(self.stages) <= which < len(self.stages):
            return which % len(self.stages)
        known = ", ".join(repr(stage.name or index) for index, stage in enumerate(self.stages))
        raise ScenarioError(f"there is no stage {one_line(which)}; the load has {known}")

    def count_until(self, at_ns: int) -> int:
        """Return the requests from the start of the measured window to a time."""
        return math.floor(self.area_until(at_ns) + Fraction(1, 2))

    def area_until(self, at_ns: int) -> Fraction:
        """Return the area below the rate, from the start of the measured window to a time."""
        area = Fraction(0)
        for stage, (start_ns, end_ns) in zip(self.stages, self.spans_ns(), strict=True):
            if at_ns <= start_ns:
                break
            area += stage.requests_until(min(at_ns, end_ns) - start_ns)
        return area


@names_the_rest
def stages(
    parts: Iterable[StageLike] | Mapping[str, StageLike], *, process: str = "poisson"
) -> Stages:
    """Send requests at a rate that changes: ``stages([("10s", "20/s"), ("30s", "100/s")])``.

    Args:
        parts: for each stage its length and its rate, or its length and the rates at its begin and
            at its end, between which the rate changes evenly. A rate may be ``"0/s"``. A dictionary
            names the stages: ``{"calm": ("10s", "20/s"), "burst": ("5s", "200/s")}``.
        process: ``"poisson"``: at random; ``"constant"``: at equal distances, or in a ramp at
            distances that change evenly. The counts are exact with both.

    A run without a duration takes the length of all stages.
    """
    if isinstance(parts, Mapping):
        made = [_stage(part, f"stage {name!r}", str(name)) for name, part in parts.items()]
    elif isinstance(parts, str) or not isinstance(parts, Iterable):
        raise ScenarioError(f"stages: {one_line(parts)} is not a list; write stages([{_FORMS}])")
    else:
        listed = list(parts)
        if len(listed) in (2, 3) and all(isinstance(part, str) for part in listed):
            raise ScenarioError(
                f"stages: {one_line(parts)} is one stage, not a list; write stages([{_FORMS}])"
            )
        made = [_stage(part, f"stage {index}", "") for index, part in enumerate(listed)]
    return Stages(stages=tuple(made), process=process)


def _stage(part: object, what: str, name: str) -> Stage:
    if isinstance(part, Stage):
        return part
    if not isinstance(part, (tuple, list)) or len(part) not in (2, 3):
        raise ScenarioError(f"{what} of stages: {one_line(part)} is not a stage; write {_FORMS}")
    length, *rates = part
    refuse_swapped(length, rates[0], _FORMS)
    hz = [_rate(rate, f"rate of {what} of stages") for rate in rates]
    return Stage(
        duration_ns=parse_duration(length, what=f"length of {what} of stages"),
        begin_hz=hz[0],
        end_hz=hz[-1],
        name=name,
    )


def _rate(value: RateLike, what: str) -> float:
    if isinstance(value, str) and value.replace(" ", "").lower() in ("0/s", "0/min", "0hz"):
        return 0.0
    return parse_rate(value, what=what)


def read_stages(values: dict[str, Any]) -> Stages:
    """Return stages from their JSON."""
    parts = values["stages"]
    if not isinstance(parts, list):
        raise ScenarioError(f"stages: stages {parts!r} is not a list")
    made = tuple(Stage(**checked_fields(Stage, part, "stage")) for part in parts)
    return Stages(stages=made, process=values["process"])
