"""Requests like those of real models: durations and shares of the device, from a seed.

The recipes condense published profiles of kernels (MobileNet and ResNet inference, decoding and
prefill of language models, training steps). A trace is a workload like any other: its commands are
stored in the scenario, so a run draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pytest_xsched.base.units import DurationLike, parse_duration, spell_duration
from pytest_xsched.base.validation import integer, one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.workload import COMMANDS_MAX, Command, Workload, spin, vector_add

_HOG_WAVES = 8
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class _LogNormal:
    median_us: float
    sigma: float
    low_us: float = 0.0
    high_us: float = math.inf

    def at(self, u: float) -> float:
        """Return the duration, in us, below which a share `u` of the durations lies."""
        z = _NORMAL.inv_cdf(max(u, 2.0**-54))  # u may be 0, which has no quantile
        return min(max(self.median_us * math.exp(self.sigma * z), self.low_us), self.high_us)


@dataclass(frozen=True, slots=True)
class _LogUniform:
    low_us: float
    high_us: float

    def at(self, u: float) -> float:
        """Return the duration, in us, below which a share `u` of the durations lies."""
        return self.low_us * math.pow(self.high_us / self.low_us, u)


@dataclass(frozen=True, slots=True)
class _Fill:
    """All of the device for a share `full` of the commands, else uniform from `low` to `high`."""

    full: float
    low: float = 1.0
    high: float = 1.0

    def at(self, u: float) -> float:
        if u < self.full:
            return 1.0
        return self.low + (self.high - self.low) * (u - self.full) / (1.0 - self.full)


@dataclass(frozen=True, slots=True)
class _Part:
    share: float
    durations: _LogNormal | _LogUniform
    fill: _Fill


@dataclass(frozen=True, slots=True)
class _Recipe:
    fewest: int
    most: int
    parts: tuple[_Part, ...]


_ALL = _Fill(full=1.0)
_MIXED = _Fill(full=0.4, low=0.05, high=0.8)
_SMALL = _Fill(full=0.0, low=0.05, high=1.0)
_RECIPES = {
    "cnn-small": _Recipe(
        150,
        180,
        (
            _Part(0.85, _LogNormal(9, 0.9, 3, 100), _MIXED),
            _Part(0.15, _LogNormal(70, 0.5), _MIXED),
        ),
    ),
    "decode": _Recipe(
        1000, 1000, (_Part(1.0, _LogNormal(5, 0.5), _Fill(full=0.0, low=0.3, high=1.0)),)
    ),
    "train": _Recipe(
        1000,
        1000,
        (
            _Part(0.50, _LogNormal(4, 0.5), _SMALL),
            _Part(0.35, _LogUniform(10, 100), _SMALL),
            _Part(0.13, _LogUniform(100, 500), _ALL),
            _Part(0.02, _LogUniform(500, 2500), _ALL),
        ),
    ),
    "prefill": _Recipe(
        100,
        100,
        (
            _Part(0.70, _LogUniform(50, 500), _ALL),
            _Part(0.25, _LogUniform(500, 3000), _ALL),
            _Part(0.05, _LogUniform(3000, 7500), _ALL),
        ),
    ),
}
TRACES = (*_RECIPES, "hog", "vecadd")


def trace(
    name: str,
    *,
    seed: int = 0,
    commands: int | None = None,
    total: DurationLike | None = None,
    duration: DurationLike | None = None,
    waves: int | None = None,
) -> Workload:
    """Make a workload whose commands are like those of a real model, on every device.

    The recipes, by `name`; durations are those of `spin`, shares are of the device:

    - ``"cnn-small"``: 150 to 180 commands; 85 % of them lognormal with median 9 us and sigma 0.9,
      clipped to 3..100 us, 15 % with 70 us and 0.5; 40 % take all of the device, the others
      uniformly 0.05 to 0.8. Together some 3.9 ms.
    - ``"decode"``: 1000 commands, lognormal with 5 us and 0.5; uniformly 0.3 to 1. Some 5.7 ms.
    - ``"train"``: 1000 commands; 50 % lognormal with 4 us and 0.5, 35 % log-uniform from 10 to 100
      us, 13 % from 100 to 500 us, 2 % from 0.5 to 2.5 ms; above 100 us all of the device, the
      others uniformly 0.05 to 1. Some 73 ms.
    - ``"prefill"``: 100 commands, log-uniform, 70 % from 50 to 500 us, 25 % from 0.5 to 3 ms, 5 %
      from 3 to 7.5 ms; all of the device. Some 74 ms.
    - ``"hog"``: one command of 2 ms that takes all of the device, in 8 waves of blocks.
    - ``"vecadd"``: one ``vector_add(2**25)``, which is bound by the device's memory.

    The draws are those of `random()` of PCG64, transformed here by inverse distribution functions,
    so that equal seeds give equal commands with every version of numpy: one for the number of
    commands, then, for all commands each, one for the place among the parts of the mixture (whose
    counts are exact, halves round up), one for the duration and one for the share.

    Args:
        name: one of the above.
        seed: of the draws, in [0, 2**32); "hog" and "vecadd" draw nothing.
        commands: of one request, in [1, COMMANDS_MAX], instead of the number above.
        total: scale the durations so that together they take this, each rounded to a nanosecond
            and at least one; not for "hog" and "vecadd".
        duration: of one command of "hog".
        waves: of one command of "hog"; its blocks are of duration / waves.

    Raises:
        ScenarioError: a value is wrong, or is not one of this recipe.

    >>> request = trace("decode", seed=1, commands=2)
    >>> [(command.duration_ns, command.fill_permille) for command in request.commands]
    [(11307, 596), (3912, 879)]
    """
    one_of("trace", name, TRACES)
    seed = integer(f"trace {name!r}: seed", seed, 0, 2**32 - 1)
    if commands is not None:
        commands = integer(f"trace {name!r}: commands", commands, 1, COMMANDS_MAX)
    _refuse(name, name in _RECIPES, {"total": total})
    _refuse(name, name == "hog", {"duration": duration, "waves": waves})
    if name == "vecadd":
        return vector_add(2**25, layers=commands or 1)
    if name == "hog":
        return spin(
            duration if duration is not None else "2ms",
            waves=_HOG_WAVES if waves is None else waves,
            layers=commands or 1,
        )
    total_ns = None if total is None else parse_duration(total, what="total of trace")
    more = f", commands={commands}" if commands is not None else ""
    more += f", total='{spell_duration(total_ns)}'" if total_ns is not None else ""
    return Workload(
        commands=tuple(_draw(_RECIPES[name], seed, commands, total_ns)),
        label=f"trace({name!r}, seed={seed}{more})",
    )


def _refuse(name: str, takes: bool, arguments: dict[str, object]) -> None:
    for argument, value in arguments.items():
        if value is not None and not takes:
            raise ScenarioError(f"trace {name!r}: {argument} {value!r} is not one of its arguments")


def _draw(
    recipe: _Recipe, seed: int, commands: int | None, total_ns: int | None
) -> Iterable[Command]:
    rng = np.random.Generator(np.random.PCG64(seed))
    count = recipe.fewest + int(rng.random() * (recipe.most - recipe.fewest + 1))
    count = count if commands is None else commands
    parts = _mixed(recipe, rng.random(count).tolist())
    us = [part.durations.at(u) for part, u in zip(parts, rng.random(count).tolist(), strict=True)]
    fills = [part.fill.at(u) for part, u in zip(parts, rng.random(count).tolist(), strict=True)]
    ns_per_us = 1000.0 if total_ns is None else total_ns / math.fsum(us)
    for duration_us, fill in zip(us, fills, strict=True):
        yield Command(
            kind="spin",
            duration_ns=max(1, round(duration_us * ns_per_us)),
            fill_permille=round(fill * 1000),
        )


def _mixed(recipe: _Recipe, places: list[float]) -> list[_Part]:
    """Return a part for each command: commands of the lowest places get the first one."""
    parts: list[_Part] = []
    share = 0.0
    for part in recipe.parts:
        share += part.share
        parts += [part] * (math.floor(share * len(places) + 0.5) - len(parts))
    in_order: list[_Part] = [parts[0]] * len(places)
    for place, i in enumerate(sorted(range(len(places)), key=places.__getitem__)):
        in_order[i] = parts[place]
    return in_order
