"""--xsched-trace: every slice is one of a sample or of a command; the bytes are always the same.

Chrome's JSON is read as JSON, Perfetto's file with Perfetto's own protos.
"""

import itertools
import json
import subprocess
import sys

import pytest

GOLDEN = """\
{"displayTimeUnit": "ns", "traceEvents": [
{"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": \
"test_it.py::test_it: builtin (hpf) on sim, seed 0"}},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "windows"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 1, "args": {"sort_index": 1}},
{"name": "measured window 1", "ph": "X", "ts": 0.0, "dur": 20000.0, "pid": 1, "tid": 1, "args": {}},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 2, "args": {"name": "policy"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 2, "args": {"sort_index": 2}},
{"name": "suspend low", "ph": "i", "s": "t", "ts": 1000.0, "pid": 1, "tid": 2},
{"name": "resume low", "ph": "i", "s": "t", "ts": 5000.0, "pid": 1, "tid": 2},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 3, "args": {"name": "high: requests"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 3, "args": {"sort_index": 3}},
{"name": "request 0", "ph": "X", "ts": 1000.0, "dur": 4000.0, "pid": 1, "tid": 3, "args": \
{"submitted_ns": 1000000, "launched_ns": 1000000, "completed_ns": 5000000}},
{"name": "request", "cat": "request", "pid": 1, "tid": 3, "ph": "s", "id": 1, "ts": 1000.0},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 4, "args": {"name": "high: commands"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 4, "args": {"sort_index": 4}},
{"name": "spin('1ms')", "ph": "X", "ts": 4000.0, "dur": 1000.0, "pid": 1, "tid": 4, "args": \
{"request": 0, "command": 0, "launched_ns": 1000000, "completed_ns": 5000000}},
{"name": "request", "cat": "request", "pid": 1, "tid": 4, "ph": "f", "bp": "e", "id": 1, "ts": \
4999.999},
{"name": "high: commands in flight", "ph": "C", "ts": 1000.0, "pid": 1, "args": {"n": 1}},
{"name": "high: commands in flight", "ph": "C", "ts": 5000.0, "pid": 1, "args": {"n": 0}},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 6, "args": {"name": "low: requests"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 6, "args": {"sort_index": 6}},
{"name": "request 0", "ph": "X", "ts": 0.0, "dur": 9000.0, "pid": 1, "tid": 6, "args": \
{"submitted_ns": 0, "launched_ns": 0, "completed_ns": 9000000}},
{"name": "request", "cat": "request", "pid": 1, "tid": 6, "ph": "s", "id": 2, "ts": 0.0},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 7, "args": {"name": "low: commands"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 7, "args": {"sort_index": 7}},
{"name": "spin('4ms')", "ph": "X", "ts": 0.0, "dur": 4000.0, "pid": 1, "tid": 7, "args": \
{"request": 0, "command": 0, "launched_ns": 0, "completed_ns": 9000000}},
{"name": "spin('4ms')", "ph": "X", "ts": 5000.0, "dur": 4000.0, "pid": 1, "tid": 7, "args": \
{"request": 0, "command": 1, "launched_ns": 0, "completed_ns": 9000000}},
{"name": "request", "cat": "request", "pid": 1, "tid": 7, "ph": "f", "bp": "e", "id": 2, "ts": \
8999.999},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 8, "args": {"name": "low: suspended"}},
{"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": 8, "args": {"sort_index": 8}},
{"name": "suspended by the policy", "ph": "X", "ts": 1000.0, "dur": 4000.0, "pid": 1, "tid": 8, \
"args": {}},
{"name": "low: commands in flight", "ph": "C", "ts": 0.0, "pid": 1, "args": {"n": 2}},
{"name": "low: commands in flight", "ph": "C", "ts": 9000.0, "pid": 1, "args": {"n": 0}}
]}
"""

RUN = """
from pytest_xsched import SimModel, replay, spin

def test_it(xsched):
    run = xsched.run(
        xsched.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms"]), threshold=2),
        xsched.queue(
            "low", spin("4ms", layers=2), priority=1, arrivals=replay(["0s"]), threshold=2
        ),
        duration="20ms",
        warmup="0s",
        sim=SimModel(launch_ns=0, priority=True),
    )
    run.high.assert_no_errors()
"""

MIX = """
import pathlib, json
from pytest_xsched import matmul, poisson, spin

def test_mix(xsched):
    run = xsched.run(
        xsched.queue("high", matmul(512), priority=10, arrivals=poisson("100/s")),
        xsched.queue("low", spin("2ms", layers=5), priority=1),
        duration="2s",
    )
    samples = {name: queue.samples.tolist() for name, queue in run.queues.items()}
    pathlib.Path("samples.json").write_text(json.dumps(samples))
    run.high.assert_max_below("1us")
"""


def events_of(path):
    return json.loads(path.read_text())["traceEvents"]


def test_golden_bytes(pytester, sim):
    pytester.makepyfile(test_it=RUN)
    result = sim("--xsched-trace=t.json")
    assert result.ret == 0
    assert (pytester.path / "t.json").read_text() == GOLDEN
    result.stdout.fnmatch_lines(["timeline of 1 run: *t.json (open it in *ui.perfetto.dev)"])


def test_every_slice_is_one_of_a_sample(pytester, sim):
    pytester.makepyfile(test_mix=MIX)
    assert sim("--xsched-trace=t.json").ret == 1
    samples = json.loads((pytester.path / "samples.json").read_text())
    events = events_of(pytester.path / "t.json")
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    for name, rows in samples.items():
        lanes = {tid for tid, track in names.items() if track.startswith(f"{name}: requests")}
        drawn = {
            int(e["name"].split()[1]): (round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000))
            for e in events
            if e["ph"] == "X" and e["tid"] in lanes
        }
        assert drawn == {i: (row[0], row[3]) for i, row in enumerate(rows)}
        (track,) = (tid for tid, track in names.items() if track == f"{name}: commands")
        commands = [e for e in events if e["ph"] == "X" and e["tid"] == track]
        ends = [e["ts"] + e["dur"] for e in commands]
        assert all(e["ts"] >= end - 1e-9 for e, end in zip(commands[1:], ends, strict=False))
        last = {e["args"]["request"]: e["args"]["completed_ns"] for e in commands}
        assert last == {i: row[3] for i, row in enumerate(rows)}
        starts = {e["id"]: e for e in events if e["ph"] == "s" and e["tid"] in lanes}
        finishes = [e for e in events if e["ph"] == "f" and e["tid"] == track]
        assert len(starts) == len(finishes) == len(rows)
        assert all(starts[e["id"]]["ts"] <= e["ts"] for e in finishes)
        flight = [e for e in events if e["ph"] == "C" and e["name"].startswith(f"{name}: ")]
        assert flight[-1]["args"]["n"] == 0
        assert all(e["args"]["n"] >= 0 for e in flight)
    # Slices of one track never overlap.
    by_track = {}
    for e in events:
        if e["ph"] == "X":
            by_track.setdefault(e["tid"], []).append((round(e["ts"] * 1e3), round(e["dur"] * 1e3)))
    for spans in by_track.values():
        assert all(a + d <= b for (a, d), (b, _) in itertools.pairwise(spans))


def test_perfetto_has_the_same_slices(pytester, sim):
    pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    pytester.makepyfile(test_mix=MIX)
    assert sim("--xsched-trace=t.json").ret == 1
    assert sim("--xsched-trace=t.pftrace").ret == 1
    trace = pb2.Trace.FromString((pytester.path / "t.pftrace").read_bytes())
    names, found, counts, instants, arrows = {}, [], [], [], [set(), set()]
    open_at = {}
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            names[packet.track_descriptor.uuid] = packet.track_descriptor.name
            continue
        event, ns = packet.track_event, packet.timestamp
        track = names[event.track_uuid]
        arrows[0].update(event.flow_ids)
        arrows[1].update(event.terminating_flow_ids)
        if event.type == event.TYPE_SLICE_BEGIN:
            facts = {
                a.name: a.string_value if a.HasField("string_value") else a.int_value
                for a in event.debug_annotations
            }
            open_at[track] = event.name, ns, facts
        elif event.type == event.TYPE_SLICE_END:
            name, since, facts = open_at.pop(track)
            found.append((track, name, since, ns - since, facts))
        elif event.type == event.TYPE_COUNTER:
            counts.append((track, ns, event.counter_value))
        else:
            instants.append((track, event.name, ns))
    assert arrows[0] == arrows[1] != set()
    events = events_of(pytester.path / "t.json")
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert found == [
        (
            threads[e["tid"]],
            e["name"],
            round(e["ts"] * 1000),
            round(e["dur"] * 1000),
            e["args"],
        )
        for e in events
        if e["ph"] == "X"
    ]
    assert counts == [
        (e["name"], round(e["ts"] * 1000), e["args"]["n"]) for e in events if e["ph"] == "C"
    ]
    assert instants == [
        (threads[e["tid"]], e["name"], round(e["ts"] * 1000)) for e in events if e["ph"] == "i"
    ]


def test_on_failure_writes_only_runs_that_failed(pytester, sim):
    pytester.makepyfile(test_it=RUN)
    assert sim("--xsched-trace=on-failure").ret == 0
    assert not (pytester.path / "xsched-trace.json").exists()
    pytester.makepyfile(test_mix=MIX)
    assert sim("--xsched-trace=on-failure").ret == 1
    (title,) = (
        e["args"]["name"]
        for e in events_of(pytester.path / "xsched-trace.json")
        if e["name"] == "process_name"
    )
    assert title.startswith("test_mix.py::test_mix: ")


def test_runs_of_xdist_workers_are_there(pytester, sim):
    pytest.importorskip("xdist")
    pytester.makepyfile(test_it=RUN, test_also=RUN)
    assert sim("--xsched-trace=t.json", "-p", "xdist", "-n2").ret == 0
    titles = {
        e["args"]["name"]
        for e in events_of(pytester.path / "t.json")
        if e["name"] == "process_name"
    }
    assert len(titles) == 2


def test_nasty_names_stay_harmless(pytester, sim):
    """A test id with markup, quotes, an escape sequence and a line end; and a kernel's name."""
    pytester.makepyfile(
        test_nasty="""
        import pytest
        from pytest_xsched import spin

        @pytest.mark.parametrize("x", [1], ids=['</script><b onload="x">'])
        def test_it(xsched, x):
            run = xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="1s")
            run.high.assert_no_errors()
        """
    )
    assert sim("--xsched-trace=t.json").ret == 0
    text = (pytester.path / "t.json").read_text()
    assert "<" not in text
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    title = events_of(pytester.path / "t.json")[0]["args"]["name"]
    assert '</script><b onload="x">' in title


def test_escape_sequences_are_shown_and_not_obeyed():
    from pytest_xsched.reporting.trace_tracks import run_title

    origin = "test_it.py::test_it[\x1b]0;owned\x07\nnext\u202e]"
    shown = run_title(
        {"origin": origin, "scheduler": "native", "policy": "none", "device": "sim", "seed": 0}
    )
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07\\nnext" in shown


def test_the_title_of_a_run_says_how_many_commands_are_left_out():
    from pytest_xsched.reporting.trace_file import trace_file

    timeline = {
        **{"origin": "test_it.py::test_it", "scheduler": "native", "policy": "none"},
        **{"device": "cpu", "seed": 0, "windows": [[0, 10**9]], "noisy": [], "held_down": []},
        **{"queues": [], "left_out": 7},
    }
    said = b"test_it.py::test_it: native on cpu, seed 0 (7 commands are left out)"
    assert said in trace_file("t.json", [timeline])
    assert b"left out" not in trace_file("t.json", [{**timeline, "left_out": 0}])
    pytest.importorskip("perfetto")
    assert said in trace_file("t.pftrace", [timeline])


def test_a_nasty_file_name_is_shown_and_not_obeyed(pytester, sim):
    pytester.makepyfile(test_it=RUN)
    name = "a\x1b]0;owned\x07.json"
    result = sim(f"--xsched-trace={name}")
    assert result.ret == 0
    assert (pytester.path / name).exists()
    (line,) = (line for line in result.outlines if line.startswith("timeline of 1 run: "))
    assert "a\\x1b]0;owned\\x07.json" in line
    assert "\x1b" not in line


def test_a_missing_extra_is_one_sentence_before_anything_is_measured(pytester, sim):
    pytester.makeconftest(
        """
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = (
            lambda name, *more: None if name == "perfetto" else real(name, *more)
        )
        """
    )
    pytester.makepyfile(test_it=RUN)
    result = sim("--xsched-trace=t.pftrace")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--xsched-trace: 't.pftrace' is a file of Perfetto. The package 'perfetto' is not*"]
    )
    assert sim("--xsched-trace=t.json").ret == 0


def test_without_the_option_nothing_of_perfetto_is_imported(pytester, fresh):
    pytester.makepyfile(
        test_it=RUN
        + """
    import sys
    assert not [name for name in sys.modules if name.partition(".")[0] == "perfetto"]
"""
    )
    assert fresh("--xsched-device=sim").ret == 0
    check = "import pytest_xsched.reporting.trace_file, sys; assert 'perfetto' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_file_that_cannot_be_written_is_named_before_anything_is_measured(pytester, sim):
    pytester.makepyfile(test_it=RUN)
    result = sim("--xsched-trace=nowhere/t.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--xsched-trace: *nowhere*"])
