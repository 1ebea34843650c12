"""The state of one pytest session, and the object that tests know as the fixture `xsched`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_xsched.analysis.latency_target import LatencyTarget
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.constants import split_device
from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.policies import POLICIES
from pytest_xsched.base.units import DurationLike, RateLike, one_line, parse_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import Arm, compare_runs
from pytest_xsched.errors import ScenarioError
from pytest_xsched.reporting.progress_line import ProgressLine
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.arrival_process import Arrivals, one_load
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.queue_spec import AUTO, QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.session.adaptive import add_remark
from pytest_xsched.session.alternating import Alternating
from pytest_xsched.session.arguments import (
    ns_or_none,
    require_changes,
    require_mask,
    require_queues,
)
from pytest_xsched.session.auto_device import require_gpu
from pytest_xsched.session.call_settings import CallSettings
from pytest_xsched.session.comparing import Comparing
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.duration import RUN_UNITS
from pytest_xsched.session.machines import Machines, MeasuredRun
from pytest_xsched.session.mechanism import (
    ArmLike,
    LiveScheduler,
    SchedulerLike,
    policy_of_queues,
)
from pytest_xsched.session.named_builds import NamedBuild
from pytest_xsched.session.rate_finding import RateRequest, find_rate
from pytest_xsched.session.run_planning import PlannedRun, RunRequest, plan_run, scenario_maker
from pytest_xsched.session.settings import Settings
from pytest_xsched.stats.error_budget import SessionBudget
from pytest_xsched.stress.highest_rate import HighestRate
from pytest_xsched.workers.sent_files import NO_FILES, SentFiles, find_files

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from pytest_xsched.stress.worst_case import Worst


class Session:
    """Makes queues and runs them. One per pytest session (and process); the fixture `xsched`."""

    def __init__(
        self, settings: Settings, progress: Callable[[str], ProgressLine | None] | None = None
    ) -> None:
        self.settings = settings
        self.machines = Machines(settings)
        self.read_overrides: Callable[[], dict[str, Any]] = dict
        """Reads the marker of the test that is running."""
        self.origin = ""
        """Node id of that test."""
        self.least_ns = 0
        """How long to measure before that test may pass: an earlier session withdrew its PASS."""
        self.fixture: tuple[str, str] | None = None
        """Name and scope of the fixture that is being set up for more than one test."""
        self.runs: list[Run] = []
        self.comparing = Comparing(self.runs, settings.undecided)
        self.alternating = Alternating(settings, self.comparing)
        self.rates: list[HighestRate] = []
        self.budget = SessionBudget(settings.alpha)
        self.searches: list[tuple[str, Worst]] = []
        """Searches for the worst case, each with the test that made it."""
        self.trial: Run | None = None
        """The last of `run_scenario`: reported only if its test fails."""
        self._progress = progress
        self._call = CallSettings(
            settings, self.machines, lambda: self.read_overrides(), lambda: self.origin
        )

    # ---- what tests use

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings of the marker of the test that is running."""
        return self.read_overrides()

    @property
    def seed(self) -> int:
        """Seed of arrivals and inputs, unless run() is given another."""
        return self._call.seed

    @property
    def devices(self) -> DevicePool:
        """The devices of this machine."""
        return self.machines.here

    @property
    def device_kind(self) -> str:
        """Kind of device that runs use: one of `constants.DEVICES`."""
        return split_device(self.device)[0]

    @property
    def device(self) -> str:
        """Name of the device that runs use: its kind, and after a colon an index above 0."""
        return self._call.device(self._call.host())

    @names_the_rest
    def queue(
        self,
        name: str,
        workload: Workload,
        *,
        priority: int = 0,
        rate: RateLike | None = None,
        arrivals: Arrivals | None = None,
        concurrency: int | None = None,
        think: DurationLike | None = None,
        threshold: int | str = AUTO,
        batch_size: int | None = None,
        sm_share: float | None = None,
        cu_mask: Sequence[int] | None = None,
        device: str | None = None,
        utilization: int | None = None,
        deadline: DurationLike | None = None,
        laxity: DurationLike | None = None,
        after: str | None = None,
    ) -> QueueSpec:
        """Describe an XQueue and the load on it; nothing runs yet.

        Without `rate`, `arrivals` and `after` it is a closed loop: the next request when the last
        is done.

        Args:
            name: how the run calls it, an identifier: ``run.high``.
            workload: the commands of one request: ``matmul(512)``.
            priority: in [-255, 255], higher wins.
            rate: open loop with equal distances, ``"20/s"``.
            arrivals: any other load: ``poisson("20/s")``, ``replay([...])``, ...
            concurrency: closed loop with this number of clients.
            think: closed loop whose clients pause between requests.
            threshold: most commands in flight, with scheduler ``"builtin"``; ``"auto"``: as few as
                keep the device busy.
            batch_size: commands between marks, with scheduler ``"builtin"`` and a threshold;
                default 2.
            sm_share: share of a GPU's multiprocessors that only this queue uses, above 0 and
                below 1. On NVIDIA through green contexts, on AMD through a stream with a mask,
                which has no priority.
            cu_mask: the same by the numbers of the multiprocessors (compute units).
            device: another GPU than the run's, of the same kind: ``"cuda:1"``.
            utilization: percent of the device, in [1, 100], for policies that divide it.
            deadline: of a burst of work, from its begin, for policies that use deadlines.
            laxity: how long a burst may wait before it is urgent, for policies that use it.
            after: name of another queue of the run, for pipelines: request n arrives with request n
                of that queue, and starts when that one is complete. The latency counts from the
                arrival.

        Raises:
            ScenarioError: a value is wrong, or two kinds of load are named.
        """
        return QueueSpec(
            name=name,
            workload=workload,
            priority=priority,
            arrivals=one_load(name, rate, arrivals, concurrency, think, after),
            threshold=threshold,
            batch_size=batch_size,
            sm_share=sm_share,
            cu_mask=None if cu_mask is None else require_mask(name, cu_mask),
            device=device,
            utilization=utilization,
            deadline_ns=ns_or_none(deadline, f"queue {name!r}: deadline"),
            laxity_ns=ns_or_none(laxity, f"queue {name!r}: laxity"),
            after=after,
        )

    def run(
        self,
        *queues: QueueSpec,
        duration: DurationLike | None = None,
        whole: bool = False,
        at_least: DurationLike | None = None,
        warmup: DurationLike | None = None,
        drain: DurationLike | None = None,
        scheduler: SchedulerLike | None = None,
        policy: str | None = None,
        changes: Iterable[Change] = (),
        stream_priority: bool = True,
        seed: int | None = None,
        check: bool = False,
        processes: str = "together",
        trace: str | None = None,
        host: str | None = None,
        files: Iterable[str | os.PathLike[str]] = (),
        cpu: CpuModel | None = None,
        sim: SimModel | None = None,
    ) -> Run:
        """Run queues together and measure them.

        Args:
            queues: made by `queue`.
            duration: the most that is measured, see `adaptive`; ``--xsched-duration`` overrides it.
                None: the length of the load, of stages or a trace.
            whole: measure all of it, whatever the targets need; also the ini key
                ``xsched_fixed_duration``.
            at_least: the shortest time to measure, ``"30s"``: no verdict is given earlier.
            warmup: before it, under the same load; a tenth of the duration, at most 1 s.
            drain: longest wait after it for unfinished requests; 5 s.
            scheduler: ``"native"`` (plain streams), ``"priority"`` (the device's stream
                priorities), ``"builtin"`` (XQueues under a policy), the installed XSched:
                ``"xsched"``, ``XSched(policy="kedf")``; or with a process for each queue:
                ``"time-slicing"`` (of the driver), ``"mps"``, ``MPS(...)`` (of NVIDIA).
            policy: of ``"builtin"``: ``"hpf"`` (highest priority first), ``"edf"`` (earliest
                deadline), ``"partition"`` (of the device's time), ``"fair"`` or ``"none"``.
            changes: of queues during the run: ``[at("2s", "low", priority=20)]``.
            stream_priority: whether ``"builtin"`` uses the device's stream priorities as well.
            seed: of arrivals and inputs.
            check: compare the results of the commands with numpy.
            processes: ``"together"``, or ``"separate"``: each queue in a process of its own, all on
                one GPU and started at one moment. On ``"cpu"`` each process has a device of its
                own, so there is no contention but for processors.
            trace: which commands stay on record, for `explain` and timelines: ``"worst"`` (those
                around the worst requests and in the first second of each window; in virtual time
                all), ``"all"`` or ``"off"``.
            host: another machine that measures, one of the ini key ``xsched_hosts``; ``"here"``.
            files: that programs and models need on another machine; of a directory, all in it.
            cpu: parameters of the device ``"cpu"``.
            sim: parameters of the device ``"sim"``.

        Returns:
            The run, its queues as attributes.

        Raises:
            ScenarioError: a value is wrong.
            DeviceError: a device call failed.
            HostError: the other machine was not reached, or was lost.
            SchedulerInactive: XSched is not installed, or was not in effect.
            WorkerCrashed: the process of the run ended without a result, or did not end.

        Warns:
            XSchedWarning: on "hip", streams cannot have what the scenario asks of them.
        """
        request = RunRequest(
            queues=queues,
            duration=duration,
            whole=whole,
            at_least=at_least,
            warmup=warmup,
            drain=drain,
            scheduler=scheduler,
            policy=policy,
            changes=changes,
            stream_priority=stream_priority,
            seed=seed,
            check=check,
            processes=processes,
            trace=trace,
            host=host,
            files=find_files(files),
            cpu=cpu,
            sim=sim,
        )
        return self._measure(plan_run(request, self._call))

    def run_scenario(self, scenario: Scenario) -> Run:
        """Run a scenario as it is: one drawn by hypothesis, one of a corpus, one of a report.

        A test may try thousands. Of these the last is reported, with its table, if the test fails,
        and then written to ``--xsched-corpus``: hypothesis ends with the smallest that fails.

        Raises:
            DeviceError: a device call failed.
            WorkerCrashed: the process of the run ended without a result, or did not end.
        """
        if not isinstance(scenario, Scenario):
            raise ScenarioError(f"run_scenario takes a Scenario, not {one_line(scenario)}")
        self.trial = None
        self.trial = run = self._run(scenario, host=self._call.host())
        return run

    def compare(
        self,
        *queues: QueueSpec,
        schedulers: Sequence[ArmLike] = ("native", "builtin"),
        arms: Sequence[str] = (),
        episodes: int = 7,
        duration: DurationLike | None = None,
        warmup: DurationLike | None = None,
        drain: DurationLike | None = None,
        policy: str | None = None,
        changes: Sequence[Change] = (),
        stream_priority: bool = True,
        seed: int | None = None,
        check: bool = False,
        processes: str = "together",
        host: str | None = None,
        files: Iterable[str | os.PathLike[str]] = (),
        cpu: CpuModel | None = None,
        sim: SimModel | None = None,
    ) -> Comparison:
        """Measure the same queues under several schedulers, alternately, and compare.

        An episode measures every arm once: the queues alone, if asked for, each scheduler, and the
        first scheduler again, whose difference from itself is the noise. Every other episode goes
        through them backwards, so that drift favours no arm. The arms of an episode have one
        seed, and so the same arrivals; the episodes have different ones.

        Args:
            queues: made by `queue`.
            schedulers: at least two, as of `run`, or a `Build`; the first is the baseline.
            arms: more of them: ``"alone"``, each queue alone under the baseline.
            episodes: at least 1; fewer than 6 decide nothing.
            duration: of the measured window of each run; ``--xsched-duration`` overrides it.
            warmup: as of `run`, and so the others.
            drain: as of `run`.
            policy: of ``"builtin"``.
            changes: of queues during each run.
            stream_priority: of ``"builtin"``.
            seed: of the first episode.
            check: compare the results of the commands with numpy.
            processes: as of `run`.
            host: as of `run`; all arms are measured there.
            files: as of `run`.
            cpu: parameters of the device ``"cpu"``.
            sim: parameters of the device ``"sim"``.

        Returns:
            The comparison, its queues as attributes.

        Raises:
            ScenarioError: a value is wrong.
            IncomparableError: something else changed meanwhile, a driver, for one.
            DeviceError: a device call failed.
            SchedulerInactive: XSched is not installed, or was not in effect.
            WorkerCrashed: the process of a run ended without a result, or did not end.
        """
        require_queues("compare", queues)
        request = RunRequest(
            queues=queues,
            duration=duration,
            whole=True,  # all arms equally long, or rare events differ
            at_least=None,
            warmup=warmup,
            drain=drain,
            scheduler=None,  # of each arm
            policy=policy,
            changes=require_changes("compare", changes),
            stream_priority=stream_priority,
            seed=seed,
            check=check,
            processes=processes,
            trace="off",  # there are many runs, and their differences count
            host=host,
            files=find_files(files),
            cpu=cpu,
            sim=sim,
        )

        def plan(of_arm: tuple[QueueSpec, ...], arm: ArmLike, seed: int) -> Callable[[str], Run]:
            planned = plan_run(request.of_arm(of_arm, arm, seed), self._call)
            self.machines.require_installed(planned.host, self.settings.build, planned.scenario)
            return functools.partial(self._measure, planned)

        # Each arm has its own scheduler, whatever a marker says.
        chosen = functools.partial(
            self._call.chosen, "builtin", policy, duration, seed, queues, host
        )
        check_marker = self._call.marker_check(chosen)
        with self.machines.keeping_processes(chosen().host), self.alternating.without_turns():
            comparison = self.comparing.compare(
                queues,
                schedulers,
                arms=arms,
                episodes=episodes,
                seed=chosen().seed,
                plan=plan,
            )
        comparison.check_marker = check_marker
        return comparison

    @names_the_rest
    def compare_runs(
        self,
        baseline: Arm,
        scheduled: Arm,
        *,
        alone: Mapping[str, Arm] | None = None,
        force: bool = False,
    ) -> Comparison:
        """Compare runs that exist already, and show them in the report; see `compare_runs`."""
        return self.comparing.add(compare_runs(baseline, scheduled, alone=alone, force=force))

    @names_the_rest
    def search(
        self,
        space: SearchStrategy[Scenario],
        *,
        queue: str,
        objective: str = "p99/alone",
        budget: DurationLike = "5min",
        examples: int = 200,
        seed: int | None = None,
    ) -> Worst:
        """Search for the mix of a space that is worst for a queue.

        Half of the examples are random, the others climb from the worst of these. Each scenario is
        measured once; then the worst is shrunk to the smallest that is nearly as bad, and measured
        three times again.

        Args:
            space: of scenarios: `strategies.contentions(high)`, `strategies.scenarios()`.
            queue: the queue whose latency counts.
            objective: ``"p99/alone"`` (P99 against that of the queue alone), ``"max/alone"``,
                ``"p99"`` or ``"max"`` (a time). A P99 needs 299 requests of the queue.
            budget: longest time in which scenarios are measured. If it is over before all examples
                were tried, the assertion says so.
            examples: scenarios to try, at least 10, before the shrinking.
            seed: of the search; the session's.

        Raises:
            MissingExtra: hypothesis is not installed.
            ScenarioError: a value is wrong, the budget was too short for one scenario, the queue is
                saturated alone, or it has too few requests for a P99.
        """
        from pytest_xsched.stress.worst_case import find_worst

        worst = find_worst(
            self.run_scenario,
            space,
            queue=queue,
            objective=objective,
            budget_s=parse_duration(budget, what="budget of search") / 1e9,
            examples=integer("examples of search", examples, 10, 1_000_000),
            seed=self.seed if seed is None else integer("seed of search", seed, 0, 2**32 - 1),
        )
        self.searches.append((self.origin, worst))
        return worst

    @names_the_rest
    def find_rate(
        self,
        queues: Sequence[QueueSpec],
        *,
        queue: str,
        target: LatencyTarget,
        lowest: RateLike | None = None,
        highest: RateLike | None = None,
        within: str | float = "5%",
        budget: DurationLike = "10min",
        scheduler: SchedulerLike | None = None,
        policy: str | None = None,
        seed: int | None = None,
        processes: str = "together",
        cpu: CpuModel | None = None,
        sim: SimModel | None = None,
    ) -> HighestRate:
        """Search for the highest rate of a queue at which a target holds next to other queues.

        Args:
            queues: made by `queue`; the rate of the one that is varied is where the search begins.
            queue: name of that one: an open loop with a rate, whose arrivals stay of their kind.
            target: made by `p99_below`, `attainment_at_least` or another of their kind.
            lowest: the lowest rate to try; the default is what the budget can measure.
            highest: the highest one.
            within: how far apart the bounds may be when the search ends.
            budget: the most that is measured, over all rates; ``--xsched-duration`` overrides it.
            scheduler: as of `run`, and so the others.
            policy: of ``"builtin"``.
            seed: of the first rate.
            processes: as of `run`.
            cpu: parameters of the device ``"cpu"``.
            sim: parameters of the device ``"sim"``.

        Raises:
            ScenarioError: a value is wrong.
            InvalidRun: the evidence speaks against every rate that was measured.
        """
        parse_duration(budget, what="budget of find_rate", units=RUN_UNITS)
        call, option = self._call, self.settings.duration
        chosen = functools.partial(call.chosen, scheduler, policy, budget, seed, (), None)
        settings, mechanism = chosen(), call.mechanism(scheduler)
        request = RateRequest(
            queues, queue, target, lowest, highest, within, settings.duration, option
        )
        if call.fell_back(settings.host):
            require_gpu(request.queues, uses_xsched=mechanism.xsched is not None)
        describe = scenario_maker(settings, mechanism, self.settings, processes, cpu, sim)
        burst, host = self.settings.burst, settings.host
        with self.machines.keeping_processes(host):
            found = find_rate(request, describe, self._run, self.budget, burst, host)
        found.check_marker, found.undecided = call.marker_check(chosen), self.settings.undecided
        self.rates.append(found)
        return found

    # ---- what fixtures and hooks use

    def close(self) -> None:
        """Close all devices, and end the processes on hosts."""
        self.machines.close()

    def live(
        self, *, scheduler: LiveScheduler = None, patience: DurationLike = "5s", devices: int = 1
    ) -> XQueues:
        """Open a set of live XQueues; the fixture `xqueues`.

        Those on a GPU, and all under XSched, are in a process of their own, which may die.

        Args:
            scheduler: the installed XSched, ``"xsched"`` or ``XSched(policy="cfs")``; else our own.
            patience: how long a call may take there, beyond its own wait: then `WorkerHung`.
            devices: how many devices of a kind they can be on: ``xqueues(device=1)``.
        """
        xsched = self.settings.build.apply_home(self._call.mechanism(scheduler).xsched)
        limit_ns = parse_duration(patience, what="patience")
        policy = self._call.of_marker("policy", POLICIES) or "hpf"
        host = self._call.host()
        device = self._call.device(host)
        with self.machines.skipping(device):
            place = self.machines.get(host).live(device, policy, xsched, limit_ns, devices)
            return XQueues(place, seed=self.seed, policy=policy_of_queues(policy, xsched))

    def _measure(self, planned: PlannedRun, turn: str = "") -> Run:
        """Measure a run, and keep it for the report; see `_run`."""
        measure = functools.partial(
            self._run,
            fixed=planned.fixed,
            at_least_ns=planned.at_least_ns,
            trace=planned.trace,
            files=planned.files,
            turn=turn,
        )
        run = self.alternating.run(
            planned.scenario, planned.host, measure, self.machines.require_installed
        )
        add_remark(run, planned.remark)
        run.check_marker = planned.check_marker
        self.runs.append(run)
        return run

    def _run(
        self,
        scenario: Scenario,
        *,
        fixed: bool = True,
        at_least_ns: int = 0,
        trace: str = "worst",
        host: str | None = None,
        files: SentFiles = NO_FILES,
        build: NamedBuild | None = None,
        turn: str = "",
    ) -> Run:
        """Measure a run; `turn` is its place among others, for the progress line."""
        scenario = (self.settings.build if build is None else build).apply(scenario)
        record = trace != "off"
        measured = MeasuredRun(self.machines, host, scenario, files, self._progress, record, turn)
        run = measured.begin(scenario, fixed=fixed, at_least_ns=at_least_ns, trace=trace)
        run.origin, run.fixture, run.host = self.origin, self.fixture, host
        run.least_ns = lambda: min(self.least_ns, scenario.duration_ns)
        run.budget, run.undecided = self.budget, self.settings.undecided
        run.burst = self.settings.burst
        run.record_profile = measured.record_profile
        return run
