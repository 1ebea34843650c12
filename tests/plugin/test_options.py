"""Command line, ini file, marker and arguments of run(): which one wins, and what is shown."""

from __future__ import annotations

import json
import re

import pytest

from pytest_xsched.session.auto_device import auto_device


@pytest.fixture
def asked(pytester):
    """Writes a test that compares one property of a run with what is expected."""

    def write(what, expected, *, marker="", arguments="duration='1s'", ini=""):
        if ini:
            pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(
            test_it=f"""
            import pytest
            from pytest_xsched import spin

            {f"@pytest.mark.xsched({marker})" if marker else ""}
            def test_it(xsched):
                queue = xsched.queue("high", spin("1ms"), rate="20/s")
                assert xsched.run(queue, {arguments}).scenario.{what} == {expected!r}
            """
        )

    return write


@pytest.mark.parametrize(
    ("marker", "option", "ini", "expected"),
    [
        ("device='sim'", "cpu", "cpu", "sim"),
        ("", "sim", "cpu", "sim"),
        ("", None, "sim", "sim"),
        ("", None, "", "cpu"),
        ("device='auto'", "sim", "", "cpu"),
    ],
)
def test_device(asked, inside, marker, option, ini, expected):
    asked("device", expected, marker=marker, ini=ini and f"xsched_device = {ini}",
          arguments="duration='100ms'")  # fmt: skip

    result = inside(*[f"--xsched-device={option}"] * (option is not None))

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "marker", "option", "ini", "expected"),
    [
        ("scheduler='native'", "scheduler='builtin'", "builtin", "builtin", "native"),
        ("", "scheduler='native'", "priority", "builtin", "native"),
        ("", "", "priority", "native", "priority"),
        ("", "", None, "native", "native"),
        ("", "", None, "", "builtin"),
    ],
)
def test_scheduler(asked, sim, argument, marker, option, ini, expected):
    asked(
        "scheduler",
        expected,
        arguments=f"duration='1s', {argument}",
        marker=marker,
        ini=ini and f"xsched_scheduler = {ini}",
    )

    result = sim(*[f"--xsched-scheduler={option}"] * (option is not None))

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "marker", "expected"),
    [
        ("policy='none'", "policy='hpf'", "none"),
        ("", "policy='none'", "none"),
        ("", "", "hpf"),
        ("scheduler='native'", "", "none"),
    ],
)
def test_policy(asked, sim, argument, marker, expected):
    asked("policy", expected, arguments=f"duration='1s', {argument}", marker=marker)

    sim().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "marker", "option", "ini", "expected"),
    [
        ("seed=1", "seed=2", "3", "4", 1),
        ("seed=0", "seed=2", "3", "4", 0),
        ("", "seed=2", "3", "4", 2),
        ("", "seed=0", "3", "4", 0),
        ("", "", "3", "4", 3),
        ("", "", "0", "4", 0),
        ("", "", None, "4", 4),
        ("", "", None, "", 0),
    ],
)
def test_seed(asked, sim, argument, marker, option, ini, expected):
    asked(
        "seed",
        expected,
        arguments=f"duration='1s', {argument}",
        marker=marker,
        ini=ini and f"xsched_seed = {ini}",
    )

    result = sim(*[f"--xsched-seed={option}"] * (option is not None))

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "marker", "option", "ini", "expected"),
    [
        ("duration='1s'", "duration='2s'", "3s", "4s", 3),
        ("duration='1s'", "duration='2s'", None, "4s", 1),
        ("", "duration='2s'", None, "4s", 2),
        ("", "duration='2s'", "3s", "4s", 3),
        ("", "", None, "4s", 4),
    ],
)
def test_duration(asked, sim, argument, marker, option, ini, expected):
    asked(
        "duration_ns",
        expected * 10**9,
        arguments=argument,
        marker=marker,
        ini=ini and f"xsched_duration = {ini}",
    )

    result = sim(*[f"--xsched-duration={option}"] * (option is not None))

    result.assert_outcomes(passed=1)


def test_warmup_and_drain_have_defaults(load, sim):
    load("""
        def test_it(xsched, load):
            short = xsched.run(*load, duration="2s").scenario
            assert (short.warmup_ns, short.drain_ns) == (200_000_000, 5_000_000_000)
            long = xsched.run(*load, duration="20s").scenario
            assert (long.warmup_ns, long.drain_ns) == (1_000_000_000, 5_000_000_000)
            own = xsched.run(*load, duration="2s", warmup="0s", drain=10 * ms).scenario
            assert (own.warmup_ns, own.drain_ns) == (0, 10_000_000)
        """)

    sim().assert_outcomes(passed=1)


def test_marker_of_the_test_wins_over_class_and_module(load, sim):
    load("""
        pytestmark = pytest.mark.xsched(seed=1, duration="1s", scheduler="native")

        @pytest.mark.xsched(seed=2, duration="2s")
        class TestClass:
            @pytest.mark.xsched(seed=3)
            def test_own(self, xsched, load):
                s = xsched.run(*load).scenario
                assert (s.seed, s.duration_ns, s.scheduler) == (3, 2 * 10**9, "native")

            def test_none(self, xsched, load):
                s = xsched.run(*load).scenario
                assert (s.seed, s.duration_ns, s.scheduler) == (2, 2 * 10**9, "native")

        def test_outside(xsched, load):
            s = xsched.run(*load).scenario
            assert (s.seed, s.duration_ns, s.scheduler) == (1, 10**9, "native")
        """)

    sim().assert_outcomes(passed=3)


def test_marker_does_not_outlive_its_test(load, sim):
    load("""
        @pytest.mark.xsched(seed=1, scheduler="native")
        def test_marked(xsched, load):
            assert xsched.seed == 1
            assert xsched.run(*load, duration="1s").scheduler == "native"

        def test_after(xsched, load):
            assert xsched.seed == 0
            assert xsched.run(*load, duration="1s").scheduler == "builtin"
        """)

    sim().assert_outcomes(passed=2)


def test_seed_changes_digest_and_arrivals(load, sim, pytester):
    load("""
        def test_it(xsched):
            queue = xsched.queue("high", spin("1ms"), arrivals=poisson("100/s"))
            xsched.run(queue, duration="5s")
        """)

    runs = []
    for name in ("1", "1", "2"):
        assert sim(f"--xsched-seed={name}", "--xsched-json=out.json").ret == 0
        runs += json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]

    assert runs[0] == runs[1]
    assert runs[0]["digest"] != runs[2]["digest"]
    assert runs[0]["queues"][0]["p99_ns"] != runs[2]["queues"][0]["p99_ns"]
    assert [run["scenario"].pop("seed") for run in runs] == [1, 1, 2]
    assert runs[0]["scenario"] == runs[2]["scenario"]


def shown_and_used_seeds(result, path):
    """Give the seed of the header line, and those of the runs in the JSON file."""
    assert result.ret == 0
    header = re.search(r"xsched: device sim, scheduler builtin, seed (\d+)", str(result.stdout))
    assert header is not None
    runs = json.loads(path.read_text())["xsched"]["runs"]
    return int(header[1]), {run["scenario"]["seed"] for run in runs}


def test_random_seed_is_drawn_and_shown(load, pytester, sim):
    load("def test_it(run): pass")

    seeds = set()
    for _ in range(2):
        result = sim("--xsched-seed=random", "--xsched-json=out.json")
        shown, used = shown_and_used_seeds(result, pytester.path / "out.json")
        assert used == {shown}
        seeds.add(shown)

    assert len(seeds) == 2


def test_random_seed_is_the_same_in_the_workers(load, pytester, fresh):
    load("""
        @pytest.mark.parametrize("number", range(4))
        def test_it(xsched, load, number):
            xsched.run(*load, duration="1s")
        """)

    result = fresh(
        "-pxdist", "-n2", "--xsched-device=sim", "--xsched-seed=random", "--xsched-json=out.json"
    )  # fmt: skip

    shown, used = shown_and_used_seeds(result, pytester.path / "out.json")
    assert used == {shown}


def test_required_device_is_there(load, inside):
    load("def test_it(run): pass")

    assert inside("--xsched-device=sim", "--xsched-require-device=sim").ret == 0


@pytest.mark.parametrize("option", ["--xsched-device=cpu", "--xsched-device=auto"])
def test_required_device_is_another(load, inside, option):
    load("def test_it(run): pass")

    result = inside(option, "--xsched-require-device=sim")

    result.assert_outcomes(errors=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["--xsched-require-device=sim, but the device is cpu"])


def test_a_required_device_of_the_ini_file_is_named_as_such(load, inside, pytester):
    load("def test_it(run): pass")
    pytester.makeini("[pytest]\nxsched_require_device = sim")

    result = inside("--xsched-device=cpu")

    result.stdout.fnmatch_lines(
        [
            "ini option xsched_require_device=sim, but the device is cpu; "
            "--xsched-require-device=cpu requires that one instead"
        ]
    )


@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="pytest 9.2 reads any type of TOML")
@pytest.mark.parametrize("table", ["[tool.pytest]", "[tool.pytest.ini_options]"])
def test_numbers_and_truths_of_toml_are_read_as_they_are(load, inside, pytester, table):
    load("""
        def test_it(xsched):
            settings = xsched.settings
            assert (settings.seed, settings.fixed_duration) == (3, True)
            assert (settings.alpha, settings.burst) == (0.02, 5.0)
        """)
    pytester.makepyprojecttoml(
        f"{table}\nxsched_seed = 3\nxsched_fixed_duration = true\n"
        "xsched_alpha = 0.02\nxsched_burst = 5"
    )

    inside().assert_outcomes(passed=1)


@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="pytest 9.2 reads any type of TOML")
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("xsched_duration = 60", '\'60\' has no unit; write "60s" or "60min"'),
        ("xsched_fixed_duration = 1", "'1' is neither yes nor no, nor true or false"),
        ("xsched_device = true", "'true' is unknown; known: auto, cpu, sim, "),
        ("xsched_device = ['sim']", "'xsched_device' expects one of string | bool | int | float"),
    ],
)
def test_a_wrong_type_of_toml_is_one_sentence(load, inside, pytester, line, fault):
    load("def test_it(xsched): pass")
    pytester.makepyprojecttoml(f"[tool.pytest]\n{line}")

    result = inside()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert fault in error


@pytest.mark.parametrize("text", ["~/there", "$PLACE/there", "${PLACE}/there"])
@pytest.mark.parametrize("place", ["command line", "ini"])
def test_home_and_variables_are_replaced_in_every_path(
    load, inside, pytester, monkeypatch, text, place
):
    load(
        """
        from pathlib import Path

        def test_it(xsched):
            settings = xsched.settings
            assert settings.corpus == settings.baselines == Path(THERE)
            assert str(settings.json_path) == THERE + "/out.json"
            assert settings.xsched_home.path == THERE
            assert settings.gpu_driver.path == settings.gpu_compiler.path == THERE + "/lib.so"
        """.replace("THERE", repr(str(pytester.path / "there")))
    )
    pytester.mkdir("there").joinpath("lib.so").touch()
    monkeypatch.setenv("HOME", str(pytester.path))
    monkeypatch.setenv("PLACE", str(pytester.path))
    values = {
        **dict.fromkeys(("corpus", "baselines", "home"), text),
        "json": f"{text}/out.json",
        "gpu-driver": f"{text}/lib.so",
    }
    ini = {"gpu-compiler": f"{text}/lib.so", **(values if place == "ini" else {})}
    lines = [f"xsched_{name.replace('-', '_')} = {value}" for name, value in ini.items()]
    pytester.makeini("\n".join(["[pytest]", *lines]))
    options = [f"--xsched-{name}={value}" for name, value in values.items()]

    inside(*options * (place != "ini")).assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["json", "corpus", "baselines", "home", "gpu-driver"])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("$NOT_SET/x", "'$NOT_SET/x' names the variable NOT_SET, which is not set; set it, or "),
        ("~not.there/x", "'~not.there/x' begins with a home directory that is not known; write "),
    ],
)
def test_a_path_with_an_unknown_variable_or_home_is_refused(load, inside, name, text, fault):
    load("def test_it(xsched): pass")

    result = inside(f"--xsched-{name}={text}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert error.startswith(f"ERROR: --xsched-{name}: {fault}")


# ---- what is shown


@pytest.fixture
def idle(pytester):
    """Runs a test that does not use the plugin, which is found by its entry point."""
    pytester.makepyfile("def test_it(): pass")

    def run(*args):
        return pytester.runpytest_inprocess("-pno:benchmark", "-pno:hypothesispytest", *args)

    return run


def test_header_and_summary_are_absent_when_nobody_asked(idle):
    result = idle()

    assert result.ret == 0
    result.stdout.no_fnmatch_line("xsched: *")
    result.stdout.no_fnmatch_line("*= xsched =*")


def test_header_of_a_plugin_loaded_by_name(idle):
    line = f"xsched: device {auto_device()} (auto), scheduler builtin, seed 0"
    idle("-pxsched").stdout.fnmatch_lines([line])


@pytest.fixture
def no_gpu(monkeypatch):
    """Makes `auto` find no GPU, whatever this machine has."""
    monkeypatch.setattr("pytest_xsched.session.auto_device.GPU_FILES", {"cuda": "/not/there"})


@pytest.mark.parametrize(
    ("body", "need"),
    [
        (
            'kernel("void k() {}", "k", grid=1, block=1)',
            "queue 'q' launches a kernel, which needs a GPU",
        ),
        ('spin("1ms"), device="cuda:1"', "queue 'q' is on the GPU 'cuda:1'"),
        ('spin("1ms"), sm_share=0.5', "queue 'q' has a share of a GPU's multiprocessors"),
        ('spin("1ms"), cu_mask=[0]', "queue 'q' has a share of a GPU's multiprocessors"),
    ],
)
def test_auto_that_found_no_gpu_says_so_where_a_test_is_for_gpus(load, inside, no_gpu, body, need):
    load(f"""
        def test_it(xsched):
            xsched.run(xsched.queue("q", {body}), duration="1s")
        """)

    result = inside("--xsched-device=auto")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"E *ScenarioError: {need}, but device auto took cpu, because neither */dev/*exists; *"]
    )


def test_auto_that_found_no_gpu_says_so_where_xsched_or_a_gpu_is_required(load, inside, no_gpu):
    load("""
        def test_it(xsched):
            xsched.run(xsched.queue("q", spin("1ms")), duration="1s")
        """)

    result = inside("--xsched-scheduler=xsched")
    result.stdout.fnmatch_lines(["E *'xsched' schedules GPUs, but device auto took cpu, because *"])
    result = inside("--xsched-require-device=cuda")
    result.stdout.fnmatch_lines(
        ["--xsched-require-device=cuda, but the device is cpu (auto), because neither * exists"]
    )


def test_auto_that_found_no_gpu_says_so_where_the_settings_are_for_gpus(load, inside, no_gpu):
    load("""
        def test_it(xsched):
            xsched.run(xsched.queue("q", spin("1ms"), rate="20/s"), duration="200ms")
        """)
    line = "! the settings name XSched's directory, but device auto took cpu, because neither *"

    inside("-q", "--xsched-home=.").stdout.fnmatch_lines([line])
    inside("-q").stdout.no_fnmatch_line("! the settings *")
    inside("-q", "--xsched-home=.", "--xsched-device=cpu").stdout.no_fnmatch_line("! the *")


@pytest.mark.parametrize("workers", [(), ("-pxdist", "-n2")])
def test_a_skip_for_want_of_a_device_shows_its_reason(load, fresh, workers):
    load("""
        @pytest.mark.parametrize("number", range(2))
        def test_it(run, number): pass

        def test_other():
            pytest.skip("of no device")
        """)
    missing = ("--xsched-device=cuda:99", "--xsched-process=inside", *workers)

    result = fresh(*missing)

    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["skipped 2 tests: no cuda:99 device: * makes this an error)"])
    result.stdout.no_fnmatch_line("*of no device*")
    fresh(*missing, "-rs").stdout.no_fnmatch_line("skipped 2 tests: *")  # pytest shows it
    other = fresh("-k", "other")
    other.stdout.no_fnmatch_line("*= xsched =*")


def test_header_shows_what_was_set(idle, pytester):
    pytester.makeini("[pytest]\nxsched_seed = 7\nxsched_require_device = sim")

    result = idle("--xsched-device=sim", "--xsched-scheduler=native")

    result.stdout.fnmatch_lines(["xsched: device sim, required sim, scheduler native, seed 7"])


def test_help_and_markers(idle):
    text = str(idle("--help").stdout)
    names = ("device", "scheduler", "duration", "seed", "require-device", "json")
    ini_only = ("waiting", "lock-timeout", "gpu-compiler", "burst", "noise-limit", "fixed-duration")
    for name in (*names, "gpu-driver", *ini_only):
        assert (f"--xsched-{name}=" in text) == (name not in ini_only)
        assert re.search(rf"^  xsched_{name.replace('-', '_')} \(", text, re.MULTILINE)
    for name in ("doctor", "conformance", "soak", *ini_only):
        assert f"--xsched-{name}" not in text

    idle("--markers").stdout.fnmatch_lines(
        [
            "@pytest.mark.xsched(device=..., scheduler=..., policy=..., duration=..., seed=..., "
            "host=...): *"
        ]
    )


def test_marker_is_registered_for_strict_markers(load, sim):
    load("""
        @pytest.mark.xsched(seed=1)
        def test_it(): pass
        """)

    sim("--strict-markers", "--strict-config").assert_outcomes(passed=1)
