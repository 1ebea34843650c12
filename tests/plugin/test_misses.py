"""A missed target that something caught is not green; one that a test expects is said to be."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

MISS = 'run.high.assert_p99_below("1us")'
SENTENCE = "high: P99 * is not below 1 us *"


def written(path):
    """Return the testcases of a JUnit file by name: outcome, and the properties."""
    cases = {}
    for case in ElementTree.parse(path).iter("testcase"):
        children = {child.tag for child in case}
        outcome = children & {"failure", "error", "skipped"}
        properties = {one.get("name"): one.get("value") for one in case.iter("property")}
        cases[case.get("name")] = (sorted(outcome), properties)
    return cases


CAUGHT = {
    "try": f"""
        try:
            {MISS}
        except AssertionError:
            pass""",
    "suppress": f"""
        with contextlib.suppress(AssertionError):
            {MISS}""",
    "comparison": """
        with contextlib.suppress(AssertionError):
            assert run.high.p99 < "1us\"""",
}
PHASES = {
    "setup": """
    @pytest.fixture
    def phase(run):{caught}
        yield
    """,
    "teardown": """
    @pytest.fixture
    def phase(run):
        yield{caught}
    """,
    "call": "",
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("caught", CAUGHT)
def test_a_miss_that_something_caught_fails_the_session(load, sim, pytester, phase, caught):
    fixture = PHASES[phase].format(caught=CAUGHT[caught])
    body = CAUGHT[caught] if phase == "call" else "pass"
    argument = "run" if phase == "call" else "phase"
    load(f"    import contextlib\n{fixture}\n    def test_it({argument}):\n        {body}\n")

    result = sim("--junitxml=junit.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    what = {"call": "the test missed a target and passed"}.get(
        phase, f"the {'set-up' if phase == 'setup' else phase} of a fixture missed a target and *"
    )
    result.stdout.fnmatch_lines([f"{what}: *", "something caught the error, *pytest.raises*"])
    outcome, _ = written(pytester.path / "junit.xml")["test_it"]
    assert outcome == (["failure"] if phase == "call" else ["error"])


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_a_rerun_does_not_undo_a_miss_in_a_fixture(pytester, fresh, phase):
    pytest.importorskip("pytest_rerunfailures")
    before, after = ("measure(xsched)", "pass") if phase == "setup" else ("pass", "measure(xsched)")
    pytester.makepyfile(f"""
        import pytest
        from pytest_xsched import spin

        attempts = []

        def measure(xsched):
            attempts.append(1)
            work = spin("20ms" if len(attempts) == 1 else "1ms")
            run = xsched.run(xsched.queue("high", work, rate="20/s"), duration="15s")
            run.high.assert_p99_below("10ms")

        @pytest.fixture
        def gate(xsched):
            {before}
            yield
            {after}

        def test_it(gate): pass
        """)

    result = fresh("-prerunfailures", "--reruns=1", "--xsched-device=sim", "--junitxml=junit.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["missed a target in an earlier attempt, which a rerun does not undo: high: P99 *"]
    )
    outcome, properties = written(pytester.path / "junit.xml")["test_it"]
    assert "failure" in outcome
    assert "is not below 10 ms" in properties["xsched.earlier_miss"]


EXPECTED = """
    def test_raises(run):
        with pytest.raises(QosAssertionError):
            run.high.assert_p99_below("1us")

    @pytest.mark.xfail
    def test_xfail(run):
        run.high.assert_p99_below("2us")

    def test_imperative(run):
        try:
            run.high.assert_p99_below("3us")
        except QosAssertionError:
            pytest.xfail("too slow here")

    def test_comparison(run):
        with pytest.raises(AssertionError):
            assert run.high.p99 < "4us"
    """


@pytest.mark.parametrize("xdist", [[], ["-pxdist", "-n2"]], ids=["plain", "xdist"])
def test_a_miss_that_a_test_expects_has_a_line_of_its_own(load, fresh, pytester, xdist):
    load(EXPECTED)

    result = fresh("--xsched-device=sim", "--junitxml=junit.xml", *xdist)

    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 2, "xfailed": 2}
    lines = sorted(line for line in result.outlines if line.startswith("EXPECTED MISS"))
    assert [line.split(")")[0] for line in lines] == [
        "EXPECTED MISS (pytest.raises",
        "EXPECTED MISS (pytest.raises",
        "EXPECTED MISS (xfail",
        "EXPECTED MISS (xfail",
    ]
    cases = written(pytester.path / "junit.xml")
    for name, how in (("raises", "pytest.raises"), ("xfail", "xfail"), ("imperative", "xfail")):
        _, properties = cases[f"test_{name}"]
        assert properties["xsched.high.p99_below.status"] == "FAIL"
        assert properties["xsched.high.p99_below.expected_miss"] == how


SKIPS = {
    "finally": """
    def test_it(run):
        try:
            run.high.assert_p99_below("1us")
        finally:
            pytest.skip("no time for this")
    """,
    "except": """
    def test_it(run):
        try:
            run.high.assert_p99_below("1us")
        except QosAssertionError:
            pytest.skip("too slow here")
    """,
    "setup": """
    @pytest.fixture
    def phase(run):
        try:
            run.high.assert_p99_below("1us")
        finally:
            pytest.skip("no time for this")

    def test_it(phase): pass
    """,
}


@pytest.mark.parametrize("body", SKIPS.values(), ids=SKIPS)
def test_a_skip_does_not_undo_a_miss(load, sim, pytester, body):
    load(body)

    result = sim("--junitxml=junit.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [f"the * missed a target and was skipped: {SENTENCE}", "a skip does not undo a miss; *"]
    )
    outcome, _ = written(pytester.path / "junit.xml")["test_it"]
    assert outcome in (["failure"], ["error"])


def test_a_skip_after_an_expected_miss_is_a_skip(load, sim):
    load("""
        def test_it(run):
            with pytest.raises(QosAssertionError):
                run.high.assert_p99_below("1us")
            pytest.skip("the rest is for another day")
        """)
    result = sim()
    assert (result.ret, result.parseoutcomes()) == (0, {"skipped": 1})
    result.stdout.fnmatch_lines(["EXPECTED MISS (pytest.raises) *"])


UNDECIDED = """
    def test_it(xsched):
        high = xsched.queue("high", spin("1ms"), arrivals=poisson("20/s"))
        low = xsched.queue("low", spin("5ms"), arrivals=poisson("40/s"))
        run = xsched.run(high, low, duration="15s", scheduler="native")
        with pytest.raises(QosAssertionError, match="may or may not be below"):
            run.high.assert_p99_below(run.high.p99.value * ns * 1.01)
    """


def test_an_undecided_target_is_no_expected_miss(load, sim):
    load(UNDECIDED)

    result = sim()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "the test expected a miss and did not see one: high: P99 * may or may not be below *",
            "an UNDECIDED target is no miss, so pytest.raises(QosAssertionError) shows nothing *",
        ]
    )


def test_an_undecided_target_that_is_only_a_warning_is_no_miss_either(load, inside, pytester):
    load(UNDECIDED.replace("pytest.raises(QosAssertionError,", "pytest.warns(XSchedWarning,"))
    result = inside("--xsched-device=sim", "--xsched-undecided=warn")
    assert result.ret == 0


def test_only_the_miss_inside_of_raises_is_expected(load, sim):
    load("""
        def test_it(run):
            with pytest.raises(QosAssertionError):
                run.high.assert_p99_below("1us")
            try:
                run.high.assert_p99_below("1us")
            except QosAssertionError:
                pass
        """)

    result = sim()

    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines([f"the test missed a target and passed: {SENTENCE}"])


def test_a_run_that_missed_a_target_is_not_kept_as_a_baseline(load, sim, pytester):
    load("""
        def test_it(run):
            with pytest.raises(QosAssertionError):
                run.high.assert_p99_below("1us")
        """)

    result = sim("--xsched-save=main", "--xsched-json=out.json")

    assert result.ret == 0
    result.stdout.fnmatch_lines([f"NOT SAVED * is not stored: it missed a target: {SENTENCE}"])
    (finding,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["baselines"]
    assert finding["status"] == "not saved"


SUBTESTS = {
    "fixture": """
    def test_it(run, subtests):
        with subtests.test("one"):
            run.high.assert_p99_below("1us")
        with subtests.test("two"):
            pass
    """,
    "unittest": """
    import unittest

    class TestIt(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def measured(self, run):
            self.run_of_two = run

        def test_it(self):
            with self.subTest("one"):
                self.run_of_two.high.assert_p99_below("1us")
            with self.subTest("two"):
                pass
    """,
}


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests are part of pytest 9")
@pytest.mark.parametrize("kind", SUBTESTS)
def test_a_miss_in_a_subtest_is_called_that(load, sim, kind):
    load(SUBTESTS[kind])

    result = sim()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"missed a target in a subtest: {SENTENCE}"])
    result.stdout.no_fnmatch_line("*earlier attempt*")


NO_VERDICT = "high: P99 needs 299 requests*"
SHORT = """
    @pytest.fixture
    def short(xsched, load):
        return xsched.run(*load, duration="2s")
    """


def test_a_target_without_verdict_that_something_caught_is_not_green(load, sim):
    """`except Exception: pass` around a target that could not be judged."""
    load(f"""{SHORT}
    def test_it(short):
        try:
            short.high.assert_p99_below("1h")
        except Exception:
            pass
    """)
    result = sim()
    assert result.ret == 1
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"the test went on without a verdict: {NO_VERDICT}", f"*NO VERDICT {NO_VERDICT}test_it*"]
    )


def test_a_target_without_verdict_that_a_comparison_gives_is_not_forgotten(load, sim):
    load("""
    def test_it(xsched, load):
        comparison = xsched.compare(*load, duration="1s")
        try:
            comparison.high.assert_p99_improved(by=2)
        except Exception:
            pass
    """)
    result = sim()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["the test went on without a verdict: *"])


@pytest.mark.parametrize(
    "target", ['short.high.assert_p99_below("1h")', "comparison.high.assert_no_worse(q=0.99)"]
)
def test_the_verdict_of_a_comparison_on_another_target_excuses_no_caught_one(load, sim, target):
    load(f"""{SHORT}
    def test_it(xsched, load, short):
        comparison = xsched.compare(*load, duration="2s", episodes=6)
        try:
            {target}
        except Exception:
            pass
        comparison.high.assert_no_worse(by="100%", q=0.5)
    """)
    result = sim()
    assert result.ret == 1
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines_random(
        ["the test went on without a verdict: *", "  PASS high: P50 *", "*  NO VERDICT *test_it*"]
    )


@pytest.mark.parametrize(
    "body",
    [
        """
        with pytest.raises(InvalidRun):
            short.high.assert_p99_below("1h")""",
        """
        for duration in ("2s", "30s"):
            try:
                xsched.run(*load, duration=duration).high.assert_p99_below("1h")
                break
            except InvalidRun:
                continue""",
        """
        for duration in ("2s", "30s"):
            try:
                xsched.compare(*load, duration=duration, episodes=6).high.assert_no_worse(by="90%")
                break
            except InvalidRun:
                continue""",
        """
        try:
            print(short.high.p99)
        except InvalidRun:
            pass""",
    ],
    ids=["expected", "repeated", "comparison repeated", "only read"],
)
def test_a_target_without_verdict_may_be_expected_or_repeated(load, sim, body):
    load(f"""{SHORT}
    def test_it(xsched, load, short):{body}
    """)
    assert sim().ret == 0


def test_a_miss_is_not_undone_by_an_exit_with_success(load, sim):
    """`pytest.exit(returncode=0)` leaves the test without a report."""
    load(f"""
    def test_it(run):
        try:
            {MISS}
        finally:
            pytest.exit("enough", returncode=0)
    """)
    assert sim().ret == 1


def test_a_miss_that_was_reported_is_not_undone_by_an_exit_with_success(load, sim):
    load(f"""
    def test_it(run):
        {MISS}

    def test_end():
        pytest.exit("enough", returncode=0)
    """)
    assert sim().ret == 1


def test_an_exit_with_success_after_targets_that_were_met_stays_one(load, sim):
    load("""
    def test_it(run):
        run.high.assert_p99_below("1h")

    def test_end():
        pytest.exit("enough", returncode=0)
    """)
    assert sim().ret == 0


@pytest.mark.parametrize(("scope", "code"), [("module", 1), ("function", 0)])
def test_a_miss_of_a_shared_fixture_is_not_excused_by_the_xfail_of_the_last_test(
    load, sim, scope, code
):
    load(f"""
    @pytest.fixture(scope="{scope}")
    def gate(xsched, load):
        run = xsched.run(*load, duration="15s")
        yield
        run.high.assert_p99_below("1us")

    {"def test_it(gate): pass" if scope == "module" else ""}

    @pytest.mark.xfail
    def test_last(gate):
        assert False
    """)
    result = sim()
    assert result.ret == code
    if code:
        result.stdout.fnmatch_lines(["E *: high: P99 * is not below 1 us *"])
