"""Hypothesis strategies for workloads, arrivals, queues and scenarios, and profiles to run them.

Every value comes from a grid of round numbers that begins with the simplest. So a failing scenario
shrinks towards fewer queues, fewer requests and shorter work. Hypothesis loads this module by its
entry point.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

try:
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.errors import HypothesisSideeffectWarning
    from hypothesis.strategies import DrawFn, SearchStrategy
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.base.policies import POLICIES
from pytest_xsched.base.units import Duration, DurationLike, Rate, one_line, parse_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import (
    Arrivals,
    Closed,
    bursts,
    closed,
    constant,
    gamma,
    poisson,
    replay,
)
from pytest_xsched.scenario.device_models import SimModel
from pytest_xsched.scenario.profile import recorded, shipped_profiles
from pytest_xsched.scenario.queue_spec import AUTO, PRIORITY_MAX, PRIORITY_MIN, QueueSpec
from pytest_xsched.scenario.scenario import Scenario, default_drain_ns
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Workload, sequence, spin

__all__ = [
    "arrivals",
    "contentions",
    "launch_configurations",
    "priorities",
    "priority_changes",
    "queue_specs",
    "recorded_workloads",
    "scenarios",
    "without_tests",
    "workloads",
]

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
"""Names of the queues of a scenario, in order."""
DURATIONS = ("1ms", "2ms", "500us", "200us")
"""Durations of a command."""
LAYERS = (1, 2, 3, 5)
"""Commands of a request."""
GROUPINGS: tuple[int | None, ...] = (1, 4, 16, None)
"""Commands of a recorded request; None: as many as were recorded."""
SHORT_NS = 2_000_000
"""The longest recorded request that is drawn by default, in a few commands: the requests of a
scenario must end within its drain, whatever else is drawn."""
REQUESTS = (1, 2, 3, 5, 8)
"""Requests of an open loop in the measured window."""
DEPTHS: tuple[tuple[int | str, int | None], ...] = (
    *((1, 1), (2, 1), (2, 2), (3, 2), (4, 1), (4, 3), (8, 5), (16, 8)),
    (AUTO, None),
)
"""Thresholds with batch sizes."""
PRIORITIES = (0, 1, 2, -1, PRIORITY_MAX, PRIORITY_MIN)
UTILIZATIONS = (None, 50, 20, 80, 5)
"""Utilizations of a queue, in percent."""
DEADLINES_NS = (None, 10_000_000, 1_000_000, 5_000_000, 50_000_000)
"""Deadlines of a request."""
HPF_FIRST = tuple(sorted(POLICIES, key=lambda name: name != "hpf"))
"""Policies of the scheduler "builtin", the usual one first."""
MODELS = (
    SimModel(launch_ns=0, priority=False),
    SimModel(launch_ns=0),
    SimModel(),
    SimModel(slots=2, launch_ns=0, priority=False),
    SimModel(slots=3),
    SimModel(launch_ns=0, priority=False, interleave=True),
)
"""Models of the device `sim`: bare, with stream priorities, with launch times, with slots, with
streams that take turns."""

_T = TypeVar("_T")
_Arguments = ParamSpec("_Arguments")


@contextlib.contextmanager
def without_tests() -> Iterator[None]:
    """Silence hypothesis, which warns of strategies that are used before tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisSideeffectWarning)
        yield


def _grid(values: Sequence[_T]) -> SearchStrategy[_T]:
    return st.sampled_from(tuple(values))


def priorities() -> SearchStrategy[int]:
    """Draw priorities, including the extremes."""
    return _grid(PRIORITIES)


def launch_configurations(*, auto: bool = True) -> SearchStrategy[tuple[int | str, int | None]]:
    """Draw pairs of threshold and batch size.

    Args:
        auto: whether to draw the automatic threshold, too.
    """
    return _grid([depth for depth in DEPTHS if auto or depth[0] != AUTO])


def workloads(*, durations: Sequence[DurationLike] = DURATIONS) -> SearchStrategy[Workload]:
    """Draw requests of one to eight spins, most of them of equal length.

    Args:
        durations: durations of the spins, the simplest first.
    """
    equal = st.builds(
        lambda duration, layers: spin(duration, layers=layers), _grid(durations), _grid(LAYERS)
    )
    mixed = st.lists(equal, min_size=2, max_size=3).map(sequence)
    return st.one_of(equal, equal, mixed)


def recorded_workloads() -> SearchStrategy[Workload]:
    """Draw requests of the recorded profiles that come with the package; see `recorded`."""
    return _recorded(shipped_profiles(), GROUPINGS)


def _recorded(names: Sequence[str], groupings: Sequence[int | None]) -> SearchStrategy[Workload]:
    return st.builds(
        lambda name, commands: recorded(name, commands=commands), _grid(names), _grid(groupings)
    )


def _short_profiles() -> list[str]:
    """Return the shipped profiles whose requests are about as long as those of `workloads()`."""
    lengths = {
        name: sum(command.duration_ns for command in recorded(name).commands)
        for name in shipped_profiles()
    }
    return [name for name, length_ns in lengths.items() if length_ns <= SHORT_NS]


def arrivals(
    *,
    duration: DurationLike = "100ms",
    requests: Sequence[int] = REQUESTS,
    closed_loops: bool = True,
) -> SearchStrategy[Arrivals]:
    """Draw loads: a few requests at given times, at a rate of any kind, or a closed loop.

    Args:
        duration: duration of the measured window.
        requests: counts of requests in that window, the simplest first.
        closed_loops: whether to draw closed loops, too; they make as many requests as they can.
    """
    duration_ns = parse_duration(duration, what="duration of arrivals")
    rates = _grid([Rate(count * 1e9 / duration_ns) for count in requests])
    tenths = st.lists(st.integers(0, 9), min_size=1, max_size=max(requests)).map(sorted)
    phase = Duration(max(100_000, duration_ns // 10))
    kinds: list[SearchStrategy[Arrivals]] = [
        tenths.map(lambda times: replay([Duration(t * duration_ns // 10) for t in times])),
        rates.map(constant),
        rates.map(poisson),
        st.builds(lambda rate, cv: gamma(rate, cv=cv), rates, _grid([0.5, 2.0, 5.0])),
        rates.map(lambda rate: bursts(rate, on=phase, off=phase)),
    ]
    if closed_loops:
        thinks = _grid(["0s", "1ms", "10ms"])
        kinds.append(st.builds(lambda n, think: closed(n, think=think), _grid([1, 2, 4]), thinks))
    return st.one_of(kinds)


def priority_changes(
    names: Sequence[str], *, duration: DurationLike = "100ms", most: int = 3
) -> SearchStrategy[tuple[Change, ...]]:
    """Draw new priorities that queues get during a run.

    Args:
        names: names of the queues.
        duration: duration of the measured window; the changes come at tenths of it.
        most: the most changes.
    """
    duration_ns = parse_duration(duration, what="duration of changes")
    change = st.builds(
        lambda tenth, name, priority: Change(
            at_ns=tenth * duration_ns // 10, queue=name, priority=priority
        ),
        st.integers(0, 9),
        _grid(names),
        priorities(),
    )
    return st.lists(change, max_size=most).map(tuple)


# Cached: to build and to inspect a strategy takes longer than to draw from it.


@functools.cache
def _usual_depths() -> SearchStrategy[tuple[int | str, int | None]]:
    return launch_configurations()


@functools.cache
def _usual_work() -> SearchStrategy[Workload]:
    spins = workloads()
    return st.one_of(spins, spins, spins, _recorded(_short_profiles(), (1, 4)))


@functools.cache
def _usual_priorities() -> SearchStrategy[int]:
    return priorities()


@functools.cache
def _usual_loads(duration_ns: int) -> SearchStrategy[Arrivals]:
    return arrivals(duration=Duration(duration_ns))


_UTILIZATIONS = _grid(UTILIZATIONS)
_DEADLINES_NS = _grid(DEADLINES_NS)
_SELDOM = _grid([False, False, False, True])


@st.composite
def queue_specs(
    draw: DrawFn,
    name: str = "a",
    *,
    duration: DurationLike = "100ms",
    work: SearchStrategy[Workload] | None = None,
    loads: SearchStrategy[Arrivals] | None = None,
    priority: SearchStrategy[int] | None = None,
    depths: SearchStrategy[tuple[int | str, int | None]] | None = None,
) -> QueueSpec:
    """Draw a queue and the load on it.

    Args:
        draw: an argument that hypothesis passes.
        name: name of the queue.
        duration: duration of the measured window.
        work: requests; default `workloads()`, and sometimes `recorded_workloads()`.
        loads: arrivals; default `arrivals()`.
        priority: priorities; default `priorities()`.
        depths: thresholds and batch sizes; default `launch_configurations()`.
    """
    duration_ns = parse_duration(duration, what="duration of queue_specs")
    threshold, batch_size = draw(_usual_depths() if depths is None else depths)
    return QueueSpec(
        name=name,
        workload=draw(_usual_work() if work is None else work),
        priority=draw(_usual_priorities() if priority is None else priority),
        arrivals=draw(_usual_loads(duration_ns) if loads is None else loads),
        threshold=threshold,
        batch_size=batch_size,
        utilization=draw(_UTILIZATIONS),
        deadline_ns=draw(_DEADLINES_NS),
    )


def _checked(
    check: Callable[..., None],
) -> Callable[[Callable[_Arguments, _T]], Callable[_Arguments, _T]]:
    """Check arguments where a strategy is made, and not where it draws, inside of hypothesis."""

    def decorate(make: Callable[_Arguments, _T]) -> Callable[_Arguments, _T]:
        @functools.wraps(make)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _T:
            check(*args, **kwargs)
            return make(*args, **kwargs)

        return call

    return decorate


def _check_scenarios(
    *,
    queues: object = 4,
    least: object = 1,
    policies: object = HPF_FIRST,
    models: object = MODELS,
    **_: object,
) -> None:
    most = integer("scenarios: queues", queues, 1, len(NAMES))
    integer("scenarios: least", least, 1, most)
    _check_choices("scenarios: policies", policies, str, '["hpf"]')
    _check_choices("scenarios: models", models, SimModel, "[SimModel()]")


def _check_contentions(
    queue: object,
    *,
    others: object = 6,
    durations: object = ("100us",),
    thresholds: object = (1,),
    **_: object,
) -> None:
    if not isinstance(queue, QueueSpec):
        raise ScenarioError(
            f"contentions: {one_line(queue)} is not a queue; make it with "
            'xsched.queue("high", spin("1ms"), rate="20/s")'
        )
    integer("contentions: others", others, 0, len(NAMES))
    _check_choices("contentions: durations", durations, object, '["100us", "1ms"]')
    _check_choices("contentions: thresholds", thresholds, int, "[1, 8, 64]")


def _check_choices(what: str, values: object, kind: type, example: str) -> None:
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    if not is_list or not all(isinstance(value, kind) for value in values):  # type: ignore[attr-defined]
        raise ScenarioError(f"{what} {one_line(values)} is not a list of choices; write {example}")


@_checked(_check_scenarios)
@st.composite
def scenarios(
    draw: DrawFn,
    *,
    queues: int = 4,
    least: int = 1,
    duration: DurationLike = "100ms",
    device: str = "sim",
    scheduler: str = "builtin",
    policies: Sequence[str] = HPF_FIRST,
    models: Sequence[SimModel] = MODELS,
    work: SearchStrategy[Workload] | None = None,
    loads: SearchStrategy[Arrivals] | None = None,
    priority: SearchStrategy[int] | None = None,
    depths: SearchStrategy[tuple[int | str, int | None]] | None = None,
    changes: bool = False,
    pipelines: bool = True,
) -> Scenario:
    """Draw a whole scenario, for `xsched.run_scenario`.

    Args:
        draw: an argument that hypothesis passes.
        queues: the most queues, up to eight; their names are "a", "b", ...
        least: the fewest queues.
        duration: duration of the measured window; there is no warm-up.
        device: device of the scenario.
        scheduler: scheduler of the scenario.
        policies: policies of scheduler "builtin" to draw from, the simplest first.
        models: models of the device "sim" to draw from.
        work: requests; see `queue_specs`.
        loads: arrivals; see `queue_specs`.
        priority: priorities; see `queue_specs`.
        depths: thresholds and batch sizes; see `queue_specs`.
        changes: whether priorities change during the run.
        pipelines: whether some queues start after another one, whose load they then have.
    """
    count = draw(st.integers(least, queues))
    specs = tuple(
        draw(
            queue_specs(
                name,
                duration=duration,
                work=work,
                loads=loads,
                priority=priority,
                depths=depths,
            )
        )
        for name in NAMES[:count]
    )
    return Scenario(
        queues=_with_pipelines(draw, specs) if pipelines else specs,
        duration_ns=parse_duration(duration, what="duration of scenarios"),
        warmup_ns=0,
        # In virtual time: long enough for all requests that the grids allow.
        drain_ns=2 * 10**9 if device == "sim" else default_drain_ns(),
        seed=draw(_grid([0, 1, 2, 3])),
        device=device,
        scheduler=scheduler,
        policy=draw(_grid(policies)) if scheduler == "builtin" else "none",
        changes=draw(priority_changes(NAMES[:count], duration=duration)) if changes else (),
        sim=draw(_grid(models)) if device == "sim" else SimModel(),
    )


def _with_pipelines(draw: DrawFn, specs: tuple[QueueSpec, ...]) -> tuple[QueueSpec, ...]:
    """Let each queue, seldom, start after an earlier one, directly or through others."""
    made: list[QueueSpec] = []
    for spec in specs:
        open_ones = [one.name for one in made if one.after or not isinstance(one.arrivals, Closed)]
        waits = draw(_SELDOM) if open_ones else False
        if waits:
            spec = replace(spec, arrivals=closed(), after=draw(_grid(open_ones)))
        made.append(spec)
    return tuple(made)


@_checked(_check_contentions)
@st.composite
def contentions(
    draw: DrawFn,
    queue: QueueSpec,
    *,
    others: int = 6,
    durations: Sequence[DurationLike] = ("100us", "200us", "400us", "800us", "1600us", "3200us"),
    thresholds: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    priority: int = 0,
    duration: DurationLike = "15s",
    device: str = "sim",
    scheduler: str = "builtin",
    policy: str = "hpf",
    model: SimModel = MODELS[0],
) -> Scenario:
    """Draw mixes of a given queue with closed loops: a space for `xsched.search`.

    Args:
        draw: an argument that hypothesis passes.
        queue: the queue that matters; its name is none of "a", "b", ...
        others: count of closed loops next to it, up to eight.
        durations: durations of their commands, the least harmful first, so that a search can climb.
        thresholds: commands of a loop in flight, the least harmful first.
        priority: priority of the loops.
        duration: duration of the measured window; there is no warm-up. A P99 needs 299 requests
            of the queue.
        device: device of the scenario.
        scheduler: scheduler of the scenario.
        policy: policy of scheduler "builtin".
        model: model of the device "sim".
    """
    # Whole numbers and not elements, because a search climbs along numbers.
    picks = [
        (draw(st.integers(0, len(thresholds) - 1)), draw(st.integers(0, len(durations) - 1)))
        for _ in range(others)
    ]
    loops = [
        QueueSpec(
            name=name,
            workload=spin(durations[d], layers=max(thresholds)),
            priority=priority,
            arrivals=closed(),
            threshold=thresholds[t],
            batch_size=1,
        )
        for name, (t, d) in zip(NAMES, picks, strict=False)
    ]
    return Scenario(
        queues=(queue, *loops),
        duration_ns=parse_duration(duration, what="duration of contentions"),
        warmup_ns=0,
        drain_ns=default_drain_ns(),
        seed=0,
        device=device,
        scheduler=scheduler,
        policy=policy,
        sim=model if device == "sim" else SimModel(),
    )


def _set_up() -> None:
    """Register `Scenario`, `Workload` and the profiles.

    No profile has the phase `explain`, which repeats a failing scenario a hundred times to find the
    parts that matter. No profile has a deadline, because runs differ in length.
    """
    st.register_type_strategy(Scenario, scenarios())
    st.register_type_strategy(Workload, _usual_work())
    phases = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain]
    patient = hypothesis.settings(
        deadline=None,
        phases=phases,
        # Drawing is slow on a busy machine, which is no fault of a strategy.
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.register_profile(
        "xsched-ci", patient, max_examples=25, derandomize=True, database=None
    )
    hypothesis.settings.register_profile(
        "xsched-nightly", patient, max_examples=1000, print_blob=True
    )


_set_up()  # not from the entry point, which may run in the middle of an import of this module
