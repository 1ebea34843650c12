"""The command `pytest-xsched` as a whole: its help, its exit codes, wrong usage."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_xsched.cli import main as cli
from pytest_xsched.cli.main import ExitCode, main


def run(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "pytest_xsched", *args], capture_output=True, text=True, **kwargs
    )


def test_the_script_is_installed():
    script = os.path.join(os.path.dirname(sys.executable), "pytest-xsched")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--version").stdout
    assert done.stdout.startswith("pytest-xsched 0.")


def test_the_codes_are_documented():
    text = run("--help").stdout
    for code in ExitCode:
        assert f"\n  {code.value:<5}" in text
        assert f"\n    {code.value}: " in cli.__doc__


@pytest.mark.parametrize("command", ["doctor", "conformance", "compare", "report"])
def test_help_of_a_command(command):
    done = run(command, "--help", env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: pytest-xsched {command} ")
    assert "exit codes:" in done.stdout
    assert ("--json" in done.stdout) == (command != "report")  # which makes a page
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "%%" not in done.stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "the following arguments are required: COMMAND; see pytest-xsched --help"),
        (["docter"], "argument COMMAND: invalid choice: 'docter' *"),
        (["compare", "a.json"], "the following arguments are required: B; *"),
        (["report", "a.json"], "the following arguments are required: -o/--output; *"),
        (["doctor", "--devise=cuda"], "unrecognized arguments: --devise=cuda; *"),
        (["doctor", "--device=tpu"], "--device: 'tpu' is unknown; known: auto, cpu, sim, hip, *"),
        (["doctor", "--gpu-compiler=/no"], "--gpu-compiler: /no does not exist"),
    ],
)
def test_wrong_usage_is_one_sentence(args, sentence):
    done = run(*args)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.count("\n") == 1
    words = sentence.rstrip("*")
    assert f": {words}" in done.stderr


def test_ctrl_c(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_compare", interrupt)
    assert main(["compare", "a", "b"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "pytest-xsched: interrupted\n"


def test_a_reader_that_ends_first():
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_xsched", "doctor", "--json", "--device=hip"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == ExitCode.FINDING


def test_old_options_are_gone(inside):
    for option in (
        "doctor",
        "soak=2s",
        "conformance",
        "burst=2",
        "noise-limit=5ms",
        "waiting=spin",
    ):
        result = inside(f"--xsched-{option}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*error: unrecognized arguments: --xsched-{option}"])
