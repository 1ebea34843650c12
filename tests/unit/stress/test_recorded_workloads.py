"""The strategies draw the recorded profiles that come with the package."""

import pytest
from hypothesis import Phase, find, given, settings

from pytest_xsched import Workload, recorded
from pytest_xsched.scenario import profile as profiles
from pytest_xsched.scenario.profile import Profile, RecordedCommand
from pytest_xsched.stress import strategies

COMMANDS = tuple(RecordedCommand(name="", kernels=1, duration_ns=ns) for ns in range(1, 41))
NET = Profile(model="net", device="d", driver="1", requests=1, request_ns=820, commands=COMMANDS)
QUICK = settings(max_examples=500, database=None, derandomize=True, phases=[Phase.generate])


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    for name in ("one", "two"):
        NET.save(tmp_path / f"{name}.json")


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("commands", [1, 4, 16, None])
def test_each_profile_is_drawn_in_few_and_in_all_commands(name, commands):
    wanted = recorded(name, commands=commands)
    assert find(strategies.recorded_workloads(), lambda found: found == wanted, settings=QUICK)


@pytest.mark.usefixtures("shipped")
def test_the_simplest_is_a_request_of_one_command():
    found = find(strategies.recorded_workloads(), lambda workload: True)
    assert found == recorded("one", commands=1)


@QUICK
@given(...)
def test_what_is_drawn_for_the_type_is_a_workload(workload: Workload):
    assert workload.commands
