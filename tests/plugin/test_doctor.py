"""`pytest-xsched doctor`: its forms, what it says where nothing is installed, no tests."""

from __future__ import annotations

import json

import pytest

NAMES = [
    *("libraries", "symbols of the shim", "preload", "variables", "canary", "default stream"),
    *("scheduler", "priorities", "ladder", "fork and threads", "GPU at rest", "end of a process"),
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, pytester):
    for name in ("XSCHED_HOME", "XLOG_LEVEL", "LD_PRELOAD", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile("def test_it(): open('ran', 'w')")


def test_nothing_is_installed(command, pytester):
    result = command("doctor", "--device=hip")

    assert result.ret == 1
    assert not (pytester.path / "ran").exists()
    lines = result.outlines
    assert lines[0] == "xsched doctor: no XSched, device hip"
    heads = [line for line in lines if line[2:4] == "  " and line[:2].strip().isdecimal()]
    assert [line[13:33].strip() for line in heads] == NAMES
    assert lines[2] == (
        " 1  FAILED   libraries           no XSched is named; set the variable XSCHED_HOME, "
        "the ini key xsched_home or an option (pytest: --xsched-home=DIR, pytest-xsched: "
        "--home=DIR) to the directory where it is installed"
    )
    assert lines[3].strip().startswith("-> install XSched (https://github.com/XpuOS/xsched)")
    assert " failed, " in lines[-1]


def test_a_directory_without_xsched(command, pytester, monkeypatch):
    monkeypatch.setenv("XSCHED_HOME", str(pytester.path))

    result = command("doctor", "--device=hip")

    home = pytester.path
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"xsched doctor: {home} (XSCHED_HOME), device hip",
            f"*XSCHED_HOME names {home}, which has no libpreempt.so (not at "
            f"{home}/lib/libpreempt.so, {home}/output/lib/libpreempt.so, {home}/libpreempt.so)",
        ]
    )


def test_where_it_seems_to_be(command, pytester, monkeypatch):
    (pytester.path / "libpreempt.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{pytester.path}")

    result = command("doctor")

    result.stdout.fnmatch_lines([f"*-> libpreempt.so is in {pytester.path}, which is on LD_*"])


def test_json_has_builtin_types_and_all_checks(command):
    result = command("doctor", "--json", "--device=hip")

    data = json.loads(result.stdout.str())
    assert result.ret == 1
    assert (data["home"], data["origin"], data["device"], data["ok"]) == (None, None, "hip", False)
    assert [check["name"] for check in data["checks"]] == NAMES
    assert [check["number"] for check in data["checks"]] == list(range(1, 13))
    assert {check["status"] for check in data["checks"]} <= {"ok", "failed", "skipped"}
    assert all(check["seen"] for check in data["checks"])
    assert all(check["remedy"] for check in data["checks"] if check["status"] != "ok")


def test_a_driver_that_is_not_there(command, pytester, xsched_double, monkeypatch):
    monkeypatch.setenv("XSCHED_HOME", str(xsched_double))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "/nowhere/libamdhip64.so.6")

    result = command("doctor", "--device=hip")

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*1 *FAILED *the driver of hip cannot be loaded: PYTEST_XSCHED_GPU_DRIVER: "
            "/nowhere/libamdhip64.so.6 does not exist"
        ]
    )


def test_a_conftest_that_cannot_be_imported(command, pytester):
    pytester.makeconftest("1 / 0")

    result = command("doctor", "--device=hip")

    result.stdout.fnmatch_lines(
        ["10  skipped  fork and threads    pytest does not start in this *"]
    )
