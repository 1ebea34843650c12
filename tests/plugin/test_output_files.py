"""--xsched-json and friends: typing errors, links of others, pipes; nothing is left."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.timeout(120)
LONG = """
    import pathlib
    from pytest_xsched import spin

    def test_long(xsched):
        pathlib.Path("started").touch()
        xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="600s")
    """


@pytest.fixture
def refused(load, sim, pytester):
    """Runs a session that must end before anything is measured, and returns its one sentence."""

    def run(*options):
        load("def test_it(run): open('measured', 'w')")
        result = sim(*options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert not (pytester.path / "measured").exists()
        errors = [line for line in result.errlines if line.startswith("ERROR: ")]
        assert len(errors) == 1 and "INTERNALERROR" not in str(result.stdout)
        return errors[0]

    return run


@pytest.mark.parametrize("option", ["json", "html", "corpus", "baselines"])
def test_no_directories_of_typing_errors(refused, pytester, option):
    text = refused(f"--xsched-{option}=reslts/out", "--xsched-save=main")
    assert text == (
        f"ERROR: --xsched-{option}: {pytester.path / 'reslts' / 'out'}: the directory "
        f"{pytester.path / 'reslts'} does not exist; make it first"
    )
    assert not (pytester.path / "reslts").exists()


@pytest.mark.parametrize("option", ["json", "html", "corpus", "baselines"])
@pytest.mark.parametrize("name", ["x" * 300, "y/" * 2500], ids=["name", "path"])
def test_a_path_that_is_too_long_is_one_sentence(refused, option, name):
    text = refused(f"--xsched-{option}={name}")
    assert text.startswith(f"ERROR: --xsched-{option}: ") and len(text) < 600


def test_a_pipe_without_a_reader_is_refused_before_the_run(refused, pytester):
    os.mkfifo(pytester.path / "pipe")
    assert f"{pytester.path / 'pipe'} is not a file; write to a file" in refused(
        "--xsched-json=pipe"
    )
    (pytester.path / ".xsched").mkdir()
    os.mkfifo(pytester.path / ".xsched" / "main.jsonl")
    assert "main.jsonl is not a file" in refused("--xsched-save=main")


def test_a_pipe_among_the_baselines_does_not_hang(load, sim, pytester):
    (pytester.path / ".xsched").mkdir()
    os.mkfifo(pytester.path / ".xsched" / "main.jsonl")
    load("def test_it(run): pass")
    result = sim("--xsched-compare=main")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED baselines: *Not a regular file*main.jsonl*"])


def test_a_pipe_in_the_corpus_does_not_hang(load, sim, pytester):
    pytester.mkdir("corpus")
    os.mkfifo(pytester.path / "corpus" / "one.json")
    load("def test_it(known_scenario): pass")
    result = sim("--xsched-corpus=corpus")
    assert "one.json holds no scenario: " in str(result.stdout) + str(result.stderr)
    assert "INTERNALERROR" not in str(result.stdout)


def test_a_step_summary_that_is_a_pipe(load, sim, pytester, monkeypatch):
    os.mkfifo(pytester.path / "pipe")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "pipe"))
    load("def test_it(run): pass")
    result = sim("--xsched-json=out.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY: *"])
    assert (pytester.path / "out.json").exists()


def test_two_files_that_cannot_be_written_are_both_named(load, sim, pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path))
    load("""
        import os
        def test_it(run): os.mkdir("out.json")
        """)
    result = sim("--xsched-json=out.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["--xsched-json: *Is a directory*", "GITHUB_STEP_SUMMARY: *"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_no_temporary_directories_after_signals(pytester, alone, monkeypatch, number):
    pytester.makepyfile(LONG)
    temporary = pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    options = ("--xsched-device=cpu", "--xsched-process=worker", "--xsched-json=out.json")
    with subprocess.Popen(
        [sys.executable, "-mpytest", "-pxsched", "--basetemp=base", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=pytester.path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    ) as process:
        deadline = time.monotonic() + 60
        while not (pytester.path / "started").exists() or not list(temporary.iterdir()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        assert process.wait(30) == -number
    assert list(temporary.iterdir()) == []
    assert not [path for path in pytester.path.iterdir() if "xsched-" in path.name]


def test_the_summary_says_which_files_were_written(load, sim, pytester):
    load("def test_it(run): run.high.assert_p99_below('1h')")
    names = {"json": "a.json", "html": "b.html", "samples": "c.csv", "openmetrics": "d.prom"}
    result = sim(*(f"--xsched-{option}={name}" for option, name in names.items()))
    paths = ", ".join(str(pytester.path / name) for name in names.values())
    assert f"written: {paths}" in result.outlines
    assert all((pytester.path / name).is_file() for name in names.values())


def test_the_summary_names_no_file_that_was_not_written(load, sim, pytester):
    load("def test_it(run): import os; os.mkdir('a.json')")
    result = sim("--xsched-json=a.json", "--xsched-samples=c.csv")
    assert result.ret == 1
    assert f"written: {pytester.path / 'c.csv'}" in result.outlines
