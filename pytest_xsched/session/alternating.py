"""Two named builds, measured alternately: each run of a test becomes episodes of two arms.

The test gets the first run of its own build. What the episodes show is judged at the end of the
session, as a comparison with stored runs is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pytest_xsched.analysis.comparability import Difference
from pytest_xsched.analysis.run import Run
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.comparison.baseline_check import BaselineResult
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import unlike
from pytest_xsched.comparison.pairs import MARGIN, judge_figure, judge_pairs
from pytest_xsched.reporting.run_table import title
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.comparing import SEED_STEP, Comparing, turns
from pytest_xsched.session.named_builds import NamedBuild
from pytest_xsched.session.settings import Settings

_OF_AN_IMAGE = (
    r"host\.name|(libraries|environment)\..*|devices\.\d+\.(driver_version|compiler_version)"
    r"|queues\..*\.(kernels|framework)"
)
"""Where runs of two hosts on one machine may differ, two containers for example. The version of the
driver is that of its library; the kernel's part has a field of its own."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What came of one run of a test: a comparison, or a sentence that there is none."""

    run: Run
    found: Comparison | str


class Alternating:
    """Measures the runs of a session with both builds.

    Args:
        settings: of the session.
        comparing: keeps the comparisons of the session.
    """

    def __init__(self, settings: Settings, comparing: Comparing) -> None:
        self._comparing = comparing
        self._settings = settings
        self._measured: list[_Measured] = []
        self._takes_turns = True

    @contextlib.contextmanager
    def without_turns(self) -> Iterator[None]:
        """Measure the tested build only, until the end of the block: runs of `Session.compare`."""
        self._takes_turns = False
        try:
            yield
        finally:
            self._takes_turns = True

    def run(
        self,
        scenario: Scenario,
        host: str | None,
        measure: Callable[..., Run],
        require_installed: Callable[[str | None, NamedBuild, Scenario], None],
    ) -> Run:
        """Measure a scenario with both builds; return the first run of the one that is tested.

        Args:
            scenario: of the test.
            host: of the test; None: this machine.
            measure: measures a run of a scenario, with a `host` and a `build`.
            require_installed: see `Machines.require_installed`.
        """
        settings = self._settings
        build, reference = settings.build, settings.reference
        if reference is None or not self._takes_turns:
            return measure(scenario, host=host, build=build)
        hosts = {build: host, reference: reference.host or (None if build.host else host)}
        scenarios = [one.apply(scenario) for one in (reference, build)]
        if scenarios[0] == scenarios[1] and hosts[build] == hosts[reference]:
            return self._keep(measure(scenario, host=host, build=build), _same(reference, build))
        for one in (reference, build):
            require_installed(hosts[one], one, scenario)
        runs: dict[NamedBuild, list[Run]] = {reference: [], build: []}
        for episode, arm in turns(settings.baseline_episodes, (reference, build)):
            seed = (scenario.seed + episode * SEED_STEP) % 2**32
            runs[arm].append(measure(replace(scenario, seed=seed), host=hosts[arm], build=arm))
        pairs = zip(scenarios[0].queues, scenarios[1].queues, strict=True)
        replaced = {one.name for one, other in pairs if one.workload != other.workload}
        found = unlike([*runs[reference], *runs[build]], [], replaced=replaced)
        if more := [
            one for one in found if not (of_image(one) and hosts[build] != hosts[reference])
        ]:
            return self._keep(runs[build][0], _differ(reference, build, more))
        comparison = Comparison(
            {one.name: of_build for one, of_build in runs.items()},
            queues=[queue.name for queue in scenario.queues],
            baseline=reference.name,
            schedulers=[build.name],
            builds=[reference.name, build.name],
        )
        return self._keep(runs[build][0], self._comparing.add(comparison))

    def _keep(self, run: Run, found: Comparison | str) -> Run:
        self._measured.append(_Measured(run, found))
        return run

    def results(self) -> list[BaselineResult]:
        """Return what the episodes show of each queue of each run, at the end of the session."""
        found = []
        for measured in self._measured:
            name, origin = title(measured.run.to_dict()), measured.run.origin
            for status, sentence in self._judge(measured):
                sentence = f"{name}: {sentence}"
                found.append(BaselineResult(status=status, sentence=sentence, origin=origin))
        return found

    def _judge(self, measured: _Measured) -> list[tuple[str, str]]:
        """Judge each queue, each latency to a milestone, and what the targets are about."""
        found = measured.found
        if isinstance(found, str):
            return [("not compared", found)]
        margin = self._settings.regression or MARGIN
        sides = found.baseline, found.schedulers[0]
        judged = []
        for name, queue in found.queues.items():
            for latency in ("", *queue.latencies):
                judged.append(judge_pairs(found, name, latency, sides=sides, margin=margin))
        for name, latency, q in _of_targets(measured.run.verdicts):
            judged.append(judge_figure(found, name, q, latency, sides, margin))
        judged = list(dict.fromkeys(judged))
        nothing = all(one.status == "no figure" for one in judged)  # or pytest would exit with 0
        return [("not compared" if nothing else one.status, one.sentence) for one in judged]


def _of_targets(verdicts: Iterable[Verdict]) -> Iterator[tuple[str, str, float | None]]:
    """Yield queue, latency and percentile of each target; no percentile: the throughput."""
    for verdict in verdicts:
        percentile = re.fullmatch(r"P(\d+(?:\.\d+)?) below", verdict.rule)
        if percentile and not verdict.part:
            yield verdict.queue, verdict.latency, round(float(percentile[1]) / 100, 9)
        elif verdict.rule == "throughput at least":
            yield verdict.queue, "", None


def _same(reference: NamedBuild, build: NamedBuild) -> str:
    return (
        f"nothing of it differs between the builds {reference.name} "
        f"({reference.shown()}) and {build.name} ({build.shown() or 'nothing named'}): a home is "
        "for the scheduler 'xsched', program and env are for command() and server()"
    )


def _differ(reference: NamedBuild, build: NamedBuild, found: list[Difference]) -> str:
    return (
        f"the builds {reference.name} and {build.name} differ in more than "
        f"the ini key xsched_builds says: {'; '.join(map(str, found))}"
    )


def of_image(difference: Difference) -> bool:
    """Check whether two containers of one machine may differ in a field: what an image holds."""
    return re.fullmatch(_OF_AN_IMAGE, difference.field) is not None
