"""A run before it is measured: what the test asks for becomes a scenario that passed all checks.

So a comparison refuses an arm that cannot be before it has measured any other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pytest_xsched.analysis.trace import TRACES
from pytest_xsched.base.units import DurationLike, format_duration
from pytest_xsched.base.validation import check_flag, one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import Replay, clipped, length_ns
from pytest_xsched.scenario.builds import Build
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario, default_drain_ns, default_warmup_ns
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.session.arguments import ns_or, refuse_hang, require_changes, require_queues
from pytest_xsched.session.auto_device import require_gpu
from pytest_xsched.session.call_settings import CallSettings, Chosen
from pytest_xsched.session.duration import chosen_duration_ns, chosen_least_ns
from pytest_xsched.session.mechanism import (
    ArmLike,
    Mechanism,
    SchedulerLike,
    for_queues,
    scheduler_of,
)
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.sent_files import SentFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The arguments of `Session.run`, as a test has them."""

    queues: tuple[QueueSpec, ...]
    duration: DurationLike | None
    whole: bool
    at_least: DurationLike | None
    warmup: DurationLike | None
    drain: DurationLike | None
    scheduler: SchedulerLike | None
    policy: str | None
    changes: Iterable[Change]
    stream_priority: bool
    seed: int | None
    check: bool
    processes: str
    trace: str | None
    host: str | None
    files: SentFiles
    cpu: CpuModel | None
    sim: SimModel | None

    def of_arm(self, queues: tuple[QueueSpec, ...], arm: ArmLike, seed: int) -> RunRequest:
        """Return what one arm of a comparison asks for, from what all arms have.

        Args:
            queues: of the arm.
            arm: its scheduler or build.
            seed: of its episode.
        """
        scheduler = scheduler_of(arm)
        builtin = scheduler == "builtin"
        names = {queue.name for queue in queues}
        return dataclasses.replace(
            self,
            queues=tuple(map(arm.apply, queues)) if isinstance(arm, Build) else queues,
            scheduler=for_queues(scheduler, names),
            policy=self.policy if builtin else "none",
            changes=[change for change in self.changes if change.queue in names],
            stream_priority=self.stream_priority or not builtin,
            seed=seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that passed all checks which need no device.

    Attributes:
        scenario: what is measured.
        host: where; None: on this machine.
        files: that it needs there.
        fixed: whether to measure all of the duration.
        at_least_ns: shortest time to measure.
        trace: which commands stay on record.
        remark: about loads that do not fit the duration, or "".
        check_marker: see `CallSettings.marker_check`.
    """

    scenario: Scenario
    host: str | None
    files: SentFiles
    fixed: bool
    at_least_ns: int
    trace: str
    remark: str
    check_marker: Callable[[], None]


def plan_run(request: RunRequest, call: CallSettings) -> PlannedRun:
    """Check what a test asks for, and return the run that is to be measured.

    Args:
        request: of the test.
        call: chooses the settings that the test leaves out.

    Raises:
        ScenarioError: a value is wrong.
    """
    queues = request.queues
    require_queues("run", queues)
    check_flag("run(): whole", request.whole)
    trace = "worst" if request.trace is None else request.trace
    one_of("trace of run()", trace, TRACES)
    changes = require_changes("run", request.changes)
    choose = functools.partial(
        call.chosen,
        request.scheduler,
        request.policy,
        request.duration,
        request.seed,
        queues,
        request.host,
    )
    check_marker = call.marker_check(choose)
    mechanism, chosen = call.mechanism(request.scheduler), choose()
    at_least_ns = chosen_least_ns(call.settings, request.at_least, chosen.duration)
    if call.fell_back(chosen.host):
        require_gpu(queues, uses_xsched=mechanism.xsched is not None)
    describe = functools.partial(
        scenario_maker(
            *(chosen, mechanism, call.settings, request.processes, request.cpu, request.sim)
        ),
        drain_ns=ns_or(request.drain, "drain", default_drain_ns()),
        changes=changes,
        stream_priority=request.stream_priority,
        check=request.check,
    )
    scenario, remark = _scenario_of(request, call, describe)
    return PlannedRun(
        scenario=scenario,
        host=chosen.host,
        files=request.files,
        fixed=request.whole or call.settings.measures_whole,
        at_least_ns=at_least_ns,
        trace=trace,
        remark=remark,
        check_marker=check_marker,
    )


def scenario_maker(
    chosen: Chosen,
    mechanism: Mechanism,
    settings: Settings,
    processes: str,
    cpu: CpuModel | None,
    sim: SimModel | None,
) -> Callable[..., Scenario]:
    """Return what makes a scenario of queues, a duration, a warm-up and other fields.

    Args:
        chosen: settings of the call.
        mechanism: what schedules it.
        settings: of the session.
        processes: see `Session.run`, and so the others.
        cpu: parameters of the device ``"cpu"``.
        sim: parameters of the device ``"sim"``.
    """

    def describe(**fields: Any) -> Scenario:
        if mechanism.xsched is not None:
            refuse_hang(mechanism.xsched, fields["queues"])
        return Scenario(
            seed=chosen.seed,
            device=chosen.device,
            scheduler=chosen.scheduler,
            policy=chosen.policy,
            xsched=mechanism.xsched,
            mps=mechanism.mps,
            processes=processes,
            waiting=settings.waiting,
            cpu=CpuModel() if cpu is None else cpu,
            sim=SimModel() if sim is None else sim,
            **{"drain_ns": default_drain_ns(), **fields},
        )

    return describe


def _clip_replays(
    queues: tuple[QueueSpec, ...], duration_ns: int, option: str
) -> tuple[tuple[QueueSpec, ...], str]:
    """Leave out what replays have after the end of a run, and say so.

    Args:
        queues: of a run.
        duration_ns: of the run.
        option: value of --xsched-duration, which shortened it.
    """
    kept, said = [], []
    for queue in queues:
        arrivals = clipped(queue.arrivals, duration_ns)
        if arrivals is queue.arrivals:
            kept.append(queue)
            continue
        assert isinstance(queue.arrivals, Replay) and isinstance(arrivals, Replay)
        kept.append(dataclasses.replace(queue, arrivals=arrivals))
        whole, left = len(queue.arrivals.times_ns), len(arrivals.times_ns)
        said.append(f"{whole - left} of the {whole} requests of {queue.name}")
    if not said:
        return queues, ""
    return tuple(kept), f"--xsched-duration={option} cut {' and '.join(said)} off the replay"


def _said_of_lengths(queues: Iterable[QueueSpec], duration_ns: int) -> list[str]:
    """Describe the loads that are longer or shorter than the run."""
    said = []
    for queue in queues:
        whole_ns = length_ns(queue.arrivals)
        if whole_ns is None or whole_ns == duration_ns:
            continue
        where = "after" if whole_ns > duration_ns else "before"
        said.append(
            f"the load of {queue.name} takes {format_duration(whole_ns)}, and ends {where} the "
            f"run, which takes {format_duration(duration_ns)}"
        )
    return said


def _scenario_of(
    request: RunRequest, call: CallSettings, describe: Callable[..., Scenario]
) -> tuple[Scenario, str]:
    """Return the scenario of a run; where only --xsched-duration makes it impossible, say so.

    Args:
        request: of the test.
        call: has the settings of the options and of the marker.
        describe: returns the scenario with `queues`, a `duration_ns` and a `warmup_ns`.

    Returns:
        The scenario, and a sentence about loads that do not fit its duration, or "".

    Raises:
        ScenarioError: `describe` does not accept the duration.
    """

    def of(settings: Settings) -> tuple[Scenario, str]:
        fitting = request.queues
        duration_ns = chosen_duration_ns(settings, call.overrides, request.duration, fitting)
        warmup_ns = ns_or(request.warmup, "warmup", default_warmup_ns(duration_ns))
        said = _said_of_lengths(fitting, duration_ns)
        if settings.duration is not None:
            fitting, remark = _clip_replays(fitting, duration_ns, settings.duration)
            said += [remark] if remark else []
        scenario = describe(queues=fitting, duration_ns=duration_ns, warmup_ns=warmup_ns)
        return scenario, "; ".join(said)

    settings = call.settings
    try:
        return of(settings)
    except ScenarioError as error:
        if settings.duration is None:
            raise
        try:
            of(dataclasses.replace(settings, duration=None))
        except ScenarioError:
            raise error from None
        raise ScenarioError(
            f"{error}; that is the duration of --xsched-duration={settings.duration}, which "
            "shortens every run"
        ) from None
