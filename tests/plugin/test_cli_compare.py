"""`pytest-xsched compare A B`: which runs are paired, when B is worse, what is said of the rest."""

from __future__ import annotations

import json
import os

import pytest

from pytest_xsched.cli.main import ExitCode, main

UNDECIDED = "UNDECIDED whether B is worse: not everything was compared and decided"
RUNS = """
    @pytest.mark.parametrize("seed", range({count}))
    def test_it(xsched, seed):
        xsched.run(
            xsched.queue("high", spin("1ms"), priority=10, arrivals=poisson("100/s")),
            xsched.queue("low", spin("{low}"), priority=1),
            duration="5s", scheduler="{scheduler}", seed=seed,
        )
    """


@pytest.fixture
def measured(load, sim, pytester):
    """Measures runs on the simulator; gives the JSON file."""

    def measure(name, count=6, low="5ms", scheduler="builtin"):
        load(RUNS.format(count=count, low=low, scheduler=scheduler))
        assert sim(f"--xsched-json={name}").ret == 0
        return pytester.path / name

    return measure


@pytest.fixture
def compare(capsys):
    """Runs the command; gives exit code and lines of stdout."""

    def run(*args):
        capsys.readouterr()
        code = main(["compare", *map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out.splitlines() or [err.rstrip("\n")]

    return run


def changed(path, to, change):
    """Copies a file of runs with a change of each run."""
    data = json.loads(path.read_text())
    for run in data["xsched"]["runs"]:
        change(run)
    to.write_text(json.dumps(data))
    return to


def slower(run):
    run["queues"][0]["p99_ns"] = round(run["queues"][0]["p99_ns"] * 1.3)


def test_equal_runs(measured, compare):
    a = measured("a.json")
    code, lines = compare(a, a)
    assert code == ExitCode.OK
    assert lines[0] == "builtin now compared with builtin before, 6 episodes of 5 s each on sim"
    assert lines[-2:] == [
        "  NO DIFFERENCE SHOWN high: P99 of B is 1 times that of A (1 to 1)",
        "  NO DIFFERENCE SHOWN low: throughput of B is 1 times that of A (1 to 1)",
    ]


def test_b_is_worse_and_a_is_better(measured, compare, tmp_path):
    a = measured("a.json")
    b = changed(a, tmp_path / "b.json", slower)
    code, lines = compare(a, b)
    assert code == ExitCode.FINDING
    assert lines[-2] == "  WORSE high: P99 of B is 1.3 times that of A (1.3 to 1.3)"

    code, lines = compare(b, a)
    assert code == ExitCode.OK
    assert lines[-2].startswith("  BETTER high: P99 of B is 0.7692 times that of A ")


def test_few_runs_decide_nothing(measured, compare, tmp_path):
    a = measured("a.json", count=2)
    code, lines = compare(a, changed(a, tmp_path / "b.json", slower))
    assert code == ExitCode.UNDECIDED
    assert lines[-3].startswith("  UNDECIDED high: P99 of B is 1.3 times that of A (no bounds); ")
    assert lines[-3].endswith("2 pairs of runs, and 6 are needed")
    assert lines[-1] == UNDECIDED


def saturated(run):
    name, queue = run["queues"][0]["name"], run["queues"][0]
    queue["saturated"] = True
    run["evidence"]["queue_faults"][name] = [f"{name} is saturated"]


def idle(run):
    run["queues"][1] |= {"n": 0, "throughput_hz": 0.0}


def invalid(run):
    run["evidence"]["faults"] = ["3 commands of high failed"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (saturated, "high: saturated, or without a completed request, in 1 of 1 run of B"),
        (idle, "low: saturated, or without a completed request, in 1 of 1 run of B"),
    ],
)
def test_saturated_or_starved_in_b_only_is_worse_whatever_the_number_of_runs(
    measured, compare, tmp_path, change, sentence
):
    a = measured("a.json", count=1)
    b = changed(a, tmp_path / "b.json", change)
    code, lines = compare(a, b)
    assert code == ExitCode.FINDING
    assert f"  WORSE {sentence} and in none of A" in lines

    code, lines = compare(b, a)
    assert code == ExitCode.UNDECIDED  # one pair does not decide about the other queue
    assert any(line.startswith("  BETTER ") for line in lines)


def test_a_run_without_a_figure_on_one_side_is_not_green(measured, compare, tmp_path):
    a = measured("a.json")
    b = changed(a, tmp_path / "b.json", invalid)
    for pair in ((a, b), (b, a)):
        code, lines = compare(*pair)
        assert code == ExitCode.UNDECIDED
        assert any(
            line.startswith("  NOT COMPARED ") and line.endswith("3 commands of high failed")
            for line in lines
        )
        assert lines[-1] == UNDECIDED
    code, lines = compare(b, b)  # of no queue is there anything to compare
    assert code == ExitCode.UNDECIDED
    assert [line.split(" builtin")[0] for line in lines if "NO FIGURE" in line]


def few_requests(run):
    run["queues"][0]["n"] = 4


def test_a_queue_without_a_figure_on_both_sides_does_not_spoil_the_others(
    measured, compare, tmp_path
):
    a = changed(measured("a.json"), tmp_path / "b.json", few_requests)
    code, lines = compare(a, a)
    assert code == ExitCode.OK
    assert any(line.startswith("  NO FIGURE ") for line in lines)


def test_too_few_requests_for_a_p99_are_compared_by_a_lower_percentile(measured, compare, tmp_path):
    """Runs of 150 requests, those of the README, showed no figure and exit code 0."""

    def short(run):
        run["queues"][0]["n"] = 150

    def worse(run):
        run["queues"][0]["p95_ns"] *= 3

    a = changed(measured("a.json"), tmp_path / "short.json", short)
    code, lines = compare(a, changed(a, tmp_path / "b.json", worse))
    assert code == ExitCode.FINDING
    assert any(line.startswith("  WORSE high: P95 of B is 3 times that of A") for line in lines)
    assert compare(a, a)[0] == ExitCode.OK


def test_looking_worse_without_showing_it_is_not_green(measured, compare, tmp_path):
    factors = iter([1.0, 9, 1, 9, 1, 9])

    def sometimes(run):
        run["queues"][0]["p99_ns"] = round(run["queues"][0]["p99_ns"] * next(factors))

    a = measured("a.json")
    code, lines = compare(a, changed(a, tmp_path / "b.json", sometimes))
    assert code == ExitCode.UNDECIDED
    assert lines[-3].startswith("  UNDECIDED high: P99 of B is 3 times that of A (1 to 9); B looks")


def test_another_scheduler_is_paired(measured, compare):
    a, b = measured("a.json", scheduler="native"), measured("b.json")
    code, lines = compare(a, b)
    assert code == ExitCode.OK
    assert lines[0].startswith("builtin compared with native, 6 episodes")
    assert any(line.startswith("  BETTER high: P99 of B is ") for line in lines)


def test_what_only_one_file_has(measured, compare):
    a, b = measured("a.json", count=1), measured("b.json", count=1, low="6ms")
    code, lines = compare(a, b)
    assert code == ExitCode.UNAVAILABLE
    assert [line.partition(":")[0] for line in lines] == ["only in A", "only in B"]


def test_fields_that_differ_are_named(measured, compare, tmp_path):
    def elsewhere(run):
        run["fingerprint"]["kernel"] = "7.0"

    a = measured("a.json", count=1)
    code, (line,) = compare(a, changed(a, tmp_path / "b.json", elsewhere))
    assert code == ExitCode.UNAVAILABLE
    assert line.startswith("not comparable: builtin (hpf) on sim, 5 s, seed 0: host.kernel: ")
    assert line.endswith(' against "7.0"')


def test_runs_that_stopped_at_another_time_are_not_compared(measured, compare, tmp_path):
    def shorter(run):
        run["measured_ns"] //= 2

    a = measured("a.json", count=1)
    code, (line,) = compare(a, changed(a, tmp_path / "b.json", shorter))
    assert code == ExitCode.UNAVAILABLE
    assert line == (
        'not comparable: builtin (hpf) on sim, 5 s, seed 0: measured: "5 s" against "2.5 s"; '
        "`-o xsched_fixed_duration=yes` measures all of the duration"
    )


def test_a_named_pipe_is_one_sentence_and_no_wait(compare, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, (line,) = compare(pipe, pipe)
    assert code == ExitCode.USAGE
    assert line == (
        f"pytest-xsched: {pipe}: Not a regular file; write it with `pytest --xsched-json={pipe}`"
    )


def test_unequal_numbers(measured, compare):
    code, lines = compare(measured("a.json", count=9), measured("b.json", count=7))
    assert code == ExitCode.UNDECIDED
    assert lines[-1] == UNDECIDED
    assert lines[-2] == (
        "A has 9 and B 7 runs of builtin (hpf) on sim, 5 s, seed 0: the first 7 of each are "
        "compared"
    )


def test_json(measured, compare, tmp_path):
    a = measured("a.json")
    code, lines = compare(a, changed(a, tmp_path / "b.json", slower), "--json")
    plain = json.loads("\n".join(lines))
    assert code == ExitCode.FINDING
    assert (plain["worse"], plain["notes"]) == (True, [])
    (comparison,) = plain["comparisons"]
    assert [one["status"] for one in comparison["judgements"]] == ["worse", "no difference shown"]


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("scenario", "processes"),
        ("evidence", "faults"),
        ("evidence", "queue_faults"),
        ("device", "kind"),
        ("queue", "throughput_hz"),
        ("queue", "p50_ns"),
    ],
)
def test_a_run_that_lacks_a_part_is_one_sentence_and_no_finding(
    measured, compare, tmp_path, part, key
):
    """An error that nothing catches ends Python with 1, which here means that B is worse."""

    def without(run):
        parts = {"queue": run["queues"][0], "device": run["fingerprint"]["devices"][0], **run}
        del parts[part][key]

    b = changed(measured("a.json", count=1), tmp_path / "b.json", without)
    code, (line,) = compare(b, b)
    assert code == ExitCode.USAGE
    assert line.startswith(f"pytest-xsched: {b} has runs of another format; ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No such file or directory; "),
        ("", " is not a JSON file of pytest-xsched; "),
        ("[]", " is not a JSON file of pytest-xsched; "),
        ('{"xsched": {"runs": []}}', " holds no runs; "),
        ('{"xsched": {"runs": [{}]}}', " has runs of another format; "),
    ],
)
def test_files_that_are_none(compare, tmp_path, text, sentence):
    file = tmp_path / "a.json"
    if text is not None:
        file.write_text(text)
    code, (line,) = compare(file, file)
    assert code == ExitCode.USAGE
    assert line.startswith(f"pytest-xsched: {file}") and sentence in line
    assert line.endswith(f"write it with `pytest --xsched-json={file}`")
