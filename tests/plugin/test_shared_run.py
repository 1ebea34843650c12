"""A run that tests share has one set of settings; a marker that says otherwise is an error."""

from __future__ import annotations

import pytest

USES = {
    "target": 'run.high.assert_p99_below("50ms")',
    "comparison": 'assert run.high.p99 < "50ms"',
    "throughput": 'run.high.assert_throughput_at_least("1/s")',
}


@pytest.mark.parametrize("use", USES)
def test_a_marker_on_one_test_of_a_shared_run_is_an_error(load, sim, use):
    load(f"""
        def test_first(run):
            {USES[use]}

        @pytest.mark.xsched(scheduler="native")
        def test_second(run):
            {USES[use]}
        """)

    result = sim()

    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(
        [
            "E *ScenarioError: test_it.py::test_second has "
            "@pytest.mark.xsched(scheduler='native'), but its run was measured for "
            "test_it.py::test_first with no marker xsched: scheduler 'builtin', not 'native' and "
            "policy 'hpf', not 'none'. Tests that share a run need one marker: *"
        ]
    )
    alone = sim("-k", "second")  # measured for it, with its marker
    assert alone.parseoutcomes()["passed"] == 1


def test_a_test_without_the_marker_of_the_test_that_measured_is_an_error(load, sim):
    load("""
        @pytest.mark.xsched(seed=3, duration="16s")
        def test_first(xsched):
            xsched.shared = xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"))
            xsched.shared.high.assert_p99_below("50ms")

        @pytest.mark.xsched(duration="17s")
        def test_second(xsched):
            xsched.shared.high.assert_p99_below("50ms")
        """)

    result = sim()

    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(
        ["E *with @pytest.mark.xsched(*): duration 16 s, not 17 s and seed 3, not 0. *"]
    )


def test_markers_that_change_nothing_for_a_shared_run_are_fine(load, sim):
    load("""
        @pytest.mark.xsched(scheduler="builtin")
        def test_first(run):
            run.high.assert_p99_below("50ms")

        @pytest.mark.xsched(duration="3s", policy="hpf")  # the fixture names its own duration
        def test_second(run):
            run.high.assert_p99_below("50ms")
        """)

    assert sim().parseoutcomes() == {"passed": 2}


def test_a_shared_comparison_is_held_to_one_marker_too(load, sim):
    load("""
        @pytest.fixture(scope="session")
        def both(xsched, load):
            return xsched.compare(*load, episodes=6, duration="2s")

        def test_first(both):
            both.low.assert_best_effort_kept("10%")

        @pytest.mark.xsched(seed=5)
        def test_second(both):
            both.low.assert_best_effort_kept("10%")
        """)

    result = sim()

    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["E *ScenarioError: *xsched(seed=5)*: seed 0, not 5. *"])


def test_the_marker_of_the_last_test_does_not_count_when_all_is_judged_again(load, sim):
    load("""
        @pytest.fixture(scope="session")
        def long(xsched, load):
            return xsched.run(*load, duration="200s")

        def test_first(long):
            long.high.assert_p99_below("50ms")

        def test_second(long):  # measures on
            long.high.assert_percentile_below(0.999, "50ms")

        @pytest.mark.xsched(scheduler="native")
        def test_third(xsched): pass
        """)

    assert sim().parseoutcomes() == {"passed": 3}


def test_a_marker_that_a_fixture_or_the_test_adds_holds(load, sim):
    """Such a run was measured under the default, and the marker was ignored without a word."""
    load("""
        @pytest.fixture
        def native(request):
            request.node.add_marker(pytest.mark.xsched(scheduler="native"))

        def test_fixture(native, xsched, load):
            assert xsched.run(*load, duration="1s").scheduler == "native"

        def test_itself(request, xsched, load):
            request.node.add_marker(pytest.mark.xsched(scheduler="native"))
            assert xsched.run(*load, duration="1s").scheduler == "native"

        def test_none(xsched, load):
            assert xsched.run(*load, duration="1s").scheduler == "builtin"
        """)
    assert sim().parseoutcomes() == {"passed": 3}
