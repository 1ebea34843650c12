"""NVIDIA's Multi-Process Service (MPS) as a scheduler, as data: what each client may use.

Source: NVIDIA's page "Multi-Process Service", whose variables these are. A client reads them before
its first call of CUDA, so each queue has a process of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pytest_xsched.base.units import one_line
from pytest_xsched.base.validation import checked_fields, finite_number, integer, one_of
from pytest_xsched.errors import ScenarioError

PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
PRIORITY = "CUDA_MPS_CLIENT_PRIORITY"
DAEMONS = ("own", "running")

_Pairs: TypeAlias = "tuple[tuple[str, float], ...]"
_BELOW_NORMAL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MPS:
    """MPS, which lets the kernels of several processes run on an NVIDIA GPU at once.

    Args:
        active_thread_percentage: by name of a queue, the percentage of the multiprocessors that its
            process may use, above 0 and up to 100: ``{"low": 50}``. Others may use all.
        priority: by name of a queue, the priority of its process: 0 (normal) or 1 (below normal):
            ``{"low": 1}``. Others are normal.
        daemon: ``"own"``: a control daemon for this run only, which ends with it. ``"running"``:
            the one that runs already, at CUDA_MPS_PIPE_DIRECTORY or NVIDIA's default; it stays.
    """

    active_thread_percentage: Mapping[str, float] | _Pairs = ()
    priority: Mapping[str, int] | _Pairs = ()
    daemon: str = "own"

    def __post_init__(self) -> None:
        what = "MPS: active_thread_percentage"
        shares = tuple(
            (name, finite_number(f"{what} of {name!r}", share, above=0, high=100))
            for name, share in _pairs(what, self.active_thread_percentage, '{"low": 50}')
        )
        object.__setattr__(self, "active_thread_percentage", shares)
        what = "MPS: priority"
        priorities = tuple(
            (name, integer(f"{what} of {name!r}", priority, 0, _BELOW_NORMAL))
            for name, priority in _pairs(what, self.priority, '{"low": 1}')
        )
        object.__setattr__(self, "priority", priorities)
        one_of("MPS: daemon", self.daemon, DAEMONS)

    @property
    def names(self) -> tuple[str, ...]:
        """The queues that have settings."""
        return tuple(dict.fromkeys(name for name, _ in (*self._shares, *self._priorities)))

    @property
    def label(self) -> str:
        """Name in reports and of an arm of a comparison: "mps low 50%"."""
        parts = [f"{name} {share:g}%" for name, share in self._shares]
        parts += [f"{name} below normal" for name, value in self._priorities if value]
        parts += ["running daemon"] if self.daemon == "running" else []
        return f"mps {', '.join(parts)}" if parts else "mps"

    @property
    def _shares(self) -> _Pairs:
        assert isinstance(self.active_thread_percentage, tuple)
        return self.active_thread_percentage

    @property
    def _priorities(self) -> _Pairs:
        assert isinstance(self.priority, tuple)
        return self.priority

    def for_queues(self, names: Collection[str]) -> MPS:
        """Return the settings without those of other queues than some."""
        return replace(
            self,
            active_thread_percentage=tuple(one for one in self._shares if one[0] in names),
            priority=tuple(one for one in self._priorities if one[0] in names),
        )

    def require_queues(self, names: Collection[str]) -> None:
        """Raise ScenarioError if a queue that has settings is not among some."""
        for name in self.names:
            if name not in names:
                raise ScenarioError(f"MPS names queue {name!r}; known: {', '.join(sorted(names))}")

    def variables(self, queue: str | None) -> dict[str, str]:
        """Return the environment variables of the process of a queue; None: it has no queue."""
        named = ((PERCENTAGE, dict(self._shares)), (PRIORITY, dict(self._priorities)))
        return {
            variable: f"{values[queue]:g}"
            for variable, values in named
            if queue is not None and queue in values
        }


def read_mps(data: Any) -> MPS | None:
    """Return the settings from their JSON; None: the scheduler is another one."""
    if data is None:
        return None
    values = checked_fields(MPS, data, "mps")
    for name in ("active_thread_percentage", "priority"):
        values[name] = tuple(tuple(pair) for pair in values[name])
    return MPS(**values)


def _pairs(what: str, given: object, example: str) -> _Pairs:
    """Return pairs of a queue and a value, sorted by queue."""
    wrong = ScenarioError(
        f"{what} {one_line(given)} is not by name of a queue; write {what.split()[-1]}={example}"
    )
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise wrong
    pairs = tuple(given.items() if isinstance(given, Mapping) else given)
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise wrong
    if not all(isinstance(name, str) for name, _ in pairs):
        raise wrong
    return tuple(sorted(pairs))
