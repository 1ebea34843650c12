"""What is wrong with XSched's environment variables, one sentence each."""

from __future__ import annotations

import pytest

from pytest_xsched.xsched.environment import VARIABLES, faults, is_xsched_variable


def test_nothing_set_and_everything_right(tmp_path):
    library = tmp_path / "libamdhip64.so"
    library.touch()

    assert faults({}) == ()
    assert faults({"PATH": "/bin", "LD_PRELOAD": "/nowhere.so", "XSCHED_HOME": "/nowhere"}) == ()
    assert (
        faults(
            {
                "XSCHED_POLICY": "HPF",
                "XSCHED_SCHEDULER": "LCL",
                "XSCHED_AUTO_XQUEUE": "on",
                "XSCHED_AUTO_XQUEUE_PRIORITY": "-255",
                "XSCHED_AUTO_XQUEUE_THRESHOLD": "4",
                "XSCHED_AUTO_XQUEUE_BATCH_SIZE": "2",
                "XSCHED_HIP_LIB": str(library),
                "XLOG_LEVEL": "WARN",
            }
        )
        == ()
    )
    assert faults({"XSCHED_SCHEDULER": "GLB"}) == ()


def test_an_empty_value_is_one_that_is_not_set():
    assert faults(dict.fromkeys(VARIABLES, "") | {"XSCHED_AUTO_XQUEUE": "1"}) == ()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            "XSCHED_SCHED=LCL",
            "XSCHED_SCHED is not a variable of XSched, which ignores it; "
            "did you mean XSCHED_SCHEDULER?",
        ),
        (
            "XSCHED_POLICIES=HPF",
            "XSCHED_POLICIES is not a variable of XSched, which ignores it; "
            "did you mean XSCHED_POLICY?",
        ),
        (
            "XSCHED_LOG_LEVEL=TRACE",
            "XSCHED_LOG_LEVEL is not a variable of XSched, which ignores it; "
            "did you mean XLOG_LEVEL?",
        ),
        (
            "XSCHED_HOMES=/opt",
            "XSCHED_HOMES is not a variable of XSched, which ignores it; did you mean XSCHED_HOME?",
        ),
        (
            "XSCHED_SOMETHING_ELSE=1",
            "XSCHED_SOMETHING_ELSE is not a variable of XSched, which ignores it",
        ),
        ("CUXTRA_ANYTHING=1", "CUXTRA_ANYTHING is not a variable of XSched, which ignores it"),
        (
            "XLOG_LEVEL=DEBUG",
            "XLOG_LEVEL='DEBUG' is unknown to XSched 1.2, which uses INFO; "
            "known: ERRO, WARN, INFO, DEBG",
        ),
        (
            "XLOG_LEVEL=warn",
            "XLOG_LEVEL='warn' is unknown to XSched 1.2, which uses INFO; did you mean WARN?",
        ),
        (
            "XSCHED_POLICY=hpf",
            "XSCHED_POLICY='hpf' is unknown to XSched 1.2, which uses no policy, "
            "which schedules nothing; did you mean HPF?",
        ),
        (
            "XSCHED_POLICY=SPUP",
            "XSCHED_POLICY=SPUP ends every process that loads XSched 1.2, which only declares SPUP",
        ),
        (
            "XSCHED_SCHEDULER=LOCAL",
            "XSCHED_SCHEDULER='LOCAL' is unknown to XSched 1.2, which uses APP, "
            "which schedules nothing; known: APP, LCL, GLB",
        ),
        (
            "XSCHED_SCHEDULER=LCL",
            "XSCHED_SCHEDULER=LCL without XSCHED_POLICY schedules nothing: XSched stays at APP",
        ),
        (
            "XSCHED_SCHEDULER=GLB XSCHED_POLICY=HPF",
            "XSCHED_POLICY=HPF makes the scheduler LCL, whatever XSCHED_SCHEDULER is",
        ),
        (
            "XSCHED_AUTO_XQUEUE=yes",
            "XSCHED_AUTO_XQUEUE='yes' is unknown to XSched 1.2, which uses OFF; "
            "known: ON, OFF, 1, 0",
        ),
        (
            "XSCHED_AUTO_XQUEUE_PRIORITY=5",
            "XSCHED_AUTO_XQUEUE_PRIORITY has no effect without XSCHED_AUTO_XQUEUE=ON: "
            "no XQueue is created",
        ),
        (
            "XSCHED_AUTO_XQUEUE=1 XSCHED_AUTO_XQUEUE_PRIORITY=high",
            "XSCHED_AUTO_XQUEUE_PRIORITY='high' is not a whole number, and XSched uses the default",
        ),
        (
            "XSCHED_AUTO_XQUEUE=1 XSCHED_AUTO_XQUEUE_PRIORITY=256",
            "XSCHED_AUTO_XQUEUE_PRIORITY=256 is outside XSched's range, -255 to 255",
        ),
        (
            "XSCHED_AUTO_XQUEUE=1 XSCHED_AUTO_XQUEUE_DEADLINE=0",
            "XSCHED_AUTO_XQUEUE_DEADLINE=0 is outside XSched's range, 1 and up",
        ),
        (
            "XSCHED_AUTO_XQUEUE=1 XSCHED_AUTO_XQUEUE_THRESHOLD=4",
            "a threshold of 4 below a batch size of 8 ends the process: set "
            "XSCHED_AUTO_XQUEUE_BATCH_SIZE as well (default 8)",
        ),
        (
            "XSCHED_CUDA_LIB=/nowhere/libcuda.so",
            "XSCHED_CUDA_LIB: /nowhere/libcuda.so does not exist, and XSched searches for another",
        ),
        (
            "XSCHED_OPENCL_LIB=/usr/lib/libOpenCL.so",
            "XSCHED_OPENCL_LIB has no effect: for OpenCL, too, XSched reads XSCHED_CUDA_LIB",
        ),
    ],
)
def test_one_sentence_for_each_fault(setting, sentence):
    assert faults(dict(part.split("=") for part in setting.split())) == (sentence,)


def test_whose_a_variable_is():
    assert (
        is_xsched_variable("XSCHED_POLICY")
        and is_xsched_variable("XSCHED_SCHED")
        and is_xsched_variable("XLOG_LEVEL")
    )
    assert is_xsched_variable("CUXTRA_CUDA_LIB")
    assert not is_xsched_variable("XSCHED_HOME") and not is_xsched_variable("PYTEST_XSCHED_CACHE")
    assert all(is_xsched_variable(name) for name in VARIABLES)


LOWER = {"XSCHED_POLICY": "hpf"}


def test_a_spelling_that_is_in_effect_is_right():
    """XSched 1.2 knows capitals only; later versions know each spelling."""
    local = "reports 'using local scheduler with policy HPF'"
    assert faults(LOWER, local) == ()
    assert faults({"XSCHED_SCHEDULER": "lcl", **LOWER}, local) == ()
    assert faults({"XSCHED_SCHEDULER": "glb"}, "using global scheduler") == ()


@pytest.mark.parametrize(
    "report",
    [
        "",  # it was not asked
        "using app-managed scheduler",
        "using local scheduler with policy KEDF",
        "a program that loads XSched in this environment ended with exit status 1",
    ],
)
def test_a_spelling_that_is_not_in_effect_is_a_fault(report):
    (fault,) = faults(LOWER, report)
    assert fault.endswith("did you mean HPF?")
    assert faults({"XSCHED_POLCY": "HPF"}, report)
