"""When the requests of a queue arrive: the kinds of arrivals, and their counts."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, get_args

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.units import (
    MAX_HZ,
    MAX_NS,
    DurationLike,
    RateLike,
    format_rate,
    one_line,
    parse_duration,
    parse_durations,
    parse_rate,
    spell_duration,
)
from pytest_xsched.base.validation import (
    checked_fields,
    checked_object,
    integer,
    one_of,
    set_integer,
    set_number,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.stages import Stages, read_stages
from pytest_xsched.scenario.trace_files import TraceFile

SAMPLES_MAX = 10_000_000  # of a run: 40 bytes each, so 400 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Requests at equal distances. Made by `constant`."""

    rate_hz: float

    def __post_init__(self) -> None:
        set_number(self, "rate_hz", "constant", 0, MAX_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Independent requests at a constant mean rate. Made by `poisson`."""

    rate_hz: float

    def __post_init__(self) -> None:
        set_number(self, "rate_hz", "poisson", 0, MAX_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Requests with gamma-distributed gaps with coefficient of variation `cv`. Made by `gamma`."""

    rate_hz: float
    cv: float

    def __post_init__(self) -> None:
        set_number(self, "rate_hz", "gamma", 0, MAX_HZ)
        # Beyond these the gaps under- or overflow, and a run of any length is one burst.
        set_number(self, "cv", "gamma", 0, 10)
        if self.cv < 0.01:
            raise ScenarioError(f"gamma: cv {self.cv} is below 0.01; constant() has no variation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Poisson-like requests in on phases only; `rate_hz` is the mean over all. Made by `bursts`."""

    rate_hz: float
    on_ns: int
    off_ns: int

    def __post_init__(self) -> None:
        set_number(self, "rate_hz", "bursts", 0, MAX_HZ)
        # Shorter phases are no bursts, and 10 s of them would be millions.
        set_integer(self, "on_ns", "bursts", 100_000, MAX_NS)
        set_integer(self, "off_ns", "bursts", 100_000, MAX_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Requests at given times since the start of the measured window. Made by `replay`."""

    times_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.times_ns, (tuple, list)):
            raise ScenarioError(f"replay: times_ns {self.times_ns!r} is not a tuple of times")
        times = tuple(self.times_ns)
        if set(map(type, times)) != {int} or min(times) < 0 or max(times) > MAX_NS:
            times = tuple(integer("replay: time", time, 0, MAX_NS) for time in times)
        object.__setattr__(self, "times_ns", times)
        if not times:
            raise ScenarioError(f"replay: {self.times_ns!r} holds no time")
        if not all(map(operator.le, times, times[1:])):
            for before, after in itertools.pairwise(times):
                if after >= before:
                    continue
                raise ScenarioError(
                    f"replay: {spell_duration(after)} follows {spell_duration(before)}; "
                    "the times must ascend"
                )

    @property
    def rate_hz(self) -> None:
        """A replay has times, not a rate."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """`concurrency` clients that each request, wait, think, and repeat. Made by `closed`."""

    concurrency: int = 1
    think_ns: int = 0

    def __post_init__(self) -> None:
        set_integer(self, "concurrency", "closed", 1, SAMPLES_MAX)
        set_integer(self, "think_ns", "closed", 0, MAX_NS)

    @property
    def rate_hz(self) -> None:
        """A closed loop is as fast as the device."""
        return None


Arrivals: TypeAlias = Constant | Poisson | Gamma | Bursts | Replay | Stages | TraceFile | Closed
ARRIVAL_KINDS: dict[str, type[Arrivals]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(Arrivals)
}


@names_the_rest
def constant(rate: RateLike) -> Constant:
    """Send requests at equal distances, like a camera. May run in step with other work."""
    return Constant(rate_hz=parse_rate(rate, what="rate of constant"))


@names_the_rest
def poisson(rate: RateLike) -> Poisson:
    """Send independent requests, as from many users: the usual choice for an open loop."""
    return Poisson(rate_hz=parse_rate(rate, what="rate of poisson"))


@names_the_rest
def gamma(rate: RateLike, *, cv: float) -> Gamma:
    """Send requests with gaps of coefficient of variation `cv`, in [0.01, 10]; 1 is Poisson."""
    return Gamma(rate_hz=parse_rate(rate, what="rate of gamma"), cv=cv)


@names_the_rest
def bursts(rate: RateLike, *, on: DurationLike, off: DurationLike) -> Bursts:
    """Send requests in bursts.

    Args:
        rate: mean over on and off phases; in the on phases it is (on + off) / on times higher.
        on: mean length of a phase with requests, at least 100 us.
        off: mean length of a phase without, at least 100 us.
    """
    return Bursts(
        rate_hz=parse_rate(rate, what="rate of bursts"),
        on_ns=parse_duration(on, what="on of bursts"),
        off_ns=parse_duration(off, what="off of bursts"),
    )


def replay(times: Iterable[DurationLike]) -> Replay:
    """Send requests at recorded times, ascending, since the start of the measured window.

    Args:
        times: ``["10ms", "20ms"]``, numbers of numpy times a unit (``times * ms``), or lengths of
            time of numpy or pandas (``moments - moments[0]``).
    """
    if isinstance(times, str) or not isinstance(times, Iterable):
        raise ScenarioError(
            f'replay: {one_line(times)} is not a list of times; write ["10ms", "20ms"]'
        )
    kind = getattr(getattr(times, "dtype", None), "kind", "O")
    if kind in "iuf":
        raise ScenarioError(
            f"replay: {one_line(times)} has no unit; write replay(times * s) or replay(times * ms)"
        )
    if kind == "m":  # also a column of pandas
        import numpy as np

        return Replay(times_ns=tuple(parse_durations(np.asarray(times), what="replay")))
    return Replay(times_ns=tuple(parse_durations(list(times), what="replay")))


@names_the_rest
def closed(concurrency: int = 1, *, think: DurationLike = "0ms") -> Closed:
    """Send the next request when the last one is done: for best-effort work, not for latencies.

    Args:
        concurrency: count of unfinished requests at any time.
        think: pause of a client between the end of a request and the next request.
    """
    think_ns = parse_duration(think, what="think of closed", allow_zero=True)
    return Closed(concurrency=concurrency, think_ns=think_ns)


def request_count(rate_hz: float, span_ns: int) -> int:
    """Count the requests of a rate in a span, rounded half up, from the rate as it was written.

    >>> request_count(0.3, 5_000_000_000)  # 1.5 requests, though the float 0.3 is a bit less
    2
    """
    rate = Fraction(rate_hz).limit_denominator(10**9)
    return math.floor(rate * span_ns / 10**9 + Fraction(1, 2))


def clipped(arrivals: Arrivals, duration_ns: int) -> Arrivals:
    """Return a replay without its times from the end of the measured window on.

    Any other load is returned as it is, and so is a replay with all its times before the end, or
    none of them.
    """
    if not isinstance(arrivals, Replay):
        return arrivals
    count = bisect.bisect_left(arrivals.times_ns, duration_ns)
    if count in (0, len(arrivals.times_ns)):
        return arrivals
    return Replay(times_ns=arrivals.times_ns[:count])


def check_replay(arrivals: Replay, *, duration_ns: int, name: str) -> None:
    """Check that all times of a replay lie in the measured window.

    Raises:
        ScenarioError: a time lies after it.
    """
    last = arrivals.times_ns[-1]
    if last >= duration_ns:
        raise ScenarioError(
            f"queue {name!r}: replay time {spell_duration(last)} is not before the end of the "
            f"measured window, {spell_duration(duration_ns)}"
        )


def has_own_times(arrivals: Arrivals) -> bool:
    """Check whether a load names moments of the whole run, so that no part stands for it."""
    return isinstance(arrivals, (Replay, Stages, TraceFile))


def length_ns(arrivals: Arrivals) -> int | None:
    """Return the length of a load that has one, in ns; None: it goes on as long as the run."""
    return arrivals.length_ns if isinstance(arrivals, (Stages, TraceFile)) else None


def known_count(arrivals: Arrivals, *, warmup_ns: int, duration_ns: int, name: str) -> int:
    """Count the requests known before the run: those of an open loop, warm-up included.

    Raises:
        ScenarioError: for a replay that does not fit, and a rate that makes no request.
    """
    if isinstance(arrivals, Replay):
        check_replay(arrivals, duration_ns=duration_ns, name=name)
        return len(arrivals.times_ns)
    if isinstance(arrivals, Stages):
        first_hz = arrivals.stages[0].begin_hz
        measured = arrivals.count_until(duration_ns)
        if measured == 0:
            raise ScenarioError(
                f"queue {name!r}: its stages make no request in {spell_duration(duration_ns)}"
            )
        return measured + request_count(first_hz, warmup_ns)
    if isinstance(arrivals, TraceFile):
        count = int(arrivals.times_ns.searchsorted(duration_ns))
        if count == 0:
            first = spell_duration(int(arrivals.times_ns[0]))
            raise ScenarioError(
                f"queue {name!r}: the first request of its trace comes after {first}, the end of "
                f"the measured window after {spell_duration(duration_ns)}"
            )
        return count
    if arrivals.rate_hz is None:
        return 0
    measured = request_count(arrivals.rate_hz, duration_ns)
    if measured == 0:
        raise ScenarioError(
            f"queue {name!r}: {format_rate(arrivals.rate_hz)} for "
            f"{spell_duration(duration_ns)} is not one request"
        )
    return measured + request_count(arrivals.rate_hz, warmup_ns)


def one_load(
    name: str,
    rate: RateLike | None,
    arrivals: Arrivals | None,
    concurrency: int | None,
    think: DurationLike | None,
    after: object = None,
) -> Arrivals:
    """Return the arrivals that the arguments of a queue name; default: a closed loop of one.

    A queue that starts after another one has none of its own, and `closed()` stands for them.

    Raises:
        ScenarioError: they name two kinds of load, or a value is wrong.
    """
    is_closed = concurrency is not None or think is not None
    named: Iterable[tuple[str, bool]] = (
        ("rate", rate is not None),
        ("arrivals", arrivals is not None),
        ("concurrency or think", is_closed),
    )
    given = [what for what, is_given in named if is_given]
    if given and after is not None:
        raise ScenarioError(
            f"queue {name!r}: after={one_line(after)} and {' and '.join(given)}: its requests "
            f"arrive with those of the other queue; leave {' and '.join(given)} out"
        )
    if len(given) > 1:
        raise ScenarioError(f"queue {name!r}: {' and '.join(given)} are two loads; name one")
    if isinstance(rate, Arrivals):
        raise ScenarioError(f"queue {name!r}: rate {one_line(rate)} has a name: arrivals=")
    if rate is not None:
        return Constant(rate_hz=parse_rate(rate, what=f"rate of queue {name!r}"))
    if arrivals is not None:
        return arrivals
    if not is_closed:
        return Closed()
    return closed(1 if concurrency is None else concurrency, think="0s" if think is None else think)


def plain_arrivals(arrivals: Arrivals) -> dict[str, Any]:
    """Return arrivals in JSON's types; `read_arrivals` reads them back."""
    data: dict[str, Any] = {
        item.name: getattr(arrivals, item.name) for item in dataclasses.fields(arrivals)
    }
    if isinstance(arrivals, Replay):
        data["times_ns"] = list(arrivals.times_ns)
    if isinstance(arrivals, Stages):
        data["stages"] = [dataclasses.asdict(stage) for stage in arrivals.stages]
    kinds = {made: kind for kind, made in ARRIVAL_KINDS.items()}
    return {**data, "kind": kinds[type(arrivals)]}


def read_arrivals(data: Any) -> Arrivals:
    """Return arrivals from JSON: "kind", one of ARRIVAL_KINDS, and the fields of its class."""
    values = checked_object(data, "arrivals")
    kind = values.pop("kind", None)
    one_of("kind of arrivals", kind, tuple(ARRIVAL_KINDS))
    values = checked_fields(ARRIVAL_KINDS[kind], values, kind)
    made: Callable[..., Arrivals] = ARRIVAL_KINDS[kind]
    return read_stages(values) if kind == "stages" else made(**values)
