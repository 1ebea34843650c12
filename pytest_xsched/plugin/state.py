"""What the plugin keeps during one pytest session, in one place: `config.stash`.

Light: the measuring half (`session`, and with it numpy and the native module) is imported when the
first test asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xsched.plugin.misses import Misses, watch_raises
from pytest_xsched.plugin.shared_runs import SharedRuns, WithdrawnPasses, shared_runs
from pytest_xsched.session.options import is_in_use, read_marker

if TYPE_CHECKING:
    from pytest_xsched.analysis.assertion import Unjudged
    from pytest_xsched.analysis.verdict import Verdict
    from pytest_xsched.plugin.final_verdicts import JudgedTest, LateFailure
    from pytest_xsched.reporting.progress_line import ProgressLine
    from pytest_xsched.scenario.scenario import Scenario
    from pytest_xsched.session.session import Session
    from pytest_xsched.session.settings import Settings
    from pytest_xsched.stress.highest_rate import Judged


_NOT_ABOUT_COMPARING = ("saved", "not saved", "damaged")
"""Statuses of findings that say nothing of a comparison with a baseline."""


class State:
    """Settings, the session once it is open, and what xdist workers reported."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.in_use = is_in_use(config)
        """Whether the user set anything or loaded the plugin by name."""
        self.session: Session | None = None
        self.opened = False
        """Whether a test asked for the session, here or in an xdist worker."""
        self.complaint = ""
        """About the session, for the end of the terminal summary."""
        self.misses = Misses()
        self.tests = 0
        """Collected tests that use the fixtures, over which the error budget is divided."""
        self._overrides: Callable[[], dict[str, Any]] = dict
        self._origin = ""
        self._tests_begun = 0
        self._reruns: dict[str, str] = {}
        """Commands that run tests again which measured something, by node id."""
        self.findings: list[dict[str, Any]] = []
        """About baselines, those of xdist workers too; see `baseline_check.BaselineResult`."""
        self._from_workers: list[dict[str, Any]] = []
        self._timelines: list[dict[str, Any]] = []
        """Of xdist workers."""
        self._searches: list[dict[str, Any]] = []
        """Of xdist workers."""
        self._samples: list[dict[str, Any]] = []
        """Of xdist workers, in the order of their records."""
        self.files_written: list[Path] = []
        """Other than the trace file."""
        self.trace_written = 0
        """Runs in the trace file."""
        self._judged_tests: dict[str, JudgedTest] = {}
        self._excused: set[str] = set()
        """Node ids of tests that failed, or were to fail: a verdict that falls adds nothing."""
        self.late_failures: list[LateFailure] = []
        """Of tests whose verdicts fell after them."""
        self.shown: dict[str, str] = {}
        """What the reports of tests show of runs, and which test; `terminal_summary.parts`."""
        self.withdrawn = WithdrawnPasses(config)
        self.shared_runs = SharedRuns()
        self.environment: dict[str, str] = {}
        """What the implementations of `pytest_xsched_environment` returned."""
        self._told_refused: dict[int, int] = {}
        """How many targets without a verdict other plugins know, by the id of run or comparison."""
        self._hook_raised = False

    @functools.cached_property
    def settings(self) -> Settings:
        """Read the settings on first use; pytest.UsageError where one is wrong."""
        from pytest_xsched.session.settings import read_settings

        return read_settings(self.config)

    def open_session(self, host: str | None) -> Session:
        """Import the measuring half and make the object of the fixture `xsched`.

        It is one object in all of a session, also where tests are repeated on several hosts.

        Args:
            host: the machine that measures; None: this one.
        """
        if self.session is not None:
            self.session.machines.current = host
            return self.session
        from pytest_xsched.session.session import Session

        self.session, self.opened = Session(self.settings, self._progress), True
        self.session.machines.current = host
        self.session.read_overrides, self.session.origin = self._overrides, self._origin
        self.session.least_ns = self.withdrawn.least_ns(self._origin)
        self.session.budget.tests = self.tests
        self.config.add_cleanup(watch_raises(self.misses.received_by_raises))
        return self.session

    def begin_host(self, repeated: str | None) -> str | None:
        """Return the machine of the tests that follow.

        Args:
            repeated: one of --xsched-hosts, on which a test is repeated.
        """
        settings = self.settings
        if repeated is not None:
            return None if repeated == "here" else repeated
        return self._next_host() if settings.spread else settings.host

    def _next_host(self) -> str:
        """Return the host of an xdist worker, or in turn the host of a test."""
        hosts = list(self.settings.hosts)
        worker = getattr(self.config, "workerinput", {}).get("workerid", "")
        digits = worker.removeprefix("gw")
        number = int(digits) if digits.isdecimal() else self._tests_begun - 1
        return hosts[number % len(hosts)]

    def begin(self, item: pytest.Item) -> None:
        """Let the marker of a test hold for everything that runs from now on."""
        read_marker(item)  # a wrong marker fails the set-up
        # A fixture or the test itself may add a marker later, so each run reads it again.
        self._overrides, self._origin = functools.partial(read_marker, item), item.nodeid
        self.misses.begin(item.nodeid)
        self._tests_begun += "xsched" in getattr(item, "fixturenames", ())
        if self.session is not None and self.settings.spread:
            self.session.machines.current = self._next_host()
        if self.session is not None:
            self.session.read_overrides, self.session.origin = self._overrides, self._origin
            self.session.least_ns = self.withdrawn.least_ns(self._origin)
            self.session.trial = None
            self.session.budget.begin_test()

    def keep_trial(self, nodeid: str) -> None:
        """A test failed: report the last scenario that it tried, and add that to the corpus."""
        if self.session is None or self.session.trial is None:
            return
        run, self.session.trial = self.session.trial, None
        run.asserted = True  # by the test that failed
        self.session.runs.append(run)
        if self.settings.corpus is None:
            return
        from pytest_xsched.scenario.corpus import save

        try:
            save(self.settings.corpus, run.scenario, nodeid)
        except OSError as error:
            self._complain(f"--xsched-corpus: {error}")

    def known_scenarios(self) -> dict[str, Scenario]:
        """Read the corpus: scenarios by name; none without --xsched-corpus.

        Raises:
            pytest.UsageError: a file of it is damaged; says which.
        """
        if self.settings.corpus is None:
            return {}
        from pytest_xsched.errors import ScenarioError
        from pytest_xsched.scenario.corpus import load

        try:
            return load(self.settings.corpus)
        except ScenarioError as error:
            raise pytest.UsageError(f"--xsched-corpus: {error}") from None

    def assign_verdicts(self, nodeid: str) -> list[tuple[Judged, Verdict]]:
        """Assign the verdicts since the last call to a test, and return them."""
        fresh = []
        for judged in self._judged():
            for index, verdict in enumerate(judged.verdicts):
                if not verdict.nodeid:
                    judged.verdicts[index] = dataclasses.replace(verdict, nodeid=nodeid)
                    fresh.append((judged, judged.verdicts[index]))
        return fresh

    def keep_plain_misses(self) -> None:
        """Keep the plain comparisons that failed in a phase with the runs that it was about.

        A comparison knows its figure and not its run.
        """
        for run in [] if self.session is None else self.session.runs:
            if run.asserted_in_phase:
                run.plain_misses += self.misses.all_compared
            run.asserted_in_phase = False

    def has_miss(self) -> bool:
        """Check whether a target was missed, for a session that `pytest.exit` ends with success.

        A miss in the phase that it ended has no report, so no test has that verdict yet.
        """
        return bool(self.misses.failed_a_report or self.misses.compared) or any(
            not verdict.nodeid
            and (
                verdict.status == "FAIL"
                or (verdict.status != "PASS" and judged.undecided == "fail")
            )
            for judged in self._judged()
            for verdict in judged.verdicts
        )

    def take_unjudged(self) -> list[tuple[Judged, Unjudged]]:
        """Return the targets that got no verdict since the last call."""
        return [(judged, one) for judged in self._judged() for one in judged.take_unjudged()]

    def attach_to_other_reports(self) -> None:
        """Let pytest-html and allure show runs, where a report of theirs is written."""
        options = self.config.option
        pages = getattr(options, "htmlpath", None), getattr(options, "allure_report_dir", None)
        if any(pages):
            from pytest_xsched.plugin.attachments import register

            register(self.config, self)

    def tell_verdicts(
        self,
        item: pytest.Item,
        report: pytest.TestReport,
        fresh: list[tuple[Judged, Verdict]],
    ) -> None:
        """Call the hook of other plugins for each verdict that a phase of a test got."""
        refused = []
        for judged in self._judged():
            told = self._told_refused.get(id(judged), 0)
            refused += [(judged, no) for no in judged.refused[told:]]
            self._told_refused[id(judged)] = len(judged.refused)
        if fresh or refused:
            from pytest_xsched.plugin.hook_calls import call_verdicts

            call_verdicts(item, report, fresh, refused, self._hook_failed)

    def call_session_hooks(self) -> None:
        """Call the hooks of other plugins for the environment and for each run."""
        records = self.records()
        if not records:
            return
        from pytest_xsched.plugin.hook_calls import call_environment, call_runs

        self.environment = call_environment(self.config, self._hook_failed)
        call_runs(self.config, records, self._hook_failed)

    def _hook_failed(self, sentence: str) -> None:
        self._complain(sentence)
        self._hook_raised = True

    def _judged(self) -> list[Judged]:
        if self.session is None:
            return []
        return [*self.session.runs, *self.session.comparing.comparisons, *self.session.rates]

    def records(self) -> list[dict[str, Any]]:
        """Return all runs and comparisons in JSON's types, those of xdist workers too."""
        return [judged.to_dict() for judged in self._judged()] + self._from_workers

    def keep_outcome(self, item: pytest.Item, report: pytest.TestReport, *, judged: bool) -> None:
        """Keep what `judge_again` needs of a test: where it is, and whether it failed anyway."""
        from pytest_xsched.plugin.final_verdicts import JudgedTest

        if report.when == "setup":
            self._excused.discard(item.nodeid)  # of an attempt that was repeated
        if report.failed or hasattr(report, "wasxfail"):
            self._excused.add(item.nodeid)
        if report.when == "call" and report.passed:
            self.withdrawn.stood.append(item.nodeid)
        if report.when == "teardown":
            self._keep_rerun(item)
        if judged:
            command = self.rerun_command(item, None)
            self._judged_tests[item.nodeid] = JudgedTest(location=item.location, command=command)

    def _keep_rerun(self, item: pytest.Item) -> None:
        """Keep the command that runs a test again, if it measured something."""
        if self.session is None:
            return
        searched = [origin for origin, _ in self.session.searches]
        if item.nodeid in [*searched, *(found.origin for found in self.session.rates)]:
            self._reruns[item.nodeid] = self.rerun_command(item, None)
            return
        arms = [c.arms[c.baseline] for c in self.session.comparing.comparisons]
        compared = [episode.run for arm in arms for episode in arm]
        for run in (*self.session.runs, *compared):
            if not isinstance(run, Mapping) and run.origin == item.nodeid:
                self._reruns[item.nodeid] = self.rerun_command(item, run.scenario.device)
                return

    def judge_again(self) -> None:
        """Judge all targets on all that their runs measured, after the last test."""
        if self.session is None:
            return
        from pytest_xsched.plugin.final_verdicts import judge_again

        for judged in self._judged():
            judged.check_marker = lambda: None  # no test is running, so no marker holds
        self.late_failures += judge_again(
            self._judged(), self._judged_tests, self._excused, self.shown, self.columns
        )
        self.withdrawn.add(self.late_failures)

    def rerun_command(self, item: pytest.Item, device: str | None) -> str:
        """Return the command that runs a test again."""
        from pytest_xsched.plugin.rerun_command import rerun_command

        # A test that was spread over hosts runs again on the host that it had.
        host = self.session.machines.current if self.session and self.settings.spread else None
        device = device or self.settings.device
        return rerun_command(item, device=device, seed=self.settings.seed, host=host)

    def require_a_compared_run(self) -> None:
        """Add a finding if there was no run to compare with --xsched-compare's baseline."""
        about_runs = [one for one in self.findings if one["status"] not in _NOT_ABOUT_COMPARING]
        if self.settings.compare is None or about_runs:
            return
        reference = self.settings.reference
        if not self.opened and reference is None:
            return
        from pytest_xsched.comparison.baseline_check import BaselineResult

        what = "baseline" if reference is None else "build"
        sentence = (
            f"nothing was compared with the {what} {self.settings.compare!r}: no test measured "
            "with xsched.run(); the runs of compare() are compared with each other only"
        )
        self.findings.append(BaselineResult(status="not compared", sentence=sentence).to_dict())

    def update_baselines(self) -> None:
        """Compare the runs with --xsched-compare's baseline and add them to --xsched-save's."""
        if self.session is None:
            return
        self.findings += [found.to_dict() for found in self.session.alternating.results()]
        stored = self.settings.compare if self.settings.reference is None else None
        names = stored, self.settings.save
        if names == (None, None):
            return
        from pytest_xsched.comparison.baseline_check import compare_and_store
        from pytest_xsched.comparison.baseline_store import Baseline

        compare, save = (name and Baseline(self.settings.baselines, name) for name in names)
        found = compare_and_store(
            self.session.runs,
            compare=compare or None,
            save=save or None,
            rootdir=self.config.rootpath,
            regression=self.settings.regression,
            first_passes=self.settings.first_passes,
        )
        self.findings += [finding.to_dict() for finding in found]

    def record_findings(self) -> None:
        """Put the findings where JUnit finds them: the test that made a run is over by then."""
        for plugin in self.config.pluginmanager.get_plugins():
            # What the fixture record_testsuite_property calls, which no test is there to ask for.
            record = getattr(plugin, "add_global_property", None)
            if record is None:
                continue
            for finding in self.findings:
                status = finding["status"].replace(" ", "_")
                of = f" [{finding['origin']}]" if finding["origin"] else ""
                record(f"xsched.baseline.{status}", f"{finding['sentence']}{of}")

    def exit_status(self) -> int:
        """Return the exit status that the findings ask for; 0: none."""
        if not self.findings:
            return 0
        from pytest_xsched.comparison.baseline_check import exit_status

        return exit_status(self.findings)

    def write_files(self) -> bool:
        """Write the files; return False, with a complaint, if one of them cannot be written.

        Or if a hook of another plugin raised.
        """
        written = (
            self._write_records(),
            self._write_trace(),
            self._write_samples(),
            self._write_openmetrics(),
            self._write_step_summary(),
        )
        return all(written) and not self._hook_raised

    def _write_records(self) -> bool:
        """Write the JSON file and the page, of one and the same document."""
        if not self.in_use or (self.settings.json_path, self.settings.html_path) == (None, None):
            return True
        from pytest_xsched.reporting.json_export import document, write_json

        content = document(
            self.records(),
            self.config.rootpath,
            self.findings,
            self._reruns,
            self.environment,
            self.searches(),
        )
        written = True
        for option, path, write in (
            ("--xsched-json", self.settings.json_path, write_json),
            ("--xsched-html", self.settings.html_path, _write_html),
        ):
            try:
                if path is not None:
                    write(path, content)
                    self.files_written.append(path)
            except OSError as error:
                self._complain(f"{option}: {error}")
                written = False
        return written

    def searches(self) -> list[dict[str, Any]]:
        """Return the searches for the worst case in JSON's types, those of xdist workers too."""
        own = [] if self.session is None else self.session.searches
        return [{"origin": origin, **worst.to_dict()} for origin, worst in own] + self._searches

    def timelines(self) -> list[dict[str, Any]]:
        """Return the timelines of the runs for --xsched-trace, those of xdist workers too."""
        if self.settings.trace_path is None or self.session is None:
            return self._timelines
        from pytest_xsched.analysis.timeline import timeline

        some = self.settings.trace_failures_only
        return [
            timeline(run) for run in self.session.runs if not some or run.has_failed
        ] + self._timelines

    def _write_trace(self) -> bool:
        path = self.settings.trace_path if self.in_use else None
        if path is None:
            return True
        from pytest_xsched.base.output_file import write_whole
        from pytest_xsched.reporting.trace_file import trace_file

        timelines = self.timelines()
        if not timelines and self.settings.trace_failures_only:
            return True
        try:
            write_whole(path, trace_file(path.name, timelines))
        except OSError as error:
            self._complain(f"--xsched-trace: {error}")
            return False
        self.trace_written = len(timelines)
        return True

    def samples(self) -> list[dict[str, Any]]:
        """Return the requests of all runs for --xsched-samples, those of xdist workers too."""
        if self.settings.samples_path is None or self.session is None:
            return self._samples
        from pytest_xsched.analysis.run import Run
        from pytest_xsched.reporting.samples_file import part

        runs = [part([("", 0, run)], is_comparison=False) for run in self.session.runs]
        own = set(map(id, self.session.runs))
        compared = [
            part(
                [
                    (arm, episode.number, episode.run)
                    for arm, episodes in comparison.arms.items()
                    for episode in episodes
                    if isinstance(episode.run, Run) and id(episode.run) not in own
                ],
                is_comparison=True,
            )
            for comparison in self.session.comparing.comparisons
        ]
        return runs + compared + self._samples

    def _write_samples(self) -> bool:
        path = self.settings.samples_path if self.in_use else None
        if path is None:
            return True
        from pytest_xsched.base.output_file import write_whole
        from pytest_xsched.reporting.samples_file import samples_file

        try:
            write_whole(path, samples_file(path, self.samples()))
        except OSError as error:
            self._complain(f"--xsched-samples: {error}")
            return False
        self.files_written.append(path)
        return True

    def _write_openmetrics(self) -> bool:
        path = self.settings.openmetrics_path if self.in_use else None
        if path is None:
            return True
        from pytest_xsched.base.output_file import write_whole
        from pytest_xsched.reporting.openmetrics import openmetrics

        try:
            write_whole(path, openmetrics(self.records(), self.environment))
        except OSError as error:
            self._complain(f"--xsched-openmetrics: {error}")
            return False
        self.files_written.append(path)
        return True

    def _write_step_summary(self) -> bool:
        """Add the runs to the page of a job on GitHub, where this is one."""
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        records = self.records() if path else []
        if not path or not records:
            return True
        from pytest_xsched.reporting.github_summary import append

        try:
            append(Path(path), records, self.findings)
        except OSError as error:
            self._complain(f"GITHUB_STEP_SUMMARY: {error}")
            return False
        return True

    def _complain(self, sentence: str) -> None:
        if sentence not in self.complaint.splitlines():
            self.complaint = "\n".join(filter(None, (self.complaint, sentence)))

    def to_controller(self) -> str:
        """Pack the runs for the xdist controller: text, because nothing else is sure to travel."""
        packed = {
            "records": self.records(),
            "timelines": self.timelines(),
            "samples": self.samples(),
            "searches": self.searches(),
            "findings": self.findings,
            "reruns": self._reruns,
            "late_failures": [failure.to_dict() for failure in self.late_failures],
            "opened": self.opened,
            "complaint": self.complaint,
            "hook_raised": self._hook_raised,
            "expected_misses": self.misses.expected,
            "stood": self.withdrawn.stood,
            "shared_runs": [] if self.session is None else shared_runs(self.session.runs),
        }
        return json.dumps(packed, allow_nan=False)

    def from_worker(self, packed: str) -> list[LateFailure]:
        """Unpack what `to_controller` packed; return the failures, which need a report each."""
        unpacked = json.loads(packed)
        self._from_workers += unpacked["records"]
        self._timelines += unpacked["timelines"]
        self._samples += unpacked["samples"]
        self._searches += unpacked["searches"]
        self._timelines.sort(key=lambda timeline: str(timeline["origin"]))
        self._reruns |= unpacked["reruns"]
        self.misses.expected += unpacked["expected_misses"]
        self.opened = self.opened or unpacked["opened"]
        self._hook_raised = self._hook_raised or unpacked["hook_raised"]
        for sentence in unpacked["complaint"].splitlines():
            self._complain(sentence)
        self.withdrawn.stood += unpacked["stood"]
        self.shared_runs.add(unpacked["shared_runs"])
        # Of a damaged file each worker says the same.
        self.findings += [found for found in unpacked["findings"] if found not in self.findings]
        if not unpacked["late_failures"]:
            return []
        from pytest_xsched.plugin.final_verdicts import read_failure

        failures = [read_failure(data) for data in unpacked["late_failures"]]
        self.withdrawn.add(failures)
        return failures

    @property
    def columns(self) -> int | None:
        """Width of the terminal, that of the controller in an xdist worker.

        None where the output goes elsewhere: that of a pipe, such as the log of a CI job, keeps a
        sentence in one line.
        """
        if is_worker(self.config):
            found: int | None = self.config.workerinput.get("xsched_columns")  # type: ignore[attr-defined]
            return found
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or not terminal.isatty:
            return None
        return shutil.get_terminal_size().columns

    def _progress(self, label: str) -> ProgressLine | None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or not terminal.isatty or is_worker(self.config):
            return None
        from pytest_xsched.reporting.progress_line import ProgressLine

        capture = self.config.pluginmanager.get_plugin("capturemanager")
        columns = shutil.get_terminal_size().columns
        if capture is None:
            return ProgressLine(terminal, label, columns=columns)
        return ProgressLine(
            terminal, label, columns=columns, uncaptured=capture.global_and_fixture_disabled
        )


def _write_html(path: Path, content: dict[str, Any]) -> None:
    """Write the page that `pytest-xsched report` would make of the JSON file."""
    from pytest_xsched.page.html_page import write_page
    from pytest_xsched.page.source import Source
    from pytest_xsched.reporting.json_export import read_back

    write_page(path, [Source(name="", document=read_back(content))])


_KEY = pytest.StashKey[State]()


def keep(config: pytest.Config, state: State) -> None:
    """Put the state where `state_of` finds it."""
    config.stash[_KEY] = state


def state_of(config: pytest.Config) -> State:
    """Find the state."""
    return config.stash[_KEY]


def is_worker(config: pytest.Config) -> bool:
    """Check whether this process is an xdist worker."""
    return hasattr(config, "workerinput")
