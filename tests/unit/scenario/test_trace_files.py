"""Files of recorded requests: the formats that are known, own columns, parts, and what is wrong."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pytest_xsched
from pytest_xsched import trace_file
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import known_count, plain_arrivals, read_arrivals
from pytest_xsched.scenario.arrival_times import arrival_times, request_sizes
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.trace_formats import Columns, read_trace

TRACES = Path(__file__).resolve().parents[2] / "traces"
MS, S = 10**6, 10**9


@pytest.fixture
def written(tmp_path):
    def write(text, name="trace.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "times_ms", "tokens_in", "tokens_out"),
    [
        (
            "azure_2023.csv",
            [0, 300, 500.0001, 3319.41, 6000],
            [4000, 3100, 110, 7400, 1200],
            [10, 8, 27, 14, 9],
        ),
        ("azure_2024.csv", [0, 499.07, 1749.07, 2499.07], [2400, 640, 18, 9000], [15, 200, 3, 77]),
        ("azure_2025.csv", [0, 500, 2000], [1500, 300, 4100], [90, 12, 44]),
        ("burstgpt.csv", [0, 40_000, 40_000, 113_500], [470, 1080, 417, 1360], [18, 230, 0, 189]),
        ("mooncake.jsonl", [0, 0, 3052, 6100], [6700, 7300, 7200, 2200], [500, 490, 794, 316]),
        ("bailian.jsonl", [0, 103, 61_103], [520, 80, 700], [130, 32, 12]),
        ("genai.csv", [0, 2000, 2000], None, None),
    ],
)
def test_excerpts_of_published_formats_are_read_as_they_are(name, times_ms, tokens_in, tokens_out):
    load = trace_file(TRACES / name)
    assert load.times_ns.tolist() == [round(ms * MS) for ms in times_ms]
    sizes = {key: size.tolist() for key, size in load.sizes().items()}
    expected = {"tokens_in": tokens_in, "tokens_out": tokens_out} if tokens_in else {}
    assert sizes == expected
    assert load.length_ns == (round(times_ms[-1] * MS) // S + 1) * S and load.rate_hz is None


def test_a_part_begins_at_0_and_may_be_sent_faster_and_later():
    path = TRACES / "burstgpt.csv"
    part = trace_file(path, begin="40s", speed=2, offset="1s")
    assert part.times_ns.tolist() == [S, S, S + 73_500 * MS // 2]
    assert part.sizes()["tokens_in"].tolist() == [1080, 417, 1360]
    assert trace_file(path, duration="40s").times_ns.tolist() == [0]  # its end belongs to the next
    assert trace_file(path, begin="1s", duration="100s").times_ns.tolist() == [0, 0]
    assert trace_file(path, speed=3).times_ns.tolist() == [0, 40 * S // 3, 40 * S // 3, 37833333333]


def test_the_run_takes_what_lies_in_its_window_after_the_warm_up():
    load = trace_file(TRACES / "azure_2023.csv")
    times = arrival_times(load, warmup_ns=S, duration_ns=3 * S, seed=1, name="high")
    assert times.tolist() == [S, S + 300 * MS, S + 500_000_100]
    assert request_sizes(load, duration_ns=3 * S)["tokens_out"].tolist() == [10, 8, 27]
    assert known_count(load, warmup_ns=S, duration_ns=3 * S, name="high") == 3
    late = trace_file(TRACES / "azure_2023.csv", offset="5s")
    with pytest.raises(ScenarioError, match="the first request of its trace comes after 5s, "):
        known_count(late, warmup_ns=S, duration_ns=3 * S, name="high")


def test_rows_in_any_order_are_sorted_with_their_sizes(written):
    path = written("when;in;out\n30;3;4\n10;1;2\n20;5;6\n10;7;8\n")
    load = trace_file(path, time="when", unit="ms", tokens_in="in", tokens_out="out")
    assert load.times_ns.tolist() == [0, 0, 10 * MS, 20 * MS]
    assert load.sizes()["tokens_in"].tolist() == [1, 7, 5, 3]


@pytest.mark.parametrize(
    "text",
    [
        '\ufeffat,n\r\n"1",5\r\n\r\n2,6\r\n',
        "at\tn\n1\t5\n2\t6\n",
        " at , n \n 1, 5\n 2,6",
        '\n{"at": 1, "n": 5}\n\n{"at": 2, "n": 6}\n',
        '{"n": 5, "at": "1", "more": {"at": 9}}\n{"at": 2, "n": 6.0, "note": "\\"at\\": 7"}\n',
        '{"at": 1e0, "n": 5}\n{"at": 2.0, "n": 6}\n',
    ],
)
def test_other_ways_to_write_the_same_trace(written, text):
    for packed in (False, True):
        raw = gzip.compress(text.encode()) if packed else text
        load = trace_file(written(raw), time="at", unit="s", tokens_in="n")
        assert load.times_ns.tolist() == [0, S]
        assert {key: size.tolist() for key, size in load.sizes().items()} == {"tokens_in": [5, 6]}


def test_moments_in_several_time_zones_are_one_order(written):
    rows = [
        "2024-01-01T01:00:00+01:00",
        "2024-01-01 00:00:01",
        "2023-12-31T19:00:02.5-0500",
        "2024-01-01T00:00:03Z",
    ]
    load = trace_file(written("\n".join(["t", *rows])), time="t")
    assert load.times_ns.tolist() == [0, S, 2500 * MS, 3 * S]


def test_seconds_since_1970_are_exact_to_the_nanosecond(written):
    rows = ["1700000000.000000001", "1700000000.25", "1700000001", "1700000001.0000000015"]
    load = trace_file(written("\n".join(["t", *rows])), time="t", unit="s")
    assert load.times_ns.tolist() == [0, 249_999_999, 999_999_999, 1_000_000_001]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 89 * 10**14), st.lists(st.integers(0, 3 * 10**14), min_size=1, max_size=20))
def test_numbers_of_any_size_are_exact(tmp_path_factory, since, after):
    microseconds = [since + one for one in after]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    for unit, texts in (
        ("us", [str(n) for n in microseconds]),
        ("s", [f"{n // 10**6}.{n % 10**6:06d}" for n in microseconds]),
        ("ms", [f"{n // 10**3}.{n % 10**3:03d}" for n in microseconds]),
    ):
        path.write_text("\n".join(["t", *texts]))
        found = read_trace(path, Columns(time="t", unit=unit), "t").times_ns.tolist()
        assert found == [1000 * (n - min(microseconds)) for n in sorted(microseconds)]


def test_the_scenario_holds_a_reference_and_no_times(written):
    path = written((TRACES / "mooncake.jsonl").read_text(), "mooncake.jsonl")
    load = trace_file(path, begin="1s", duration="10s", speed=2)
    data = plain_arrivals(load)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert data == {
        "kind": "trace_file",
        "path": str(path),
        "sha256": digest,
        "time": "timestamp",
        "unit": "ms",
        "tokens_in": "input_length",
        "tokens_out": "output_length",
        "begin_ns": S,
        "duration_ns": 10 * S,
        "offset_ns": 0,
        "speed": 2.0,
    }
    assert read_arrivals(data) == load == pickle.loads(pickle.dumps(load))
    assert pickle.loads(pickle.dumps(load)).times_ns.tolist() == load.times_ns.tolist()
    assert eval(python_text(load), vars(pytest_xsched) | {"trace_file": trace_file}) == load
    elsewhere = written(path.read_bytes(), "copy.jsonl")
    assert trace_file(elsewhere, begin="1s", duration="10s", speed=2) == load
    path.write_text(path.read_text().replace("6100", "6200"))
    with pytest.raises(ScenarioError, match="is another file than before: its SHA-256 begins with"):
        read_arrivals(data)
    with pytest.raises(ScenarioError, match="is another file than before"):
        trace_file(path, sha256=digest[:8].upper())


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("", {}, "has no header that names columns"),
        (AZURE, {}, "holds no request"),
        (
            "a,b\n1,2\n",
            {},
            "has the columns 'a', 'b', which are those of no known trace; name",
        ),
        ("a,b\n1,2\n", {"time": "c", "unit": "s"}, "has no column 'c'; it has 'a', 'b'"),
        ("a,b\n1,2\n", {"time": "a"}, 'a 1 has no unit; write unit="s" or unit="ms"'),
        (
            AZURE + "2024-01-01 00:00:00,1,2\n\n2024-01-01 00:00:0x,3,4\n",
            {},
            "line 4: TIMESTAMP '2024-01-01 00:00:0x' is no time",
        ),
        (
            AZURE + "2024-01-01 00:00:00,1,2\n2024-01-01 00:00:01,-3,4\n",
            {},
            "line 3: ContextTokens '-3' is no count of tokens",
        ),
        (AZURE + "2024-01-01 00:00:00,1,x\n", {}, "line 2: GeneratedTokens 'x' is no count of"),
        (AZURE + "2024-01-01 00:00:00,1,\n", {}, "line 2: GeneratedTokens '' is no count of"),
        (
            AZURE + "2024-01-01 00:00:00,1,2\n2024-01-01 00:00:01\n",
            {},
            "line 3 has 1 fields, not 3",
        ),
        ("t\n1\nnan\n", {"time": "t", "unit": "s"}, "line 3: t 'nan' is no time"),
        ("t\n1\n99e99\n", {"time": "t", "unit": "s"}, "line 3: t '99e99' is no time"),
        ("t\n0\n9e8\n", {"time": "t", "unit": "s"}, "takes longer than ten years"),
        ('{"timestamp": 1, \n', {}, "line 1 is not JSON"),
        (
            '{"timestamp": 1, "input_length": 2, "output_length": 3}\n{"timestamp": 1}\n',
            {},
            "line 2 has no 'input_length'",
        ),
        (
            '{"timestamp": 1, "input_length": 2, "output_length": 3}\nnonsense\n',
            {},
            "line 2 is not JSON",
        ),
        (b"TIMESTAMP,ContextTokens\n\xff\xfe", {"tokens_out": "ContextTokens"}, "is no UTF-8"),
        (b"\x1f\x8bno gzip", {}, "cannot be read"),
        ("t\n1\n2\n", {"time": "t", "unit": "min"}, "unit 'min' is unknown; known: s, ms, us, ns"),
        ("t\n1\n2\n", {"time": "t", "unit": "s", "begin": "5s"}, "has no request from 5s on; its "),
        ("t\n1\n2\n", {"time": "t", "unit": "s", "speed": 0}, "speed 0 is outside"),
        ("t\n1\n2\n", {"time": "t", "unit": "s", "speed": 1e-12}, "makes it longer than ten years"),
        ("t\n1\n2\n", {"time": "t", "unit": "s", "begin": 5}, "begin of trace_file: 5 has no unit"),
        ("t\n1\n2\n", {"time": 7}, "time 7 is not a text"),
        ("t\n1\n2\n", {"sha256": "abc"}, "sha256 'abc' is not 8 to 64 hex digits"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(written, text, more, words):
    with pytest.raises(ScenarioError) as error:
        trace_file(written(text), **more)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_none(tmp_path):
    for path, words in (
        (tmp_path / "no.csv", "there is no such file; Path(__file__).with_name('no.csv')"),
        (tmp_path, "is not a file"),
        (7, "trace_file: 7 is not a path"),
        ("$NO_SUCH_VARIABLE/x.csv", "names the variable NO_SUCH_VARIABLE"),
    ):
        with pytest.raises(ScenarioError) as error:
            trace_file(path)
        assert words in str(error.value)


def test_parts_of_a_large_file_are_one_trace(written, monkeypatch):
    from pytest_xsched.scenario import trace_formats

    monkeypatch.setattr(trace_formats, "_ROWS", 7)
    monkeypatch.setattr(trace_formats, "_CHARACTERS", 100)
    rows = "".join(f"{i},{i}\n" for i in range(50))
    lines = "".join(f'{{"t": {i}, "n": {i}}}\n' for i in range(50))
    for path in (written(f"t,n\n{rows}"), written(lines, "t.jsonl")):
        load = trace_file(path, time="t", unit="s", tokens_in="n")
        assert load.times_ns.tolist() == [i * S for i in range(50)]
        assert load.sizes()["tokens_in"].tolist() == list(range(50))
    with pytest.raises(ScenarioError, match="line 33: t 'x' is no time"):
        trace_file(written(f"t,n\n{rows}".replace("\n31,", "\nx,")), time="t", unit="s")
    with pytest.raises(ScenarioError, match="line 32 has no 't'"):
        trace_file(written(lines.replace('"t": 31', '"u": 31')), time="t", unit="s")
