"""The doctor's findings as text: for a terminal, and for a file."""

from __future__ import annotations

import json

import pytest

from pytest_xsched.doctor.finding import NAMES, Diagnosis, failed, numbered, ok, skipped


@pytest.fixture
def diagnosis():
    findings = [ok("all is well here, and there is much to be said about it")] * 12
    findings[2] = failed("ld.so says no", "say something else")
    findings[5] = skipped("there is none")
    return Diagnosis(
        home="/opt/xs", origin="XSCHED_HOME", device="cuda", findings=numbered(findings), seconds=2
    )


def test_one_line_for_each_sentence(diagnosis):
    lines = diagnosis.to_text().splitlines()

    assert lines[0] == "xsched doctor: /opt/xs (XSCHED_HOME), device cuda"
    assert lines[2] == (
        " 1  ok       libraries           all is well here, and there is much to be said about it"
    )
    assert lines[4:6] == [
        " 3  FAILED   preload             ld.so says no",
        " " * 33 + "-> say something else",
    ]
    assert lines[8] == " 6  skipped  default stream      there is none"
    assert lines[-1] == "10 ok, 1 failed, 1 skipped in 2.0 s"
    assert len(lines) == 2 + 12 + 1 + 2


def test_wrapped_in_a_terminal(diagnosis):
    lines = diagnosis.to_text(columns=70).splitlines()

    assert max(map(len, lines)) <= 70
    assert lines[2:4] == [
        " 1  ok       libraries           all is well here, and there is much",
        " " * 33 + "to be said about it",
    ]


def test_colour_changes_no_column(diagnosis):
    plain, coloured = diagnosis.to_text(), diagnosis.to_text(colour=True)

    assert "\x1b[31;1mFAILED\x1b[0m   preload" in coloured
    for code in ("\x1b[31;1m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_json(diagnosis):
    data = json.loads(diagnosis.to_json())

    assert (data["home"], data["device"], data["ok"], diagnosis.exit_status) == (
        *("/opt/xs", "cuda"),
        *(False, 1),
    )
    assert [check["name"] for check in data["checks"]] == list(NAMES)
    assert data["checks"][2] == {
        "name": "preload",
        "number": 3,
        "status": "failed",
        "seen": "ld.so says no",
        "remedy": "say something else",
    }


def test_skipped_is_no_failure(diagnosis):
    findings = numbered([skipped("there is none")] * 12)

    assert Diagnosis(home="", origin="", device="", findings=findings, seconds=1).exit_status == 0
