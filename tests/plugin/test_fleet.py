"""Tests that are repeated on several machines, or spread over them; the machines are this one."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET

import pytest

FLEET = """
import os
import signal
import pytest
from pytest_xsched import spin

@pytest.fixture(scope="module")
def run(xsched):
    high = xsched.queue("high", spin("1ms"), priority=9, rate="50/s")
    return xsched.run(high, xsched.queue("low", spin("5ms")), duration="20s")

def test_latency(run, xsched_host):
    assert run.host == xsched_host
    run.high.assert_p99_below("10ms")

@pytest.mark.parametrize("number", [1, 2])
def test_other(run, number):
    run.high.assert_p99_below("10ms")

def test_elsewhere():
    pass

@pytest.mark.xsched(host="a")
def test_on_a(xsched):
    assert xsched.run(xsched.queue("q", spin("1ms")), duration="1s").host == "a"
"""
SIM = ["simulated", "device,", "virtual", "time,", "1", "slot"]
DIES = """
def test_dies(xsched, xsched_host):
    if xsched_host == "b":
        open("dead", "w").close()
        os.kill(xsched.machines.get("b")._connected().facts["pid"], signal.SIGKILL)
    xsched.run(xsched.queue("q", spin("1ms")), duration="1s")

def test_its_next(xsched):
    xsched.run(xsched.queue("q", spin("1ms")), duration="1s")
"""


@pytest.fixture
def fleet(pytester):
    """Writes a test file and an ini file with the hosts a, b, c; b dies with the file "dead"."""

    def write(text=FLEET):
        pytester.makepyfile(test_fleet=text)
        dying = pytester.path / "dying"
        dying.write_text(f'#!/bin/sh\ntest ! -e {pytester.path}/dead || exit 7\nexec "$@"\n')
        dying.chmod(0o755)
        pytester.makeini(
            "[pytest]\nxsched_hosts =\n"
            f"    a = env {sys.executable}\n    b = {dying} {sys.executable}\n"
            f"    c = env {sys.executable}\n"
        )

    return write


def outcomes(path):
    """Read a JUnit file: what came of each test."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        children = [child.tag for child in case if child.tag not in ("properties", "system-out")]
        hosts = [p.get("value") for p in case.iter("property") if p.get("name") == "xsched.host"]
        found[case.get("name")] = (children[0] if children else "passed", *hosts)
    return found


def test_three_hosts_side_by_side_and_one_of_them_dies(fleet, pytester, fresh):
    """Each test three times, one report, and the errors of b are nobody else's."""
    fleet(FLEET + DIES)
    options = ("-pxdist.plugin", "-n3", "--xsched-hosts=a,b,c", "--xsched-device=sim")
    result = fresh(*options, "--junitxml=j.xml", "--xsched-json=x.json", "-v")
    found = outcomes(pytester.path / "j.xml")
    for host in "abc":
        for test in (f"test_latency[{host}]", f"test_other[{host}-1]", f"test_other[{host}-2]"):
            assert found[test] == ("passed", host)
    assert found["test_elsewhere"] == ("passed",)
    assert found["test_on_a"][0] == "passed"
    for test in ("test_dies", "test_its_next"):
        assert [found[f"{test}[{host}]"][0] for host in "abc"] == ["passed", "failure", "passed"]
    result.assert_outcomes(passed=15, failed=2)
    result.stdout.fnmatch_lines(["E *host 'b' was lost *", "E *'b' was not reached: * status 7"])
    runs = json.loads((pytester.path / "x.json").read_text())["xsched"]["runs"]
    hosts = [run["host"] for run in runs]
    assert {host: hosts.count(host) for host in "abc"} == {"a": 4, "b": 1, "c": 3}
    lines = result.outlines
    at = lines.index("3 machines")
    assert [line.split() for line in lines[at + 1 : at + 5]] == [
        ["host", "device", "runs", "PASS", "FAIL", "UNDECIDED", "NO", "VERDICT"],
        ["a", *SIM, "4", "3", "0", "0", "0"],
        ["b", *SIM, "1", "3", "0", "0", "0"],
        ["c", *SIM, "3", "3", "0", "0", "0"],
    ]
    assert "processes measured" not in result.stdout.str()
    # One worker for each host, so that none waits for the other's.
    workers = {}
    for line in lines:
        words = line.split()
        if len(words) > 2 and words[0].startswith("[gw") and words[-1].endswith("]"):
            workers.setdefault(words[-1].partition("[")[2][0], set()).add(words[0])
    assert len(workers["a"] | workers["b"] | workers["c"]) == 3


PARAMS = """
import pytest
from pytest_xsched import spin

HOST = pytest.mark.xsched

@pytest.mark.parametrize(
    "name", ["all", *(pytest.param(host, marks=HOST(host=host)) for host in ("a", "c", "here"))]
)
def test_it(xsched, xsched_host, name):
    run = xsched.run(xsched.queue("q", spin("1ms")), duration="1s")
    assert (run.host or "here") == (xsched_host or "here")
    assert name in ("all", run.host or "here")
"""


@pytest.mark.parametrize("how", [(), ("-pxdist.plugin", "-n2")], ids=["plain", "xdist"])
def test_a_parameter_whose_marker_names_a_host_is_not_repeated(fleet, inside, fresh, how):
    """The id of one that is none of --xsched-hosts is that of the first."""
    fleet(PARAMS)
    measure = fresh if how else inside
    result = measure(*how, "--xsched-hosts=b,a", "--xsched-device=sim", "-v")
    words = " ".join(result.outlines).split()
    ran = {word.rstrip(",") for word in words if "test_it[" in word}
    assert {one.partition("[")[2] for one in ran} == {
        *("b-all]", "a-all]", "a-a]", "b-c]", "b-here]"),
    }
    assert result.parseoutcomes()["passed"] == 5
    assert how or result.parseoutcomes()["deselected"] == 3


def test_a_module_fixture_measures_on_each_host(fleet, pytester, inside):
    fleet()
    result = inside("--xsched-hosts=a,here", "--xsched-device=sim", "-k", "latency", "-v")
    result.assert_outcomes(passed=2, deselected=6)
    result.stdout.fnmatch_lines(["xsched: hosts a, here, device sim, *"])
    result.stdout.fnmatch_lines(["*test_latency?a? PASSED*", "*test_latency?here? PASSED*"])
    result.stdout.fnmatch_lines(["builtin (hpf) on sim of a, *", "builtin (hpf) on sim, 10 s*"])


def test_tests_are_spread(fleet, pytester, inside):
    pytester.makepyfile(
        test_spread="""
        from pytest_xsched import spin
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(xsched, number):
            run = xsched.run(xsched.queue("q", spin("1ms")), duration="15s")
            assert run.host == "abca"[number]
            if number == 1:
                run.q.assert_p99_below("1us")
        """
    )
    fleet()
    result = inside("--xsched-hosts=any", "--xsched-device=sim", "test_spread.py")
    result.assert_outcomes(passed=3, failed=1)
    (again,) = [line for line in result.outlines if "--xsched-host" in line]
    assert "test_it[1]" in again and again.count("--xsched-host") == 1 and "=b" in again


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "--xsched-host=d",
            "--xsched-host: host 'd' is unknown; known: a, b, c, here; *",
        ),
        ("--xsched-hosts=a,d", "--xsched-hosts: host 'd' is unknown; known: a, b, c, here; *"),
        ("--xsched-hosts=a,a", "--xsched-hosts: 'a,a' names 'a' twice; leave one out"),
    ],
)
def test_a_host_that_is_unknown(fleet, inside, option, sentence):
    fleet()
    result = inside(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("gpu7", "*'gpu7' is not a name and a command, as in 'gpu7 = ssh gpu7'; *"),
        ("here = ssh gpu7", "*is not a name and a command, *, and is neither 'here' nor 'any'"),
        ("gpu7 =", "*'gpu7 =' has no command; write 'gpu7 = ssh gpu7'"),
        ("gpu7 = ssh 'gpu7", '*"gpu7 = ssh \'gpu7": No closing quotation'),
    ],
)
def test_a_line_that_names_no_host(pytester, inside, line, sentence):
    pytester.makeini(f"[pytest]\nxsched_hosts =\n    {line}\n")
    result = inside()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini option xsched_hosts: {sentence}"])


def test_any_of_no_hosts(pytester, inside):
    result = inside("--xsched-hosts=any")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --xsched-hosts=any: the ini key xsched_hosts names no *"])


def test_hosts_in_a_pyproject_file(pytester, inside):
    pytester.makepyprojecttoml(
        f"[tool.pytest.ini_options]\nxsched_hosts = ['a = env {sys.executable}']\n"
    )
    pytester.makepyfile(
        """
        from pytest_xsched import spin

        def test_it(xsched):
            run = xsched.run(xsched.queue("q", spin("1ms")), duration="1s")
            assert run.host == "a" and xsched.device_kind == "sim"
        """
    )
    inside("--xsched-host=a", "--xsched-device=sim").assert_outcomes(passed=1)
