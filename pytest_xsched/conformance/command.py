"""`pytest-xsched conformance`: choose the policies, run their scenarios, report the outcome.

Our own policies run on the device `sim`. Those of an installed XSched run on a GPU or on PoCL, each
scenario in a worker process with a deadline. A process that ends or hangs is a finding.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.constants import GPUS, split_device
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance.engine import (
    ENOUGH,
    Conformance,
    Examination,
    Limits,
    Runner,
    take_turns,
)
from pytest_xsched.conformance.generators import contests, simpler
from pytest_xsched.conformance.live_engine import MOST, costs, not_claimed, take_steps
from pytest_xsched.conformance.process_cases import PART, check_processes
from pytest_xsched.conformance.report import policy_lines, summary, to_json
from pytest_xsched.conformance.spec import BUILTIN, NAMES, XSCHED, NotClaimed, PolicyUnderTest
from pytest_xsched.errors import ScenarioError, SchedulerInactive
from pytest_xsched.scenario.corpus import save
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.adaptive import run_in_windows
from pytest_xsched.session.auto_device import NO_GPU, auto_device
from pytest_xsched.session.session import Session
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import find_libraries
from pytest_xsched.workers.dispatch import measure_in_processes
from pytest_xsched.workers.isolated import measure_in_worker
from pytest_xsched.xsched.installation import VARIABLE, Home, find_home

SET_UP_S = 5.0
"""Time for a worker to start and to compile, in addition to its run; later it counts as hung."""
EXAMPLES = 100
"""The most scenarios of a policy."""
SECONDS_OF_EXAMPLE = 4
"""Of the budget, for each scenario that is drawn of a policy of XSched; more would not run."""
SHRINKING = 0.2
"""The part of the budget to shrink the scenario of a failure, in addition to the budget."""
SHRINKING_LEAST_S = 60.0
"""The least time for the same."""
RUNS = {"builtin": 300, "xsched": 40}
"""The most runs for the same, by scheduler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceRequest:
    """The arguments of `pytest-xsched conformance`.

    Attributes:
        form: form of the report, ``"text"`` or ``"json"``.
        names: names of policies, and of the part ``"processes"``; none: all.
        budget_ns: time for random scenarios of all policies together.
        exit_first: whether to end at the first broken rule.
    """

    form: str
    names: tuple[str, ...]
    budget_ns: int
    exit_first: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A policy with its checks, and how its scenarios are run."""

    tested: PolicyUnderTest
    device: str
    run: Runner
    run_fresh: Runner
    live: Session | None = None
    """The session for live queues under XSched."""

    @property
    def policy(self) -> Policy:
        """The policy itself."""
        return self.tested.policy


def conform(
    settings: Settings, request: ConformanceRequest, directory: Path, say: Callable[[str], None]
) -> list[Conformance]:
    """Check policies against their rules, and print the outcome.

    Args:
        settings: device, home of XSched, seed.
        request: policies and budget.
        directory: directory for scenarios that fail.
        say: prints a line.

    Returns:
        The outcome for each policy.

    Raises:
        KeyboardInterrupt: after the report of what ran before it, if no rule is broken.
        ScenarioError: a name is unknown, or XSched cannot run on the device.
        DeviceUnavailable: there is no such device.
    """
    begin_s = time.monotonic()
    _check_names(request.names)
    home = _home(settings, request.names)
    session = Session(replace(settings, device="sim", require_device=None))
    subjects = [ours(policy, session) for policy in _named(BUILTIN, request.names)]
    device = None
    if home is not None:
        device = _device(settings)
        subjects += [theirs(p, device, settings, home) for p in _named(XSCHED, request.names)]
    text = request.form == "text"
    if text:
        where = f"XSched ({home.origin}) on {device}" if home else "no XSched"
        say(f"xsched conformance: builtin on sim, {where}, seed {settings.seed}")
    done: list[Conformance] = []
    files: dict[tuple[str, str, str], Path] = {}
    interrupted = False
    examinations: list[Examination] = []
    with_steps = True
    try:
        if home is not None and device is not None and _is_named(PART.name, request.names):
            done.append(check_processes(device, home, settings.gpu_driver, say if text else None))
            if text:
                say("\n".join(["", *policy_lines(done[-1], {})]))
        for subject in subjects if not _is_enough(done, request) else ():
            examinations.append(_examination(subject, request, settings.seed))
        with_steps = _take_turns(examinations, request, _printing(say) if text else None)
    except KeyboardInterrupt:
        interrupted = True
    try:
        for subject, one in zip(subjects, examinations, strict=False):
            if not one.scenarios or _is_enough(done, request):
                continue  # it was ended before
            found = _concluded(
                subject, one, interrupted, with_steps, request, say if text else None
            )
            done.append(found)
            kept = _keep(found, directory)
            files |= {(found.policy.scheduler, found.policy.name, c): f for c, f in kept.items()}
            if text:
                say("\n".join(["", *policy_lines(found, kept)]))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        session.close()
    took_s = time.monotonic() - begin_s
    if text:
        say(f"\n{'interrupted: ' if interrupted else ''}{summary(done, took_s)}")
    else:
        facts = {
            "home": home and home.path,
            "device": device,
            "seed": settings.seed,
            "interrupted": interrupted,
        }
        say(to_json(done, files, facts=facts, seconds=took_s))
    if interrupted and not any(found.failed for found in done):
        raise KeyboardInterrupt
    return done


def _is_enough(done: Sequence[Conformance], request: ConformanceRequest) -> bool:
    return request.exit_first and any(found.failed for found in done)


def _take_turns(
    examinations: Sequence[Examination],
    request: ConformanceRequest,
    printing: Callable[[PolicyUnderTest, str, str], None] | None,
) -> bool:
    """Run the scenarios; return whether steps on live queues are to follow."""
    end_s = time.monotonic() + request.budget_ns / 1e9
    while True:
        left_s = end_s - time.monotonic()
        one = take_turns(examinations, left_s, printing, exit_first=request.exit_first)
        if one is None:
            return True
        if one.conclude().failed:  # and not by chance
            return False


def _printing(say: Callable[[str], None]) -> Callable[[PolicyUnderTest, str, str], None]:
    """Return a function that prints the first breach of a rule when it is seen."""

    def found(tested: PolicyUnderTest, rule: str, sentence: str) -> None:
        policy = tested.policy
        say(f"\nseen under {policy.scheduler} {policy.name}: {rule}: {sentence}")

    return found


def _examination(subject: Subject, request: ConformanceRequest, seed: int) -> Examination:
    return Examination(
        subject.tested,
        contests(subject.policy, subject.device),
        subject.run,
        subject.run_fresh,
        _limits(subject.policy, request),
        seed=seed,
        simpler=simpler if subject.policy.scheduler == "xsched" else None,
    )


def _concluded(
    subject: Subject,
    one: Examination,
    interrupted: bool,
    with_steps: bool,
    request: ConformanceRequest,
    say: Callable[[str], None] | None,
) -> Conformance:
    found = one.conclude(shorten=not interrupted)
    if subject.live is None or interrupted or not with_steps:
        return found
    begin_s = time.monotonic()
    most = 1 if request.exit_first else MOST
    results = (*found.results, *take_steps(subject.live, subject.policy, say, most))
    claimed = {result.rule for result in results}
    claimed |= {one.rule for one in found.not_claimed}
    live = tuple(
        NotClaimed(rule=id, why=why)
        for id, why in not_claimed(subject.policy).items()
        if id not in claimed  # scenarios show it
    )
    return replace(
        found,
        results=results,
        costs=costs(subject.live, subject.policy, results),
        not_claimed=(*found.not_claimed, *live),
        seconds=found.seconds + time.monotonic() - begin_s,
    )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in (*NAMES, PART.name):
            raise ScenarioError(
                f"conformance: policy {name!r} is unknown; known: {', '.join(NAMES)}; and the part "
                f"{PART.name}, which is about programs under XSched"
            )


def _named(all_of_them: Sequence[PolicyUnderTest], names: Sequence[str]) -> list[PolicyUnderTest]:
    return [tested for tested in all_of_them if not names or tested.policy.name in names]


def _is_named(name: str, names: Sequence[str]) -> bool:
    return not names or name in names


def _home(settings: Settings, names: Sequence[str]) -> Home | None:
    """Return the home of XSched; None: none is named, and no requested policy needs it."""
    if names and not _named(XSCHED, names) and PART.name not in names:
        return None
    if settings.xsched_home is None and not os.environ.get(VARIABLE):
        ours = {tested.policy.name for tested in BUILTIN}
        if missing := [name for name in names if name not in ours]:
            what = "the part about" if missing[0] == PART.name else "a policy of"
            raise ScenarioError(
                f"conformance: {missing[0]!r} is {what} XSched; name the directory of XSched "
                f"with --home or {VARIABLE}"
            )
        return None
    try:
        return find_home(settings.xsched_home)
    except SchedulerInactive as error:
        raise ScenarioError(str(error).removeprefix("scheduler inactive: ")) from None


def _device(settings: Settings) -> str:
    name = settings.device
    if name == "auto":
        name = auto_device()
    if split_device(name)[0] not in GPUS:
        why = f", which auto took because {NO_GPU}" if settings.device == "auto" else ""
        raise ScenarioError(
            f"--device: XSched schedules {', '.join(GPUS)} devices, not {name!r}{why}; name one of "
            "them"
        )
    return name


def ours(tested: PolicyUnderTest, session: Session) -> Subject:
    def fresh(scenario: Scenario) -> Run:
        return run_in_windows(scenario, measure_in_worker, fixed=True)

    return Subject(tested, "sim", session.run_scenario, fresh)


def theirs(tested: PolicyUnderTest, device: str, settings: Settings, home: Home) -> Subject:
    libraries = find_libraries(split_device(device)[0], settings.gpu_driver, settings.gpu_compiler)

    def fresh(scenario: Scenario) -> Run:
        return run_in_windows(
            scenario,
            lambda window: measure_in_processes(
                window,
                None,
                waiting=None,
                libraries=libraries,
                lock_timeout_s=settings.lock_timeout_ns / 1e9,
                home=home,
                set_up_s=SET_UP_S,
                watch=False,
            ),
            fixed=True,
        )

    live = Session(replace(settings, device=device, require_device=None, process="auto"))
    return Subject(tested, device, fresh, fresh, live)


def _limits(policy: Policy, request: ConformanceRequest) -> Limits:
    budget_s = request.budget_ns / 1e9
    few = max(ENOUGH, int(budget_s / SECONDS_OF_EXAMPLE))
    return Limits(
        examples=EXAMPLES if policy.scheduler == "builtin" else min(EXAMPLES, few),
        shrink_s=max(SHRINKING_LEAST_S, SHRINKING * budget_s),
        shrink_runs=RUNS[policy.scheduler],
    )


def _keep(found: Conformance, directory: Path) -> dict[str, Path]:
    kept = {}
    for result in found.failed:
        if result.scenario is None:  # steps are no scenario
            continue
        name = f"conformance::{found.policy.scheduler} {found.policy.name} {result.rule}"
        kept[result.rule] = save(directory, result.scenario, name)
    return kept
