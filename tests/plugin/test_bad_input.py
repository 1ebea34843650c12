"""Wrong values: one clear line with the value and where it came from, and nothing left behind."""

from __future__ import annotations

import pytest

from pytest_xsched.errors import ScenarioError


@pytest.fixture(autouse=True)
def nothing_left_behind(pytester):
    """Checks that no JSON file, nor a part of one, was written."""
    yield
    assert not [path for path in pytester.path.rglob("*") if "json" in path.name]


def usage_error(result):
    """Give the one line that a usage error consists of, without its start."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in str(result.stdout) + str(result.stderr)
    lines = [line for line in [*result.outlines, *result.errlines] if line.startswith("ERROR: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("ERROR: ")


def test_the_usage_error_of_a_conftest_is_shown_alone(load, sim, pytester):
    """It ends pytest before the plugin has any state."""
    load("def test_it(run): pass")
    pytester.makeconftest("""
        import pytest

        def pytest_configure(config):
            raise pytest.UsageError("set MODEL first")
        """)
    assert usage_error(sim()) == "set MODEL first"


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("device", "cpu:1", "'cpu:1' has an index, which only hip and "),
        ("device", "cuda:x", "'cuda:x': an index must follow the colon, as in 'cuda:1'"),
        ("require-device", "sim:0", "'sim:0' has an index, which only hip and "),
        ("device", "tpu", "'tpu' is unknown; known: auto, cpu, sim, hip, cuda, opencl"),
        ("scheduler", "fair", "'fair' is unknown; known: native, priority, builtin"),
        ("require-device", "auto", "'auto' is unknown; known: cpu, sim, hip, cuda, opencl"),
        ("duration", "60", '\'60\' has no unit; write "60s" or "60min"'),
        ("duration", "0s", "'0s' is zero"),
        ("duration", "-1s", "'-1s' is negative"),
        ("duration", "nan s", 'is not a time; write "50s" or "50min"'),
        ("lock-timeout", "60", "'60' has no unit; write \"60s\""),
        ("lock-timeout", "-1s", "'-1s' is negative"),
        ("seed", "x", "'x' is not a whole number from 0 to 4294967295, nor 'random'"),
        ("seed", "-1", "'-1' is not a whole number"),
        ("seed", "4294967296", "'4294967296' is not a whole number"),
        ("seed", "1.5", "'1.5' is not a whole number"),
    ],
)
@pytest.mark.parametrize("place", ["command line", "ini"])
def test_option(load, inside, pytester, place, option, value, fault):
    load("def test_it(run): pass")
    ini_key = f"xsched_{option.replace('-', '_')}"
    given = f"--xsched-{option}={value}"
    if option == "lock-timeout":  # no option of the command line
        given = f"-o{ini_key}={value}"
    if place == "ini":
        pytester.makeini(f"[pytest]\n{ini_key} = {value}")

    result = inside(*[given] * (place != "ini"), "--xsched-json=out.json")

    message = usage_error(result)
    origin = f"--xsched-{option}" if given.startswith("--") and place != "ini" else ""
    origin = origin or f"ini option {ini_key}"
    assert message.startswith(f"{origin}: ")
    assert fault in message


@pytest.mark.parametrize("option", ["gpu-driver", "gpu-compiler"])
def test_a_library_that_is_not_there(load, inside, pytester, option):
    load("def test_it(run): pass")
    key = f"xsched_{option.replace('-', '_')}"

    # Relative to where pytest was started, or to where the ini file is.
    there = pytester.mkdir("there")
    is_option = option == "gpu-driver"
    if is_option:
        message = usage_error(inside("--rootdir=there", f"--xsched-{option}=lib/x.so"))
        assert message == f"--xsched-{option}: {pytester.path}/lib/x.so does not exist"
    message = usage_error(inside("--rootdir=there", "-o", f"{key}=../there/lib/x.so"))
    assert message == f"ini option {key}: {there}/../there/lib/x.so does not exist"
    given, origin = f"--xsched-{option}=./there", f"--xsched-{option}"
    if not is_option:
        given, origin = f"-o{key}=./there", f"ini option {key}"
    assert usage_error(inside(given)) == f"{origin}: {there} is not a file"


def test_an_option_without_a_value_is_refused_an_ini_key_is_not_set(load, inside, pytester):
    load("def test_it(xsched): pass")
    pytester.makeini("[pytest]\nxsched_device =")

    assert inside().ret == 0
    message = usage_error(inside("--xsched-device="))
    assert message == "--xsched-device: '' is unknown; known: auto, cpu, sim, hip, cuda, opencl"


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("device='sim', sheduler='native'", "does not take sheduler; it takes device=, scheduler="),
        ("'sim'", "does not take 'sim'; it takes device=, scheduler=, policy=, duration=, seed="),
    ],
)
def test_shape_of_a_marker(load, sim, marker, words):
    load(f"""
        @pytest.mark.xsched({marker})
        def test_marked(run): pass
        """)

    message = usage_error(sim())

    assert message.startswith("test_it.py::test_marked: @pytest.mark.xsched does not take")
    assert words in message


def test_usage_error_at_collection_leaves_an_earlier_file_alone(load, sim, pytester):
    load("""
        @pytest.mark.xsched("sim")
        def test_marked(run): pass
        """)
    earlier = pytester.path / "out"
    earlier.write_text("of yesterday")

    usage_error(sim("--xsched-json=out"))

    assert earlier.read_text() == "of yesterday"


@pytest.mark.parametrize(
    ("marker", "sentence"),
    [
        (
            "device='tpu'",
            "marker xsched: device 'tpu' is unknown; known: auto, cpu, sim, hip, cuda, opencl",
        ),
        ("device='sim:1'", "marker xsched: device 'sim:1' has an index, which only hip and "),
        ("scheduler='fair'", "scheduler 'fair' is unknown; known: native, priority, builtin"),
        ("policy='turns'", "policy 'turns' is unknown; known: none, hpf"),
        ("duration='60'", "marker xsched: duration: '60' has no unit"),
        ("duration=60", "marker xsched: duration: 60 has no unit"),
        ("duration='0s'", "marker xsched: duration: '0s' is zero"),
        ("seed='x'", "seed 'x' is not an integer"),
        ("seed=-1", "seed -1 is outside [0, 4294967295]"),
        ("seed=True", "seed True is not an integer"),
        (
            "scheduler='native', policy='hpf'",
            "policy 'hpf' needs scheduler 'builtin', not 'native'",
        ),
    ],
)
def test_value_of_a_marker(load, sim, marker, sentence):
    load(f"""
        @pytest.mark.xsched(duration="1s")
        class TestClass:
            @pytest.mark.xsched({marker})
            def test_it(self, xsched, load):
                xsched.run(*load)
        """)

    result = sim()

    result.assert_outcomes(failed=1)
    assert result.ret == 1
    (line,) = [line for line in result.outlines if line.startswith("E ")]
    starts = ("ScenarioError: ", "ScenarioError: marker xsched: ")
    assert any(f"{start}{sentence}" in line for start in starts)


@pytest.mark.parametrize(
    "marker",
    [
        "device='tpu'",
        "policy='turns'",
        "seed=-1",
        "seed=2**40",
        "seed='x'",
    ],
)
def test_value_of_a_marker_for_live_queues(load, sim, marker):
    load(f"""
        @pytest.mark.xsched({marker})
        def test_it(xqueues):
            xqueues()
        """)

    result = sim()

    assert result.ret == 1
    (line,) = [line for line in result.outlines if line.startswith("E ")]
    assert "ScenarioError: " in line


@pytest.fixture
def session():
    """The object behind the fixture xsched, without a pytest session around it."""
    from pytest_xsched.session.session import Session
    from pytest_xsched.session.settings import Settings

    session = Session(Settings(device="sim"))
    yield session
    assert session.runs == []
    session.close()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"threshold": 1, "batch_size": 2}, "queue 'high': threshold 1 is below batch_size 2"),
        ({"threshold": 0}, "queue 'high': threshold 0 is outside [1, 1024]"),
        ({"threshold": 1025}, "queue 'high': threshold 1025 is outside [1, 1024]"),
        ({"threshold": 4.0}, "queue 'high': threshold 4.0 is not an integer"),
        ({"threshold": 4, "batch_size": 0}, "queue 'high': batch_size 0 is outside [1, 1024]"),
        ({"threshold": 4, "batch_size": 5}, "queue 'high': threshold 4 is below batch_size 5"),
        (
            {"threshold": "many"},
            "queue 'high': threshold 'many' is neither a whole number nor 'auto'",
        ),
        (
            {"batch_size": 5},
            "queue 'high': batch_size 5 needs a threshold; an automatic one sets its own marks",
        ),
        ({"priority": 256}, "queue 'high': priority 256 is outside [-255, 255]"),
        ({"priority": -256}, "queue 'high': priority -256 is outside [-255, 255]"),
        ({"priority": "high"}, "queue 'high': priority 'high' is not an integer"),
        ({"rate": 20}, 'rate of queue \'high\': 20 has no unit; write "20/s" or "20/min"'),
        ({"rate": "20"}, "rate of queue 'high': '20' has no unit; write \"20/s\" or \"20/min\""),
        ({"rate": "0/s"}, "rate of queue 'high': '0/s' is not above zero"),
        ({"rate": "-1/s"}, "rate of queue 'high': '-1/s' is not above zero"),
        (
            {"rate": "nan/s"},
            "rate of queue 'high': 'nan/s' is not a rate; write \"20/s\" or \"20/min\"",
        ),
        (
            {"rate": float("nan")},
            'rate of queue \'high\': nan is not finite; write "20/s" or "20/min"',
        ),
        (
            {"rate": "50ms"},
            "rate of queue 'high': '50ms' is a time, not a rate; one request every 50ms is ",
        ),
        ({"think": 5}, 'think of closed: 5 has no unit; write "5ms" or "5s"'),
        ({"think": "-5ms"}, "think of closed: '-5ms' is negative"),
        ({"concurrency": 0}, "closed: concurrency 0 is outside [1, 10000000]"),
        ({"rate": "20/s", "concurrency": 2}, "queue 'high': rate and concurrency or think are two"),
        ({"arrivals": "20/s"}, "queue 'high': arrivals '20/s' are none; write poisson(\"20/s\")"),
        ({"workload": "matmul"}, "queue 'high': workload 'matmul' is not a workload; write "),
        ({"name": "high prio"}, "queue name 'high prio' is not a Python identifier"),
        ({"name": "class"}, "queue name 'class' is not a Python identifier"),
        ({"name": "_high"}, "queue name '_high' starts with an underscore"),
        ({"name": "evidence"}, "queue name 'evidence' would hide an attribute of the run"),
        ({"name": 1}, "queue name 1 is not a text"),
        ({"device": "cpu:1"}, "queue 'high': device 'cpu:1' has an index, which only hip and "),
    ],
)
def test_queue(session, changed, sentence):
    from pytest_xsched import spin

    arguments = {"name": "high", "workload": spin("1ms"), **changed}
    with pytest.raises(ScenarioError) as error:
        session.queue(arguments.pop("name"), arguments.pop("workload"), **arguments)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_rate_and_arrivals_are_two_loads(session):
    from pytest_xsched import poisson, spin

    with pytest.raises(ScenarioError) as error:
        session.queue("high", spin("1ms"), rate="20/s", arrivals=poisson("20/s"))
    assert str(error.value) == "queue 'high': rate and arrivals are two loads; name one"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, 'run() needs a duration; write duration="60s"'),
        ({"duration": 60}, 'duration: 60 has no unit; write "60s" or "60min"'),
        ({"duration": "60"}, 'duration: \'60\' has no unit; write "60s" or "60min"'),
        ({"duration": "0s"}, "duration: '0s' is zero"),
        ({"duration": "-1s"}, "duration: '-1s' is negative"),
        ({"duration": float("nan")}, 'duration: nan is not finite; write "50s"'),
        ({"duration": "20 years"}, "duration: '20 years' has an unknown unit"),
        ({"duration": "1s", "warmup": 1}, "warmup: 1 has no unit"),
        ({"duration": "1s", "drain": "-1s"}, "drain: '-1s' is negative"),
        ({"duration": "1s", "scheduler": "fair"}, "scheduler 'fair' is unknown; known: native, "),
        ({"duration": "1s", "policy": "turns"}, "policy 'turns' is unknown; known: none, hpf"),
        ({"duration": "1s", "seed": -1}, "scenario: seed -1 is outside [0, 4294967295]"),
        ({"duration": "1s", "seed": "x"}, "scenario: seed 'x' is not an integer"),
        ({"duration": "1s", "check": 1}, "scenario: check 1 is not True or False"),
        ({"duration": "1s", "check": True}, "check=True: the device sim computes nothing"),
        ({"duration": "1s", "sim": {"slots": 2}}, "scenario: sim {'slots': 2} is not a SimModel"),
        ({"duration": "1s", "cpu": 4}, "scenario: cpu 4 is not a CpuModel"),
        (
            {"duration": "1s", "scheduler": "native", "policy": "hpf"},
            "policy 'hpf' needs scheduler",
        ),
        (
            {"duration": "1s", "scheduler": "native", "stream_priority": False},
            "stream_priority False needs scheduler 'builtin', not 'native'",
        ),
        ({"duration": "10ms"}, "queue 'high': 20/s for 10ms is not one request"),
        (
            {"duration": "1000h"},
            "scenario: 72000020 requests in 1s of warm-up and 3600000s, above ",
        ),
    ],
)
def test_run(session, arguments, sentence):
    from pytest_xsched import spin

    with pytest.raises(ScenarioError) as error:
        session.run(session.queue("high", spin("1ms"), rate="20/s"), **arguments)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_queues_of_a_run(session):
    from pytest_xsched import spin

    high = session.queue("high", spin("1ms"), rate="20/s")
    with pytest.raises(ScenarioError, match=r"^scenario: two queues are named 'high'$"):
        session.run(high, high, duration="1s")
    with pytest.raises(ScenarioError, match=r"^run\(\): no queue is given; write run\(high, "):
        session.run(duration="1s")
    with pytest.raises(ScenarioError, match=r"^compare\(\): no queue is given; write compare\("):
        session.compare(duration="1s")
    with pytest.raises(ScenarioError, match=r"^run\(\): the list of the queues high is not a queu"):
        session.run([high], duration="1s")
    with pytest.raises(AttributeError, match=r"; a run has targets: .*, then run\.high\.assert_p9"):
        high.assert_p99_below("5ms")
    with pytest.raises(ScenarioError, match=r"'high' is not an integer; a higher number wins, as "):
        session.queue("low", spin("1ms"), priority="high")
    with pytest.raises(ScenarioError, match=r"^run\(\): 'high' is not a queue; write "):
        session.run("high", duration="1s")


def test_more_requests_of_a_closed_loop_than_there_is_room_for(session, monkeypatch):
    from pytest_xsched import spin
    from pytest_xsched.runner import measure

    monkeypatch.setattr(measure, "SAMPLES_MAX", 1000)  # of 10 million: 400 MB
    with pytest.raises(ScenarioError, match="1000") as error:
        session.run(session.queue("busy", spin("1ms")), duration="10s")
    assert "busy" in str(error.value) and "\n" not in str(error.value)


def test_bad_values_in_a_test_are_one_line_each(load, sim):
    load("""
        def test_limit(run):
            run.high.assert_p99_below(50)

        def test_queue(xsched):
            xsched.queue("high", spin("1ms"), threshold=1, batch_size=2)

        def test_run(xsched, load):
            xsched.run(*load, duration=60)
        """)

    result = sim()

    result.assert_outcomes(failed=3)
    assert result.ret == 1
    assert [line.partition(": ")[2] for line in result.outlines if line.startswith("E ")] == [
        'limit of assert_p99_below: 50 has no unit; write "50ms" or "50s"',
        "queue 'high': threshold 1 is below batch_size 2",
        'duration: 60 has no unit; write "60s" or "60min"',
    ]


# ---- the JSON file


def test_json_path_is_a_directory(load, sim, pytester):
    load("def test_it(run): pass")
    (pytester.path / "folder").mkdir()

    message = usage_error(sim("--xsched-json=folder"))

    assert message == f"--xsched-json: {pytester.path / 'folder'} is a directory"


def test_json_path_of_the_ini_file_is_a_directory(load, sim, pytester):
    load("def test_it(run): pass")
    (pytester.path / "folder").mkdir()
    pytester.makeini("[pytest]\nxsched_json = folder")

    message = usage_error(sim())

    assert message == f"ini option xsched_json: {pytester.path / 'folder'} is a directory"


def test_json_path_below_a_file(load, sim, pytester):
    load("def test_it(run): pass")
    (pytester.path / "file").write_text("")

    message = usage_error(sim("--xsched-json=file/out"))

    assert message.startswith("--xsched-json: ")
    assert str(pytester.path / "file") in message


def test_json_that_cannot_be_written_does_not_hide_what_failed(load, sim, pytester):
    load("""
        def test_missed(run):
            run.high.assert_p99_below("1us")
        """)
    (pytester.path / "file").write_text("")

    result = sim("--xsched-json=file/out")

    assert result.ret != 0
    if "test_it.py F" in str(result.stdout):  # not refused before the first test
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["E *TargetMissed: high: P99 *"])
