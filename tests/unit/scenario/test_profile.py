"""Recorded profiles: a file is read back, becomes spins of its times, and is refused in one
sentence if anything is wrong with it."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_xsched import Profile, recorded, spin
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario import profile as profiles
from pytest_xsched.scenario.profile import (
    RecordedCommand,
    in_one_launch,
    load_profile,
    shipped_profiles,
)
from pytest_xsched.scenario.python_source import python_text

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/reference/xsched-profile.schema.json").read_text("utf-8"))


def made(*durations_ns, request_ns=None, **others):
    fields = {"model": "net", "device": "a device", "driver": "1.2", "requests": 3}
    commands = tuple(RecordedCommand(name="k", kernels=1, duration_ns=ns) for ns in durations_ns)
    whole_ns = sum(durations_ns) if request_ns is None else request_ns
    return Profile(**fields | others, request_ns=whole_ns, commands=commands)


def times(workload):
    assert {(c.kind, c.fill_permille, c.waves) for c in workload.commands} == {("spin", 1000, 1)}
    return [command.duration_ns for command in workload.commands]


def schema_complaints(document):
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.json"
    made(10, 20, 30, 40, packages=(("torch", "2.11"),)).save(path)
    return path


# ---- the file


def test_a_file_is_read_back_and_has_one_line_for_each_command(file):
    profile = load_profile(file)
    assert profile == made(10, 20, 30, 40, packages=(("torch", "2.11"),))
    text = file.read_text()
    assert text.count('{"name": "k", "kernels": 1, "duration_ns":') == 4 == text.count("duration")
    profile.save(file)
    assert file.read_text() == text


def test_a_file_is_what_the_schema_says(file):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert schema_complaints(json.loads(file.read_text())) == []


def test_an_empty_file_name_or_another_ending_is_refused(tmp_path):
    with pytest.raises(ScenarioError, match=r"'/?.*net.txt' must end in .json"):
        made(1).save(tmp_path / "net.txt")


def set_at(*keys):
    def change(data, value):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        (("format",), "other", '"format" is not "pytest-xsched profile"; write it with `pytest-x'),
        (("version",), 2, "version 2 is unknown: this pytest-xsched reads version 1; record the"),
        (("version",), True, "version True is unknown"),
        (("model",), "", "profile: model '' is not a text"),
        (("device",), None, "profile: device None is not a text"),
        (("packages",), [], r"profile: packages: \[\] is not an object with fields"),
        (("packages",), {"torch": 2}, "profile: version of torch 2 is not a text"),
        (("requests",), 0, r"profile: requests 0 is outside \[1, 1000000\]"),
        (("request_ns",), 0.5, "profile: request_ns 0.5 is not an integer"),
        (("request_ns",), 0, r"profile: request_ns 0 is outside \[1, "),
        (("commands",), [], r"profile: 0 commands are outside \[1, 65536\]"),
        (("commands",), {}, "profile: commands {} is not a list"),
        (("commands", 2), 5, "command 2: 5 is not an object with fields"),
        (("commands", 2, "duration_ns"), -1, r"command 2: duration_ns -1 is outside \[0, "),
        (("commands", 2, "duration_ns"), "1us", "command 2: duration_ns '1us' is not an integer"),
        (("commands", 2, "kernels"), None, "command 2: kernels None is not an integer"),
        (("commands", 0, "name"), 7, "command 0: name 7 is not a text"),
        (("commands", 0, "extra"), 7, "command 0: missing or unknown fields 'extra'"),
        (("date",), "today", "profile: missing or unknown fields 'date'"),
    ],
)
def test_a_fault_is_one_sentence_with_the_value_and_the_file(file, where, value, sentence):
    data = json.loads(file.read_text())
    set_at(*where)(data, value)
    file.write_text(json.dumps(data))
    with pytest.raises(ScenarioError, match=sentence) as caught:
        recorded("net.json")
    assert str(caught.value).startswith("recorded: 'net.json' holds no profile: ")
    assert "\n" not in str(caught.value)
    assert schema_complaints(data), "the schema and the reader refuse the same"


@pytest.mark.parametrize("gone", ["format", "model", "requests", "commands"])
def test_a_missing_field_is_named(file, gone):
    data = json.loads(file.read_text())
    del data[gone]
    file.write_text(json.dumps(data))
    with pytest.raises(ScenarioError, match=gone):
        recorded(file)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "recorded: 'net.json' is not JSON: Expecting value: line 1 .*; write it with"),
        (b'{"format": ', "is not JSON: Expecting value: line 1 column 12"),
        (b"\xff{}", "is not JSON: byte 0 is no UTF-8"),
        (b"[]", r"holds no profile: profile: \[\] is not an object with fields"),
        (b"[" * 100_000, "is not JSON: "),
    ],
)
def test_what_is_no_json_is_refused(file, content, sentence):
    file.write_bytes(content)
    with pytest.raises(ScenarioError, match=sentence):
        recorded("net.json")


def test_a_place_without_a_file_is_named_with_the_way_out(file):
    with pytest.raises(ScenarioError, match=r"'nit.json': there is no such file in ") as caught:
        recorded("nit.json")
    assert "with_name('nit.json') is one next to the test" in str(caught.value)
    os.mkfifo("pipe.json")  # would wait for a writer
    with pytest.raises(ScenarioError, match=r"'pipe.json' cannot be read: Not a regular file"):
        recorded("pipe.json")
    os.mkdir("folder.json")
    with pytest.raises(ScenarioError, match=r"'folder.json' cannot be read: "):
        recorded("folder.json")


@pytest.mark.parametrize("given", [None, 3, b"net.json", ["net.json"]])
def test_what_is_neither_a_path_nor_a_name_is_refused(given):
    with pytest.raises(
        ScenarioError, match=r"recorded: .* is neither a path nor the name of a pro"
    ):
        recorded(given)


def test_a_variable_in_a_path_is_replaced(file, monkeypatch):
    monkeypatch.setenv("WHERE", str(file.parent))
    assert recorded("$WHERE/net.json") == recorded(file)


# ---- the workload


def test_a_workload_has_the_times_of_the_file_and_no_path_in_its_label(file):
    workload = recorded(str(file))
    assert times(workload) == [10, 20, 30, 40]
    assert workload.label == "recorded('net.json')"
    assert recorded(file) == recorded("net.json") == workload
    assert times(recorded(load_profile(file))) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("commands", "expected", "label"),
    [
        (1, [100], "recorded('net.json', commands=1)"),
        (2, [60, 40], "recorded('net.json', commands=2)"),
        (99, [10, 20, 30, 40], "recorded('net.json', commands=99)"),
        ("60ns", [60, 40], "recorded('net.json', commands='60ns')"),
        ("auto", [100], "recorded('net.json', commands='auto')"),
    ],
)
def test_commands_are_grouped(file, commands, expected, label):
    workload = recorded("net.json", commands=commands)
    assert times(workload) == expected
    assert workload.label == label


def test_more_commands_than_a_request_has_must_be_grouped():
    long = made(*[10] * 5000)
    with pytest.raises(ScenarioError, match=r'5000 commands, above 4096 .*: commands="auto"'):
        recorded(long)
    assert len(times(recorded(long, commands="auto"))) == 1


def test_what_launching_each_command_costs_is_taken_off():
    assert times(recorded(made(10, 20, 30, request_ns=45))) == [5, 15, 25]


@pytest.mark.parametrize("durations_ns", [(1000, 2000), (0, 0)])
def test_a_request_that_takes_twice_its_commands_lacks_some(tmp_path, durations_ns):
    """Their times were stretched without a word, here a unit was wrong."""
    sum_ns = sum(durations_ns)
    profile = made(*durations_ns, request_ns=3_000_000)
    profile.save(tmp_path / "net.json")
    shown = "3 us" if sum_ns else "0 s"
    sentence = (
        f": request_ns 3 ms is more than twice what its commands take together, {shown}; record it "
        "again, or write the sum of all commands as request_ns"
    )
    for source, what in (
        (tmp_path / "net.json", f"recorded: '{tmp_path}/net.json'"),
        (profile, "recorded: the profile 'net'"),
    ):
        with pytest.raises(ScenarioError) as caught:
            recorded(source)
        assert str(caught.value) == what + sentence


def test_the_clock_may_differ_and_launches_may_take_most_of_the_time():
    assert times(recorded(made(1000, 2000, request_ns=6000))) == [2000, 4000]
    with pytest.raises(ScenarioError, match="more than twice"):
        recorded(made(1000, 2000, request_ns=6001))
    assert times(recorded(made(1000, 2000, request_ns=1200))) == [100, 1100]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(1, 10**7))
def test_in_one_launch_they_take_the_time_of_the_whole(durations_ns, whole_ns):
    found = in_one_launch(durations_ns, whole_ns)
    assert sum(found) == whole_ns and min(found) >= 0
    pairs = list(zip(durations_ns, found, strict=True))
    if whole_ns < sum(durations_ns):  # each is less by one amount, and rounded; or it is 0
        less = [before - after for before, after in pairs if after > 1]
        assert not less or max(less) - min(less) <= 2
    elif sum(durations_ns):  # each is longer in proportion, and rounded
        factor = whole_ns / sum(durations_ns)
        assert all(abs(after - before * factor) <= 1.001 for before, after in pairs)


# ---- profiles of the package


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    made(10, 20, 30).save(tmp_path / "net-one.json")


@pytest.mark.usefixtures("shipped")
def test_a_name_is_never_taken_for_a_file_nor_a_file_for_a_name(tmp_path):
    assert shipped_profiles() == ("net-one",)
    made(7).save("other.json")
    tmp_path.joinpath("net").write_text("a file without the ending")
    assert times(recorded("net-one")) == [10, 20, 30]
    assert times(recorded("./other.json")) == [7]
    for name in ("net", "./net-one", "", "net-one.JSON"):
        with pytest.raises(ScenarioError, match=r"is no name of a profile; known: net-one, other;"):
            recorded(name)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("commands", [None, 1, "auto", "40ns"])
def test_a_profile_of_the_package_is_spelled_by_its_name(commands):
    workload = recorded("net-one", commands=commands)
    text = python_text(workload)
    assert text.startswith('recorded("net-one"')
    assert eval(text, {"recorded": recorded}) == workload


@pytest.mark.usefixtures("shipped")
def test_other_spins_under_such_a_label_are_spelled_out():
    workload = recorded("net-one")
    other = profiles.Workload(commands=spin("1ms").commands, label=workload.label)
    assert python_text(other) == 'sequence((spin("1ms"),), label="recorded(\'net-one\')")'


# ---- what comes with the package


def test_three_profiles_come_with_the_package():
    assert shipped_profiles() == ("llm_decode", "resnet50", "transformer")


@pytest.mark.parametrize("name", ["llm_decode", "resnet50", "transformer"])
def test_a_profile_of_the_package_was_recorded_on_a_gpu(name):
    path = profiles._FOLDER / f"{name}.json"
    assert schema_complaints(json.loads(path.read_text("utf-8"))) == []
    profile = load_profile(name)
    assert "H200" in profile.device and dict(profile.packages)["torch"]
    assert profile.requests >= 30
    assert len(profile.commands) > 100 and profile.kernels > 100
    assert all(command.duration_ns > 0 for command in profile.commands)
    assert sum(times(recorded(name))) == profile.request_ns
    assert sum(times(recorded(name, commands="auto"))) == profile.request_ns
