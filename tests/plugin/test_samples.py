"""--xsched-samples: every request of every run in one CSV file, as `to_frame` has them."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

TESTS = """
    @pytest.mark.parametrize("limit", ["1h"], ids=['a,"b'])
    def test_it(run, limit):
        run.high.assert_p99_below(limit)

    def test_saturated(xsched):
        xsched.run(xsched.queue("high", spin("20ms"), rate="100/s"), duration="1s", drain="0s")

    def test_compared(xsched, load):
        xsched.compare(*load, episodes=2, duration="1s")

    def test_compared_afterwards(xsched, load):
        one = xsched.run(*load, duration="1s", scheduler="native")
        other = xsched.run(*load, duration="1s")
        xsched.compare_runs(one, other)
    """
KEEP = """
    import pytest

    @pytest.fixture(scope="session", autouse=True)
    def frames(xsched):
        yield
        for number, run in enumerate(xsched.runs):
            run.to_frame().to_pickle(f"run-{number}.pickle")
    """


def rows_of(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_pandas_reads_what_to_frame_returns(load, sim, pytester):
    pandas = pytest.importorskip("pandas")
    pytester.makeconftest(KEEP)
    load(TESTS)

    sim("--xsched-samples=out.csv.gz", "--xsched-json=out.json")

    frame = pandas.read_csv("out.csv.gz")
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert len(runs) == 4
    for number, run in enumerate(runs):
        mine = frame[frame["run"] == number].reset_index(drop=True)
        assert set(mine["test"]) == {run["origin"]}
        assert set(mine["scheduler"]) == {run["scheduler"]}
        assert set(mine["comparison"]) == {-1} and mine["arm"].isna().all()
        expected = pandas.read_pickle(f"run-{number}.pickle")
        pandas.testing.assert_frame_equal(mine[list(expected.columns)], expected, check_dtype=False)


def test_the_runs_of_a_comparison_have_their_arm_and_episode(load, sim, pytester):
    load(TESTS)

    sim("--xsched-samples=out.csv")

    rows = rows_of(pytester.path / "out.csv")
    compared = [row for row in rows if row["run"] == "-1"]
    arms = {(row["comparison"], row["arm"], row["episode"]) for row in compared}
    assert arms == {
        ("0", arm, episode)
        for arm in ("native", "builtin", "native again")
        for episode in ("1", "2")
    }
    assert {row["scheduler"] for row in compared if row["arm"] == "native again"} == {"native"}
    # A request that never completed is above every limit; one of the warm-up is not measured.
    never = [row for row in rows if row["completed_ns"] == "-1"]
    assert {row["latency_ns"] for row in never} == {str(2**63 - 1)}
    assert {row["measured"] for row in rows} == {"True", "False"}
    assert all(row["test"] for row in rows)
    assert any(row["test"] == 'test_it.py::test_it[a,"b]' for row in rows)


def test_under_xdist_the_file_has_the_runs_of_all_workers(load, fresh, pytester):
    load(TESTS)

    fresh(
        "-pxdist",
        "-n2",
        "--xsched-device=sim",
        "--xsched-samples=out.csv",
        "--xsched-json=out.json",
    )

    document = json.loads((pytester.path / "out.json").read_text())["xsched"]
    rows = rows_of(pytester.path / "out.csv")
    for place, run in enumerate(document["runs"]):
        mine = [row for row in rows if row["run"] == str(place)]
        assert {row["test"] for row in mine} == {run["origin"]}
        for queue in run["queues"]:
            of_queue = [row for row in mine if row["queue"] == queue["name"]]
            assert sum(row["measured"] == "True" for row in of_queue) == queue["n"]
    assert {row["comparison"] for row in rows if row["run"] == "-1"} == {"0"}


def test_equal_sessions_in_virtual_time_write_equal_bytes(load, sim, pytester):
    load(TESTS)
    found = []
    for _ in range(2):
        sim("--xsched-samples=out.csv.gz", "-k", "test_it")
        found.append((pytester.path / "out.csv.gz").read_bytes())
    assert found[0] == found[1]
