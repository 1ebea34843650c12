"""Stored runs: nothing is lost, what is damaged is left alone, few of them show nothing."""

import dataclasses
import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from pytest_xsched.comparison.baseline_check import RUNS_NEEDED, compare_and_store, exit_status
from pytest_xsched.comparison.baseline_store import Baseline
from pytest_xsched.comparison.stored_line import sealed

COMMIT = {"id": "unversioned"}


@pytest.fixture
def run(made_run, made_queue):
    """Makes a run whose latencies of `high` are all `ms`, and of `low` too, in a closed loop."""

    def make(ms=5.0, *, low_ms=5, n=300):
        count = 15_000 // low_ms
        low = made_queue([low_ms] * count, name="low", period_ms=low_ms, closed=True)
        return made_run(made_queue([ms] * n), low)

    return make


@pytest.fixture
def baseline(tmp_path):
    return Baseline(tmp_path / "deep" / "kept", "main")


def kept(baseline, runs):
    for run in runs:
        baseline.store(run, COMMIT)


def findings(baseline, run, **more):
    found = compare_and_store(
        [run], compare=baseline, save=None, rootdir=baseline.path.parent, **more
    )
    return [(finding.status, finding.sentence) for finding in found]


def test_what_is_kept_is_read(baseline, run):
    one = run()
    key = baseline.store(one, COMMIT)
    read = baseline.read()
    (entry,) = read.entries
    assert read.damaged == []
    assert (entry["id"], entry["format"], entry["commit"]) == (key, 2, COMMIT)
    assert entry["run"] == json.loads(json.dumps(one.to_dict()))
    samples = baseline.samples(key)
    assert list(samples) == ["high", "low"]
    assert np.array_equal(samples["high"], one.high.samples)
    assert Baseline(baseline.path.parent, "other").read().entries == []


def test_writers_at_once_lose_nothing(baseline, run, tmp_path):
    """Five processes add 20 lines each, longer than any pipe or page."""
    entry = {"format": 2, "run": run().to_dict(), "padding": "x" * 20_000}
    (tmp_path / "entry.json").write_text(json.dumps(entry))
    baseline.path.parent.mkdir(parents=True)
    writer = f"""
import json, sys
from pathlib import Path
from pytest_xsched.comparison.baseline_store import Baseline
entry = json.loads(Path({str(tmp_path / "entry.json")!r}).read_text())
baseline = Baseline(Path({str(baseline.path.parent)!r}), "main")
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    line = json.dumps(entry | {{"id": f"{{sys.argv[1]}}-{{number}}"}})
    baseline._add(line.encode() + b"\\n")
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", writer, str(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(5)
    ]
    for process in writers:
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in writers:
        process.communicate()
        assert process.returncode == 0

    lines = baseline.path.read_text().splitlines()
    ids = {json.loads(line)["id"] for line in lines}
    assert ids == {f"{name}-{number}" for name in range(5) for number in range(20)}
    assert len(lines) == 100


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line[:-50], "cannot be read (JSONDecodeError)"),
        (lambda line: b"\xff\xfe\x00" + line, "cannot be read"),
        (lambda line: b"[]", "cannot be read (TypeError)"),
        (lambda line: line.replace(b'"format": 2', b'"format": 9'), "has format 9, not 2"),
        (lambda line: line.replace(b'"scenario"', b'"scenery"'), "cannot be read (KeyError)"),
        (lambda line: line.replace(b'"queue_faults"', b'"faults_of"'), "cannot be read (KeyError)"),
        (lambda line: line.replace(b'"id": "', b'"id": "../'), "has the id '../"),
        (lambda line: b'{"format": 99}', "has format 99, not 2"),
    ],
    ids=[
        *("truncated", "not-text", "not-an-entry", "format", "no-scenario", "no-faults", "path"),
        "nothing-but-format",
    ],
)
def test_a_damaged_line_is_reported_and_left_alone(baseline, run, damage, message):
    kept(baseline, [run(), run()])
    first, second = baseline.path.read_bytes().splitlines()
    content = damage(first) + b"\n" + second + b"\n"
    baseline.path.write_bytes(content)

    read = baseline.read()

    assert len(read.entries) == 1
    (sentence,) = read.damaged
    assert sentence.startswith(f"{baseline.path}, line 1 {message}")
    assert baseline.path.read_bytes() == content
    baseline.store(run(), COMMIT)
    assert baseline.path.read_bytes().startswith(content)
    assert len(baseline.read().entries) == 2


def test_a_file_that_ends_in_a_line_is_added_to_behind_it(baseline, run):
    kept(baseline, [run(), run()])
    cut = baseline.path.read_bytes()[:-100]
    baseline.path.write_bytes(cut)
    baseline.store(run(), COMMIT)
    assert baseline.path.read_bytes().startswith(cut + b"\n")
    read = baseline.read()
    assert (len(read.entries), len(read.damaged)) == (2, 1)


def rewrite(baseline, change, seal=True):
    """Change the first line; `change` gets its entry. The checksum is made anew, or stays."""
    first, *rest = baseline.path.read_bytes().splitlines(keepends=True)
    entry = json.loads(first)
    change(entry)
    line = json.dumps(sealed(entry) if seal else entry, allow_nan=True).encode() + b"\n"
    baseline.path.write_bytes(b"".join([line, *rest]))


def a_hundred_times(entry):
    entry["run"]["queues"][0]["p99_ns"] *= 100


def test_figures_are_checked_against_the_samples_that_the_line_names(baseline, run):
    """One line with P99 x 100, copied 20 times, made everything better."""
    kept(baseline, [run()])
    rewrite(baseline, a_hundred_times)
    baseline.path.write_bytes(baseline.path.read_bytes() * 20)

    (damaged, missing) = findings(baseline, run())

    assert damaged == (
        "damaged",
        f"{baseline.path}, line 1 and 19 later lines: each has figures that are not those of its "
        "samples: p99_ns of high is 500000000 in the line, 5000000 by the samples; they are left "
        "as they are",
    )
    assert missing[0] == "no baseline"


@pytest.mark.parametrize(
    ("key", "value"),
    [("throughput_hz", 1.0), ("n", 10**6), ("offered_hz", None), ("p99_ns", True), ("n", 300.0)],
)
def test_each_figure_that_is_used_is_checked(baseline, run, key, value):
    kept(baseline, [run()])
    rewrite(baseline, lambda entry: entry["run"]["queues"][0].update({key: value}))
    (sentence,) = baseline.read().damaged
    assert f"{key} of high is {value!r} in the line, " in sentence


def test_an_id_counts_once(baseline, run):
    kept(baseline, [run(4), run(5)])
    first, second = baseline.path.read_bytes().splitlines(keepends=True)
    baseline.path.write_bytes(first + second + first * 20)
    read = baseline.read()
    assert len(read.entries) == 2
    (sentence,) = read.damaged
    assert sentence.startswith(f"{baseline.path}, line 3 and 19 later lines: each has the id of ")
    assert "the median of 2 stored runs" in findings(baseline, run())[1][1]


def test_a_queue_counts_once_in_a_line(baseline, run):
    kept(baseline, [run()])
    rewrite(baseline, lambda entry: entry["run"]["queues"].extend(entry["run"]["queues"][:1] * 19))
    assert "figures of the queues" in baseline.read().damaged[0]


def test_a_line_that_was_changed_is_found_by_its_checksum(baseline, run):
    kept(baseline, [run()])
    rewrite(baseline, lambda entry: entry["run"].update(origin="elsewhere"), seal=False)
    assert "was changed after it was stored: its checksum is another" in baseline.read().damaged[0]


def nested(levels):
    value = "x"
    for _ in range(levels):
        value = [value]
    return value


STRANGE = [
    *(float("nan"), float("inf"), 10**400, -(10**400), None, True),
    *("text", "\ud800", [], {}, [1], nested(70)),
]


@pytest.mark.parametrize(
    "place",
    [
        *("p99_ns", "throughput_hz", "offered_hz", "name", "saturated", "workload"),
        *("evidence", "faults", "queue_faults", "scenario", "queues", "fingerprint"),
        *("id", "samples", "windows", "windows_ns", "run", "sha256", "cpus_usable", "duration_ns"),
    ],
)
def test_what_no_run_has_costs_its_line_only(baseline, run, place):
    """Nothing in a line breaks the summary: the other line is compared, this one is told."""
    now = run()
    kept(baseline, [now, now])
    content = baseline.path.read_bytes()
    for value in STRANGE:
        baseline.path.write_bytes(content)

        def change(entry, value=value):
            one = entry["run"]
            homes = [
                *(entry, one, one["queues"][0], one["evidence"], one["fingerprint"]),
                *(one["scenario"], entry["windows"]["high"]),
            ]
            home = next(home for home in homes if place in home)
            home[place] = value

        rewrite(baseline, change, seal=value == value and value != float("inf"))
        found = findings(baseline, now)
        assert [status for status, _ in found][-2:] == ["no difference shown"] * 2
        assert all(sentence.encode().isascii() for _, sentence in found)
        damaged = [status for status, _ in found if status == "damaged"]
        of_another_run = place in ("workload", "cpus_usable") and not damaged
        assert ("of 2 stored runs" in found[-1][1]) != (bool(damaged) or of_another_run)


def test_nesting_that_breaks_the_parser_costs_its_line_only(baseline, run):
    kept(baseline, [run()])
    with open(baseline.path, "ab") as file:
        file.write(b"[" * 200_000 + b"]" * 200_000 + b"\n" + b"9" * 10_000 + b"\n\x00\n")
    read = baseline.read()
    assert (len(read.entries), len(read.damaged)) == (1, 3)


def test_escape_sequences_of_a_line_do_not_reach_the_terminal(baseline, run):
    kept(baseline, [run()])
    rewrite(baseline, lambda entry: entry["run"]["evidence"].update(faults=["\x1b[2J gone"]))
    found = findings(baseline, run())
    assert found[0][0] == "damaged"
    assert all(sentence.isprintable() for _, sentence in found)


def test_samples_that_were_changed_are_found_by_content_not_by_length(baseline, run):
    key = baseline.store(run(), COMMIT)
    file = baseline.path.parent / "main.samples" / f"{key}.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (sentence,) = baseline.read().damaged
    assert "whose checksum is not that of the" in sentence


def full_after(count):
    """A disk that has room for so many bytes more, whoever writes."""
    left = [count]
    written = os.write

    def write(fd, data):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = bytes(data)[: left[0]]
        left[0] -= len(data)
        return written(fd, data)

    return write


@pytest.mark.parametrize("room", [0, 100, 5_000, 20_000, 22_000])
def test_a_full_disk_leaves_a_baseline_that_reads_cleanly(baseline, run, monkeypatch, room):
    kept(baseline, [run()])
    before = sorted(path for path in baseline.path.parent.rglob("*") if path.is_file())
    content = baseline.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after(room))
        found = compare_and_store(
            [run()], compare=None, save=baseline, rootdir=baseline.path.parent
        )
    if found[0].status == "saved":
        pytest.skip("the disk had enough room")
    assert found[0].status == "failed" and "No space left" in found[0].sentence
    assert baseline.path.read_bytes() == content
    assert sorted(p for p in baseline.path.parent.rglob("*") if p.is_file()) == before
    assert baseline.read().damaged == []


def test_runs_that_were_stored_before_the_disk_was_full_are_reported(baseline, run, monkeypatch):
    stored = Baseline.store
    calls = []

    def store(self, run, commit):
        calls.append(run)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return stored(self, run, commit)

    monkeypatch.setattr(Baseline, "store", store)
    found = compare_and_store(
        [run(), run(), run()], compare=None, save=baseline, rootdir=baseline.path.parent
    )
    assert [one.status for one in found] == ["saved", "failed", "saved"]


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damaged_samples_are_reported(baseline, run, damage):
    key = baseline.store(run(), COMMIT)
    file = baseline.path.parent / "main.samples" / f"{key}.npz"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-10])
        message = "has damaged samples: "
    else:
        file.unlink()
        message = "has no samples (No such file or directory)"

    (damaged, missing) = findings(baseline, run())

    assert damaged[0] == "damaged" and f"line 1 {message}" in damaged[1]
    assert missing[0] == "no baseline"


def test_few_kept_runs_decide_nothing_and_are_not_green(baseline, run):
    kept(baseline, [run(ms) for ms in (5, 5.1, 4.9, 5, 5)])
    ((high, sentence), (low, throughput)) = findings(baseline, run(50))
    assert (high, low) == ("undecided", "no difference shown")
    assert (
        "high: P99 50 ms against 5 ms, the median of 5 stored runs (4.9 ms to 5.1 ms)" in sentence
    )
    assert ": worse than all of them, but at least 19 stored runs are needed" in sentence
    assert exit_status([{"status": high}]) == 8
    assert findings(baseline, run(1))[0][0] == "no difference shown"
    assert "low: throughput 199.9/s against 199.9/s" in throughput


def test_three_kept_runs_gate_by_a_margin_that_the_user_names(baseline, run):
    kept(baseline, [run(ms) for ms in (5, 5.05)])
    status, sentence = findings(baseline, run(50), regression=0.2)[0]
    assert status == "undecided" and "but at least 3 stored runs are needed" in sentence
    kept(baseline, [run(4.95)])
    for ms, status in ((7.5, "worse"), (5.9, "no difference shown"), (4.1, "no difference shown")):
        assert findings(baseline, run(ms), regression=0.2)[0][0] == status
    assert findings(baseline, run(3), regression=0.2)[0][0] == "better"
    assert findings(baseline, run(5, low_ms=10), regression=0.2)[1][0] == "worse"
    assert findings(baseline, run(5, low_ms=3), regression=0.2)[1][0] == "better"
    assert findings(baseline, run(7.5))[0][0] == "undecided"


def test_kept_runs_that_differ_much_need_more_than_the_margin(baseline, run):
    kept(baseline, [run(ms) for ms in (4, 5, 6)])
    assert findings(baseline, run(7.5), regression=0.2)[0][0] == "no difference shown"
    assert findings(baseline, run(20), regression=0.2)[0][0] == "worse"


def test_the_first_run_that_is_kept_is_green(baseline, run, made_run, made_queue):
    def of(now, save):
        found = compare_and_store(
            [now], compare=baseline, save=save, rootdir=baseline.path.parent, regression=0.2
        )
        return [(one.status, one.sentence) for one in found]

    other = Baseline(baseline.path.parent, "other")
    assert [status for status, _ in of(run(), other)] == ["no baseline", "saved"]
    (first, sentence), (saved, _) = of(run(), baseline)
    assert (first, saved) == ("first", "saved")
    assert sentence.endswith(f"is the first of its kind in {baseline.path}")
    assert exit_status([{"status": first}, {"status": saved}]) == 0
    (again, _), *_ = of(run(), baseline)
    assert again == "no difference shown"
    (changed, sentence), *_ = of(made_run(made_queue([5] * 300)), baseline)
    assert changed == "first" and "the nearest stored run differs in queues" in sentence
    spoilt = made_run(made_queue([5] * 300, name="only"), wrong_results=("it is spoilt",))
    assert [status for status, _ in of(spoilt, baseline)] == ["no baseline", "not saved"]


def test_a_workload_that_changes_each_time_is_said_and_may_fail(baseline, made_run, made_queue):
    """Its runs are the first of their kind again and again, so nothing is ever compared."""

    def of(label, origin="a.py::test", **more):
        now = made_run(made_queue([5] * 300))
        now.origin = origin
        (spec,) = now.scenario.queues
        workload = dataclasses.replace(spec.workload, label=label)
        queues = (dataclasses.replace(spec, workload=workload),)
        now.scenario = dataclasses.replace(now.scenario, queues=queues)
        found = compare_and_store(
            [now], compare=baseline, save=baseline, rootdir=baseline.path.parent, **more
        )
        return found[0].status, found[0].sentence

    assert "nothing but the workload" not in of("one")[1]
    status, sentence = of("two")
    assert status == "first"
    assert (
        "; 1 stored run of this test differs in nothing but the workload, and while it changes "
        "nothing is compared: xsched_first_run=fail makes that exit status 8"
    ) in sentence
    assert "; 2 stored runs of this test differ in" in of("three")[1]
    assert "nothing but the workload" not in of("four", origin="a.py::other")[1]
    assert of("five", first_passes=False)[0] == "no baseline"
    assert of("five", first_passes=False)[0] == "no difference shown"


def test_a_run_that_may_be_worse_is_kept_and_says_so(baseline, run):
    """If it was not kept, only the best runs would be, and equal builds would be worse."""
    kept(baseline, [run(5)])
    given = {"compare": baseline, "save": baseline, "rootdir": baseline.path.parent}
    undecided, _, saved = compare_and_store([run(7.5)], **given)
    assert (undecided.status, saved.status) == ("undecided", "saved")
    assert undecided.sentence.endswith("; by chance 1 of 2 equal runs is")
    assert saved.sentence.endswith(
        ", although it may be worse, because chance does that to equal builds, too; if the build "
        "is to blame, delete that line"
    )
    assert len(baseline.read().entries) == 2


def test_a_run_that_is_worse_does_not_hide_that_the_next_one_is(baseline, run):
    kept(baseline, [run(ms) for ms in (5, 5.05, 4.95)])
    given = {"compare": baseline, "rootdir": baseline.path.parent, "regression": 0.2}
    for _ in range(2):
        found = compare_and_store([run(7.5), run(5)], save=baseline, **given)
        saved = [one for one in found if "saved" in one.status]
        assert found[0].status == "worse" and [one.status for one in saved] == [
            "not saved",
            "saved",
        ]
        assert "worse than the stored runs" in saved[0].sentence
    other = Baseline(baseline.path.parent, "other")
    assert compare_and_store([run(7.5)], save=other, **given)[-1].status == "saved"


def test_many_kept_runs_show_one(baseline, run):
    kept(baseline, [run(5 + i / 100) for i in range(19)])
    cases = [
        (run(6), "worse"),
        (run(4), "better"),
        (run(5.2), "no difference shown"),  # above all of them, but by less than a tenth
        (run(5.1), "no difference shown"),
    ]
    for now, status in cases:
        assert findings(baseline, now)[0][0] == status
    assert findings(baseline, run(5, low_ms=10))[1][0] == "worse"
    assert findings(baseline, run(5, low_ms=3))[1][0] == "better"


def test_nineteen_kept_runs_are_the_fewest_that_show_a_difference(baseline, run):
    kept(baseline, [run(5)] * 18)
    assert findings(baseline, run(50))[0][0] == "undecided"
    kept(baseline, [run(5)])
    assert findings(baseline, run(50))[0][0] == "worse"


def test_a_queue_that_became_saturated_is_worse_than_nineteen_kept_runs(baseline, run):
    def saturated():
        one = run()
        one.queues["high"].saturated = True
        one.evidence.queue_faults["high"] = ("high is saturated",)
        return one

    kept(baseline, [run(5)] * 18)
    assert findings(baseline, saturated())[0][0] == "not compared"
    kept(baseline, [run(5)])
    status, sentence = findings(baseline, saturated())[0]
    assert status == "worse"
    assert sentence.endswith(": high: high is saturated; 19 stored runs have its P99: worse")
    kept(baseline, [saturated()])
    assert findings(baseline, saturated())[0][0] == "not compared"


def test_one_kept_run_that_was_as_bad_shows_no_difference(baseline, run):
    kept(baseline, [*[run(5)] * 18, run(50)])
    assert findings(baseline, run(50))[0][0] == "no difference shown"
    assert findings(baseline, run(51))[0][0] == "worse"


@pytest.mark.parametrize(
    "other", [{"scheduler": "native", "policy": "none"}, {"policy": "none"}, {"device": "cpu"}]
)
def test_runs_of_another_scheduler_or_device_are_no_baseline(baseline, run, other):
    elsewhere = run()
    elsewhere.scenario = dataclasses.replace(elsewhere.scenario, **other)
    kept(baseline, [elsewhere] * 20)
    assert {status for status, _ in findings(baseline, run(50))} <= {
        "no baseline",
        "not applicable",
    }


def test_samples_that_changed_and_kept_their_length_are_damaged(baseline, run):
    key = baseline.store(run(), COMMIT)
    file = baseline.path.parent / "main.samples" / f"{key}.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    read = baseline.read()
    assert (len(read.entries), len(read.damaged)) == (0, 1)


def test_a_figure_that_only_one_side_has_is_not_green(baseline, run):
    few = "a P99 needs 299 requests, not 200"
    kept(baseline, [run()])
    (high, low) = findings(baseline, run(n=200))
    assert high[0] == "not compared"
    assert high[1].endswith(f": high is not compared: {few}; 1 stored run has its P99")
    assert low[0] == "no difference shown"

    other = Baseline(baseline.path.parent, "other")
    kept(other, [run(n=200)])
    (high, low) = findings(other, run())
    assert high[0] == "not compared"
    assert high[1].endswith(f": high is not compared: no stored run has its P99: {few}")
    # Those without a figure are not among those that it is compared with.
    kept(other, [run(9)])
    assert "9 ms, the median of 1 stored run (9 ms to 9 ms)" in findings(other, run())[0][1]


def test_a_figure_that_neither_side_has(baseline, run, made_run, made_queue):
    kept(baseline, [run(n=4), made_run(made_queue([5] * 4))])
    ((status, sentence), (low, _)) = findings(baseline, run(n=4))
    assert (status, low) == ("no figure", "no difference shown")
    assert sentence.endswith(
        "high is not compared: a P99 needs 299 requests, not 4; no stored run has its P99 either"
    )
    # Nothing of this run was compared.
    ((status, _),) = findings(baseline, made_run(made_queue([5] * 4)))
    assert status == "not compared"


def test_one_bad_stored_run_of_many_does_not_hide_what_is_worse(baseline, run):
    """The gate was open up to the slowest run that was ever stored."""
    kept(baseline, [run(500), *(run() for _ in range(37))])
    assert findings(baseline, run(15))[0][0] == "no difference shown"
    kept(baseline, [run()])  # the 39th: two of 40 runs are 5 %, as one of 20 is
    assert findings(baseline, run(15))[0][0] == "worse"
    assert findings(baseline, run())[0][0] == "no difference shown"
    kept(baseline, [run(500)])
    assert findings(baseline, run(15))[0][0] == "no difference shown"


@pytest.mark.parametrize(("n", "metric"), [(150, "P95"), (40, "P50")])
def test_too_few_requests_for_a_p99_are_compared_by_a_lower_percentile(baseline, run, n, metric):
    """A gate of runs of 150 requests, those of the README, saw nothing of its queue."""
    kept(baseline, [run(n=n) for _ in range(RUNS_NEEDED)])
    ((status, sentence), _) = findings(baseline, run(15, n=n))
    assert status == "worse"
    assert f": high: {metric} 15 ms against 5 ms, the median of 19 stored runs" in sentence
    assert findings(baseline, run(n=n))[0][0] == "no difference shown"


def test_another_machine_and_another_scenario(
    baseline, run, made_fingerprint, made_queue, made_run
):
    elsewhere = run()
    elsewhere.fingerprint = made_fingerprint(driver_version="13.0")
    kept(baseline, [elsewhere])

    ((status, sentence),) = findings(baseline, run())
    assert status == "not applicable"
    assert sentence.endswith(': devices.0.driver_version: "13.0" against nothing')
    ((status, sentence),) = findings(baseline, made_run(made_queue([5] * 300)))
    assert status == "no baseline"

    # Beside a run of this machine, those of others do not matter.
    kept(baseline, [run()])
    assert [status for status, _ in findings(baseline, run())] == ["no difference shown"] * 2


def test_where_nothing_is_alike_the_nearest_is_named(baseline, run, made_run, made_queue):
    ((status, sentence),) = findings(baseline, run())
    assert status == "no baseline"
    assert sentence.endswith(f"in {baseline.path}: no readable run is stored there")

    def longer(seconds):
        one = run()
        one.scenario = dataclasses.replace(one.scenario, duration_ns=seconds * 10**9)
        return one

    kept(baseline, [longer(40), longer(90), made_run(made_queue([5] * 300, name="x", closed=True))])
    ((status, sentence),) = findings(baseline, run())
    assert status == "no baseline"
    # Of two that are as near the last.
    assert sentence.endswith(
        ": the nearest stored run differs in duration_ns: 90000000000 against 60000000000"
    )
    ((_, sentence),) = findings(baseline, made_run(made_queue([5] * 300, name="y")))
    assert sentence.count("; ") == 5
    assert re.search(r"; and \d+ more$", sentence)


def test_a_run_without_evidence_is_not_kept(baseline, made_run, made_queue):
    broken = made_run(made_queue([5] * 300, failed=1))
    (finding,) = compare_and_store(
        [broken], compare=None, save=baseline, rootdir=baseline.path.parent
    )
    assert finding.status == "not saved"
    assert "1 commands of high failed" in finding.sentence
    assert not baseline.path.exists()


def test_exit_status():
    def of(*statuses):
        return exit_status([{"status": status} for status in statuses])

    assert of() == of("no difference shown", "better", "saved", "damaged", "no figure") == 0
    assert of("saved", "not applicable") == of("no baseline") == of("not compared") == 8
    assert of("not applicable", "worse") == of("failed") == 1
