"""Noise in whole sessions: in virtual time, with made-up readings, so that no machine decides."""

from __future__ import annotations

import json

import pytest

QUIET = "Readings(block_ns=100_000_000, on_host={on_host}, heartbeat_ns=(2_000_000,) * 10)"
NOISY = (
    "Readings(block_ns=100_000_000, on_host={on_host}, "
    "heartbeat_ns=(0, 0, 0, 7_000_000, 0, 0, 7_500_000, 0, 0, 0))"
)


@pytest.fixture
def machine(pytester, monkeypatch):
    """Writes a test of a run of 1 s, and a conftest in which the readings are as given."""
    monkeypatch.delenv("PYTEST_XSCHED_NOISE")

    def write(readings, *, on_host=False):
        pytester.makeconftest(f"""
            import dataclasses
            import pytest

            @pytest.fixture(autouse=True)
            def machine(monkeypatch):
                from pytest_xsched.session import device_pool
                from pytest_xsched.monitoring.noise import Readings

                def measure_here(devices, scenario, progress, **how):
                    found = measure(devices, scenario, progress, **how)
                    assert found.readings is None  # of virtual time
                    readings = {readings.format(on_host=on_host)} if how['watch'] else None
                    return dataclasses.replace(found, readings=readings)

                measure = device_pool.measure
                monkeypatch.setattr(device_pool, "measure", measure_here)
            """)
        pytester.makepyfile(
            test_it="""
            from pytest_xsched import spin

            def test_it(xsched):
                run = xsched.run(
                    xsched.queue("high", spin("1ms"), rate="100/s"), duration="1s"
                )
                assert run.high.p50 < "2ms"
                run.high.assert_throughput_at_least("100/s")
                run.high.assert_no_errors()
            """
        )

    return write


@pytest.fixture
def noted(sim, pytester):
    """Runs it; gives the result and the run's record."""

    def run(*args):
        result = sim("--xsched-json=out.json", *args)
        (record,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
        return result, record

    return run


def test_a_noisy_machine_is_an_error(machine, noted):
    machine(NOISY)

    result, run = noted()

    result.assert_outcomes(errors=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*InvalidRun: no verdict: environment too noisy: 40% of the time, by a limit of 5 ms: "
            "heartbeat up to 7.5 ms late"
        ]
    )
    assert run["evidence"]["valid"] is False
    assert run["evidence"]["noise"]["noisy_ns"] == 400_000_000


def test_noise_is_noted_where_the_device_shares_the_processors(machine, noted):
    machine(NOISY, on_host=True)

    result, run = noted()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  harness: heartbeat up to 7.5 ms late; noisy 40 % of the time (limit 5 ms)",
        ]
    )
    assert run["queues"][0]["n"] == 100 and run["queues"][0]["masked"] == 0


def test_verdicts_say_that_most_of_the_time_was_noisy_where_noise_is_only_noted(machine, noted):
    """Noise makes nothing faster, so there is a verdict; a line below it is not enough."""
    machine(NOISY.replace("0, 0, 0, 7_000_000", "9_000_000, 0, 9_000_000, 0"), on_host=True)

    result, _ = noted()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  PASS high: throughput 100/s *; 60 % of the measured time was noisy  [[]*",
            "  PASS high: errors *; 60 % of the measured time was noisy  [[]*",
        ]
    )


def test_masked_seconds_leave_the_latencies_only(machine, noted):
    machine(NOISY.replace("7_500_000", "5_000_000"))

    result, run = noted()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  high * 80 *",
            "  harness: heartbeat up to 7 ms late",
            "  masked 200 ms of 1 s: heartbeat up to 7 ms late",
        ]
    )
    assert run["queues"][0]["n"] == 80 and run["queues"][0]["masked"] == 20
    assert run["queues"][0]["throughput_hz"] == 100


def test_the_limit_is_the_users(machine, noted):
    machine(NOISY)

    result, run = noted("--xsched-noise=mask", "-oxsched_noise_limit=7500us")

    result.assert_outcomes(passed=1)
    assert run["evidence"]["noise"]["noisy_ns"] == 0
    result.stdout.no_fnmatch_line("*masked*")


def test_nobody_looks(machine, noted):
    machine(NOISY)

    result, run = noted("--xsched-noise=off")

    result.assert_outcomes(passed=1)
    assert run["evidence"]["noise"] is None
    result.stdout.no_fnmatch_line("*harness: *")


def test_virtual_time_knows_no_noise(load, sim):
    load("""
        def test_it(run):
            assert run.evidence.noise is None
        """)
    sim("--xsched-noise=mask").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "variable", "ini", "mode"),
    [
        ("mask", "note", "note", "mask"),
        (None, "mask", "note", "mask"),
        (None, None, "note", "note"),
        (None, None, None, "mask"),
    ],
)
def test_command_line_variable_ini(
    machine, noted, pytester, monkeypatch, option, variable, ini, mode
):
    machine(QUIET)
    if variable:
        monkeypatch.setenv("PYTEST_XSCHED_NOISE", variable)
    if ini:
        pytester.makeini(f"[pytest]\nxsched_noise = {ini}")

    result, run = noted(*[f"--xsched-noise={option}"] * (option is not None))

    result.assert_outcomes(passed=1)
    assert run["evidence"]["noise"]["mode"] == mode


@pytest.mark.parametrize(
    ("option", "variable", "sentence"),
    [
        (
            "--xsched-noise=loud",
            "",
            "--xsched-noise: 'loud' is unknown; known: auto, mask, note, off",
        ),
        ("", "loud", "PYTEST_XSCHED_NOISE: 'loud' is unknown; known: auto, mask, note, off"),
        ("-oxsched_noise_limit=5", "", "ini option xsched_noise_limit: *"),
        ("-oxsched_noise_limit=0s", "", "ini option xsched_noise_limit: *"),
    ],
)
def test_what_is_refused(machine, inside, monkeypatch, option, variable, sentence):
    machine(QUIET)
    if variable:
        monkeypatch.setenv("PYTEST_XSCHED_NOISE", variable)

    result = inside(*[option] * bool(option))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])
