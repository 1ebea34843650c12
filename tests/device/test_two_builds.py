"""Two builds in one comparison: of XSched, which has two installations."""

import shutil

import pytest

from pytest_xsched import InvalidRun, SchedulerInactive, XSched, spin


@pytest.fixture
def session(xsched_gpu, session_on, monkeypatch):
    """A session on the fake driver that names no XSched."""
    monkeypatch.delenv("XSCHED_HOME")
    return session_on("cuda")


def two(session):
    return (
        session.queue("high", spin("100us"), priority=10, rate="100/s"),
        session.queue("low", spin("1ms"), priority=1),
    )


def compare(session, *homes):
    return session.compare(
        *two(session),
        schedulers=[XSched(home=home) for home in homes],
        episodes=1,
        duration="100ms",
    )


def mapped(comparison, arm):
    (episode,) = comparison.arms[arm]
    files = episode.run.evidence.activity.files
    return {file.path for file in files if "libpreempt" in file.path or "libhal" in file.path}


def test_each_arm_maps_its_own_libraries(session, xsched_double, spoiled, monkeypatch):
    other = spoiled("libpreempt.so", "-g")
    monkeypatch.chdir(other.parent)
    comparison = compare(session, xsched_double, "spoiled")
    arms = comparison.baseline, *comparison.schedulers
    assert arms == (f"xsched hpf of {xsched_double}", "xsched hpf of spoiled")
    for arm, home in zip(arms, (xsched_double, other), strict=True):
        assert mapped(comparison, arm) == {
            str(home / "lib" / name) for name in ("libpreempt.so", "libhalcuda.so")
        }
    assert comparison.low.throughput().ratio.value > 0
    record = comparison.arms[arms[1]][0].record
    assert record["scenario"]["xsched"]["home"] == "spoiled"


def test_two_copies_of_one_build_are_no_two_builds(session, xsched_double, tmp_path):
    copy = shutil.copytree(xsched_double, tmp_path / "copy")
    comparison = compare(session, xsched_double, copy)
    with pytest.raises(InvalidRun, match=r"\(libhalcuda.so, libpreempt.so\), so there is one bui"):
        comparison.low.assert_best_effort_kept("1%")


def test_a_home_that_is_not_there(session):
    with pytest.raises(SchedulerInactive, match=r"XSched\(home='/none'\): /none does not exist"):
        session.run(*two(session), scheduler=XSched(home="/none"), duration="100ms")


def test_live_queues_have_the_home_of_their_scheduler(session, xsched_double):
    queues = session.live(scheduler=XSched(home=xsched_double))
    queues(name="q").submit(spin("1ms")).wait("10s")
