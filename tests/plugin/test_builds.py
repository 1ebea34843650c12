"""Named builds: measured alternately, or compared as they are stored; exit codes and sentences."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import shlex
import sys

import pytest

from pytest_xsched import sequence, spin
from pytest_xsched.cli.main import ExitCode, main
from pytest_xsched.session.named_builds import NamedBuild

TURNS = "--xsched-baseline-episodes"
INI = """
[pytest]
xsched_hosts = a = env {python}
xsched_builds =
    main: env WORK=1ms
    same: env WORK=1ms
    pr: env WORK=2ms
    stuck: env WORK=100ms
    home: home=/opt/xsched
    far: host=a
"""
BODY = """
    def test_it(xsched, load):
        xsched.run(*load, duration="{time}").high.assert_p99_below("1h")
    """


@pytest.fixture
def builds(pytester, monkeypatch, load):
    """Writes the ini file and a test; on sim, WORK of a build is the work of the queue high."""

    def apply(build, scenario):
        work = dict(build.env).get("WORK")
        if work is None:
            return scenario
        high, low = scenario.queues
        high = dataclasses.replace(high, workload=spin(work))
        return dataclasses.replace(scenario, queues=(high, low))

    def write(time="15s", body=BODY):
        monkeypatch.setattr(NamedBuild, "apply", apply)
        pytester.makeini(INI.format(python=sys.executable))
        load(body.format(time=time))

    return write


def test_a_build_that_is_worse_than_another_fails_in_one_session(builds, sim, pytester):
    builds()
    options = ("--xsched-compare=main", "--xsched-build=pr", "--xsched-json=x.json")
    result = sim(*options, f"{TURNS}=6")
    assert result.ret == 1
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "xsched: build pr, alternately with main, 6 episodes, device sim, *",
            "pr compared with main, 6 episodes of 15 s each on *",
            "  high: P99 of pr / main 1.164 (1.164 to 1.164, noise not measured)",
            "WORSE builtin (hpf) on sim, 15 s, seed 0: high: P99 of pr is * times that of main (*)",
            "NO DIFFERENCE SHOWN *: low: throughput of pr is * times that of main (*)",
        ]
    )
    content = json.loads((pytester.path / "x.json").read_text())["xsched"]
    (run,), (comparison,) = content["runs"], content["comparisons"]
    assert run["scenario"]["seed"] == 0
    assert run["scenario"]["queues"][0]["workload"]["label"] == "spin('2ms')"
    arms = comparison["arms"]
    assert list(arms) == ["main", "pr"]
    assert [len(arms[name]) for name in arms] == [6, 6]
    assert [one["status"] for one in content["baselines"]] == ["worse", "no difference shown"]

    # A margin of one's own; the other way round it is better.
    assert sim(*options, f"{TURNS}=6", "--xsched-regression=20%").ret == 0
    result = sim("--xsched-compare=pr", "--xsched-build=main", f"{TURNS}=6")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["BETTER *: high: P99 of main is * times that of pr (*)"])


def test_what_the_targets_are_about_is_compared_as_well(builds, sim):
    builds(
        body="""
    def test_it(xsched, load):
        run = xsched.run(*load, duration="15s")
        run.high.assert_p99_below("1h")
        run.high.assert_percentile_below(0.9, "1h")
        run.high.assert_throughput_at_least("1/s")
        run.low.assert_throughput_at_least("1/s")
    """
    )
    result = sim("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=6")
    assert figures(result) == [
        "high: P99 of pr is 1.164",
        "low: throughput of pr is 0.9796",
        "high: P90 of pr is 1.176",
        "high: throughput of pr is 1",
    ]


def test_a_latency_to_a_milestone_is_compared_as_well(builds, sim, monkeypatch):
    builds(
        body="""
    def test_it(xsched):
        parts = [spin("5ms"), spin("1ms")]
        chat = xsched.queue("chat", sequence(parts, milestone="token"), rate="20/s")
        xsched.run(chat, duration="15s")
    """
    )

    def apply(build, scenario):
        (chat,) = scenario.queues
        if build.name != "pr":
            return scenario
        late = sequence([spin("8ms"), spin("1ms")], milestone="token", label=chat.workload.label)
        chat = dataclasses.replace(chat, workload=late)
        return dataclasses.replace(scenario, queues=(chat,))

    monkeypatch.setattr(NamedBuild, "apply", apply)
    result = sim("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=6")
    assert result.ret == 1
    assert figures(result) == [
        "chat: P99 of pr is 1.5",
        "chat.first_token: P99 of pr is 1.599",
        "chat.per_token: P99 of pr is 1",
        "chat.between_tokens: P99 of pr is 1",
    ]


def test_a_missed_target_is_run_again_with_its_build_only(builds, sim, pytester):
    """The command of the report compares nothing, so it has no option that is about that."""
    builds(
        body="""
    def test_it(xsched, load):
        xsched.run(*load, duration="15s").high.assert_max_below("1us")
    """
    )
    options = (
        "--xsched-compare=main",
        "--xsched-build=pr",
        f"{TURNS}=1",
        "--xsched-regression=20%",
    )
    result = sim(*options)
    assert result.ret == 1
    at = next(i for i, line in enumerate(result.outlines) if "to run it again" in line)
    words = shlex.split(result.outlines[at + 1])
    assert words[1] == "test_it.py::test_it" and "--xsched-build=pr" in words
    assert not any(
        "compare" in word or "episodes" in word or "regression" in word for word in words
    )
    again = sim(*words[1:])
    assert again.ret == 1
    again.assert_outcomes(failed=1)


def figures(result):
    """Return what the summary says of each figure, without its bounds."""
    said = (line.partition("seed 0: ")[2].partition(" times")[0] for line in result.outlines)
    return [one for one in said if ": " in one]


def test_the_builds_take_turns_and_the_next_episode_is_backwards(builds, sim, pytester):
    builds()
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def order(xsched, monkeypatch):
            of_session, seen = xsched._run, []
            def run(scenario, **more):
                seen.append((more["build"].name, scenario.seed))
                return of_session(scenario, **more)
            monkeypatch.setattr(xsched, "_run", run)
            yield
            assert [name for name, _ in seen] == ["main", "pr", "pr", "main", "main", "pr"]
            assert len({seed for _, seed in seen}) == 3 and seen[0][1] == seen[1][1] == 0
        """
    )
    result = sim("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=3")
    result.assert_outcomes(passed=1)
    assert result.ret == 8
    result.stdout.fnmatch_lines(
        ["UNDECIDED *: high: P99 of pr is * (no bounds); 3 pairs of runs, and 6 are needed"]
    )


def test_what_the_test_compares_itself_is_measured_with_the_tested_build_only(
    builds, sim, pytester
):
    """The runs of compare() take no turns: they are compared with each other."""
    builds(
        body="""
    def test_it(xsched, load):
        xsched.compare(*load, schedulers=["native", "builtin"], episodes=1, duration="1s")
    """
    )
    options = ("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=2")
    result = sim(*options, "--xsched-json=x.json")
    assert result.ret == 8
    result.stdout.fnmatch_lines(["NOT COMPARED nothing was compared with the build 'main': *"])
    content = json.loads((pytester.path / "x.json").read_text())["xsched"]
    (comparison,) = content["comparisons"]
    assert list(comparison["arms"]) == ["native", "builtin", "native again"]
    high, _ = comparison["arms"]["native"][0]["scenario"]["queues"]
    assert content["shared"]["queues"][high]["workload"]["label"] == "spin('2ms')"


def test_a_build_without_a_name_is_compared_with_a_named_one(builds, sim):
    builds()
    result = sim("--xsched-compare=pr", f"{TURNS}=6")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["BETTER *: high: P99 of now is * times that of pr (*)"])


def test_a_queue_that_is_saturated_in_one_build_only_is_worse(builds, sim):
    builds()
    result = sim("--xsched-compare=main", "--xsched-build=stuck", f"{TURNS}=1")
    result.stdout.fnmatch_lines(
        ["WORSE *: high: saturated, * in 1 of 1 run of stuck and in none of main"]
    )


def test_a_run_in_which_the_builds_are_the_same_is_measured_once_and_is_not_green(builds, sim):
    builds()
    result = sim("--xsched-compare=home", f"{TURNS}=6")
    assert result.ret == 8
    result.stdout.fnmatch_lines(
        [
            "NOT COMPARED builtin (hpf) on sim, 15 s, seed 0: nothing of it differs between the "
            "builds home (home=/opt/xsched) and now (nothing named): a home is for the scheduler *"
        ]
    )
    result.stdout.no_fnmatch_line("*compared with*")


def test_builds_that_differ_in_more_than_is_said_are_not_compared(builds, sim, pytester):
    builds()
    pytester.makeconftest(
        """
        import pytest
        from pytest_xsched.analysis.run import Run

        @pytest.fixture(autouse=True)
        def another_driver(xsched, monkeypatch):
            of_session = xsched._run
            def run(scenario, **more):
                measured = of_session(scenario, **more)
                record = measured.to_dict
                def changed():
                    found = record()
                    if more["build"].name == "pr":
                        found["fingerprint"]["devices"][0]["driver_version"] = "12.0"
                    return found
                measured.to_dict = changed
                return measured
            monkeypatch.setattr(xsched, "_run", run)
        """
    )
    result = sim("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=1")
    assert result.ret == 8
    result.stdout.fnmatch_lines(
        [
            "NOT COMPARED *: the builds main and pr differ in more than the ini key xsched_builds "
            'says: devices.0.driver_version: nothing against "12.0"'
        ]
    )


def test_nothing_measured_is_not_green(builds, sim):
    builds(body="def test_it(): pass")
    result = sim("--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=6")
    assert result.ret == 8
    result.stdout.fnmatch_lines(["NOT COMPARED nothing was compared with the build 'main': *"])


def test_a_build_on_another_host_is_measured_there(builds, sim, pytester):
    """The two hosts are one machine, so only their names differ."""
    builds()
    result = sim("--xsched-compare=far", f"{TURNS}=1", "--xsched-json=x.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["UNDECIDED *: P99 of now is 1 times that of far (no bounds); *"])
    content = json.loads((pytester.path / "x.json").read_text())["xsched"]
    (there,), (place,) = content["comparisons"][0]["arms"].values()
    assert (there["host"], content["runs"][place]["host"]) == ("a", None)

    builds(body='def test_it(xsched, load): xsched.run(*load, duration="1s", host="here")')
    result = sim("--xsched-build=far")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*host is 'here', but the build 'far' is measured on 'a'; leave the host out of the test"]
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--xsched-build=prr"],
            "--xsched-build: build 'prr' is unknown; known: main, same, pr, stuck, home, "
            "far; a line of the ini key xsched_builds names another, as in 'prr: home=build/prr'",
        ),
        (
            ["--xsched-compare=prr", f"{TURNS}=6"],
            "--xsched-compare: build 'prr' is unknown; *; without --xsched-baseline-episodes the "
            "runs are compared with the stored runs called 'prr'",
        ),
        (
            ["--xsched-compare=pr", "--xsched-build=pr", f"{TURNS}=6"],
            "--xsched-compare=pr and --xsched-build=pr name one build twice; name another one",
        ),
        (
            ["--xsched-compare=main", "--xsched-build=same", f"{TURNS}=6"],
            "the builds 'main' and 'same' of the ini key xsched_builds are the same: env WORK=1ms",
        ),
        (
            [f"{TURNS}=6"],
            "--xsched-baseline-episodes=6 alone compares nothing; write --xsched-compare=NAME *",
        ),
        (
            ["--xsched-compare=main", f"{TURNS}=few"],
            "--xsched-baseline-episodes: 'few' is not a whole number from 1 to 1000; fewer than 6 "
            "episodes decide nothing",
        ),
        (
            ["--xsched-compare=main", "--xsched-build=pr", f"{TURNS}=6", "--xsched-save=main"],
            "--xsched-save=main would store runs of the build 'pr' under the name of the one that "
            "it is compared with; write another name",
        ),
        (
            ["--xsched-build=far", "--xsched-host=a"],
            "--xsched-host=a: the build 'far' is measured on 'a'; leave --xsched-host out",
        ),
    ],
)
def test_wrong_options_are_one_sentence(builds, sim, options, sentence):
    builds()
    result = sim(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("pr home=x", "'pr home=x' is not a name, a colon and what differs, as in 'pr: home=*"),
        ("now: home=x", "*a name has letters, digits and . _ -, and is not 'now'"),
        ("pr:", "'pr:' names nothing that differs; write 'pr: home=build/pr', *"),
        ("pr: hom=x", "'pr: hom=x': 'hom=x' is not understood here; write 'pr: home=*"),
        ("pr: host=b", "'pr: host=b': host 'b' is unknown; known: none; a line of *xsched_hosts*"),
        ("pr: env LD_PRELOAD=x", "'pr: env LD_PRELOAD=x': command: LD_PRELOAD in env; *"),
        ("pr: home=x\n    pr: home=y", "'pr: home=y': there are two builds of that name; *"),
    ],
)
def test_wrong_lines_are_one_sentence(pytester, sim, line, sentence):
    pytester.makeini(f"[pytest]\nxsched_builds =\n    {line}\n")
    pytester.makepyfile("def test_it(): pass")
    result = sim()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini option xsched_builds: {sentence}"])


def test_the_command_measures_two_builds_of_a_program_alternating(pytester, command):
    """By its name and by a variable, in real time, so what one episode shows is not asserted."""
    pytester.makeini(
        """
        [pytest]
        xsched_builds =
            main: env WORK=1ms
            pr: program=build/pr/serve.py env WORK=2ms
        """
    )
    serve = "from pytest_xsched.client import requests\nfor _ in requests(): pass\n"
    pytester.makefile(".py", serve=serve)
    (pytester.mkdir("build") / "pr").mkdir()
    (pytester.path / "build/pr/serve.py").write_text(serve)
    pytester.makepyfile(
        test_it="""
        import sys
        from pytest_xsched import command, spin

        def test_it(xsched):
            high = xsched.queue("high", command([sys.executable, "serve.py"]), rate="50/s")
            other = xsched.queue("other", spin("1us"), rate="50/s")
            xsched.run(high, other, duration="100ms", scheduler="native")
        """
    )
    result = command(
        *("compare", "main", "pr", "-pno:cacheprovider", "-Werror", "--xsched-device=cpu"),
        *(f"{TURNS}=1", "--xsched-json=x.json"),
    )
    result.assert_outcomes(passed=1)
    (comparison,) = json.loads((pytester.path / "x.json").read_text())["xsched"]["comparisons"]
    shown = [(one["arm"], one["queue"], one["workload"]) for one in comparison["builds"]]
    assert shown == [
        ("main", "high", "command(python serve.py) with WORK=1ms"),
        ("pr", "high", f"command({f'python {pytester.path}'[:37]}...) with WORK=2ms"),
    ]


def test_two_baselines_are_compared_as_they_are_stored(builds, sim, pytester, command):
    builds()
    for name in ("old", "new"):
        assert sim(f"--xsched-save={name}").ret == 0
    result = command("compare", "old", "new", "--xsched-regression=20%")
    assert result.ret == 0
    assert result.outlines == [
        *(
            f"NO DIFFERENCE SHOWN builtin (hpf) on sim, 15 s, seed 0: {queue}, the medians of 1 "
            "stored run of new and 1 stored run of old: no difference shown"
            for queue in (
                "high: P99 5.96 ms against 5.96 ms",
                "low: throughput 195.8/s against 195.8/s",
            )
        )
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["main", "prr"],
            "'prr' is no build of the ini key xsched_builds (known: main, same, pr, stuck, "
            "home, far), no baseline in */.xsched (known: old) and no file",
        ),
        (["main", "main"], "'main' is named twice; name another one"),
        (
            ["old", "pr"],
            "'pr' is a build and 'old' is stored runs only, so they cannot be measured "
            "alternately; name the build 'old' in the ini key xsched_builds, or run pytest "
            "--xsched-build=pr --xsched-compare=old",
        ),
    ],
)
def test_wrong_names_are_one_sentence(builds, sim, pytester, capsys, words, sentence):
    builds()
    (pytester.path / ".xsched").mkdir()
    (pytester.path / ".xsched/old.jsonl").touch()
    assert main(["compare", *words]) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.split("\n\n")[:1]
    assert fnmatch.fnmatchcase(line, f"ERROR: compare: {sentence}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["a.json", "b.json", "-k", "it"],
            "a.json and b.json are files, so nothing is measured; leave '-k it' out",
        ),
        (
            ["main", "pr", "--json"],
            "--json is for two files; of builds, --xsched-json=FILE writes all",
        ),
    ],
)
def test_words_that_do_not_go_with_files_or_names(capsys, words, sentence):
    assert main(["compare", *words]) == ExitCode.USAGE
    assert capsys.readouterr().err == f"pytest-xsched: compare: {sentence}\n"
