"""What the opencl device makes of the answers to its calls: every call in turn fails and becomes
one error that names call and code, or the reason of a skip; priorities become hints.

Between the device and the driver is put a library that is generated from our list of calls. It
forwards, except what a test asks for.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

START = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* XS_FAIL: "clFinish=-5"; "status=-14" is what events say of their commands. */
static int fails(const char *name)
{
    const char *wanted = getenv("XS_FAIL");
    size_t length = strlen(name);
    if (wanted == NULL || strncmp(wanted, name, length) != 0 || wanted[length] != '=')
        return 0;
    return atoi(wanted + length + 1);
}

/* XS_HINTS: a file. The device then has priority hints, and those that it is given go there. */
static size_t more(char *extensions)
{
    const char *hints = " cl_khr_priority_hints";
    if (getenv("XS_HINTS") == NULL)
        return 0;
    if (extensions != NULL)
        strcat(extensions, hints);
    return strlen(hints);
}

static void note(const uint64_t *properties)
{
    FILE *file = fopen(getenv("XS_HINTS"), "a");
    for (int i = 0; properties[i] != 0; i++)
        fprintf(file, "%lx ", (unsigned long)properties[i]);
    fclose(file);
}

static void *real(const char *name)
{
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    return library != NULL ? dlsym(library, name) : NULL;
}
"""
RUN = """
import json
import os
import sys

from pytest_xsched import CpuModel, DeviceError, DeviceUnavailable, Scenario, SimModel, matmul, spin
from pytest_xsched import QueueSpec, constant
from pytest_xsched.native.binding import Device
from pytest_xsched.runner.measure import measure

queues = tuple(
    QueueSpec(
        name=name, workload=work, priority=p, arrivals=constant("1000/s"), threshold=4, batch_size=2
    )
    for name, p, work in (("m", 10, matmul(8, layers=3)), ("s", 1, spin("10us")))
)
scenario = Scenario(
    queues=queues, duration_ns=10**7, warmup_ns=0, drain_ns=10**10, seed=0,
    device="opencl", scheduler="builtin", policy="hpf", check=True,
)
for wanted in sys.argv[1:]:
    os.environ["XS_FAIL"] = wanted
    device, end, honours = None, ["no error", "", 0, ""], None
    try:
        device = Device("opencl", cpu=CpuModel(), sim=SimModel())
        honours = device.describe().honours_priority
        measure({scenario.device: device}, scenario)
    except DeviceError as error:
        end = [type(error).__name__, error.call, error.code, str(error)]
    finally:
        os.environ["XS_FAIL"] = ""
        if device is not None:
            device.close()
    print(json.dumps([*end, honours]), flush=True)
"""


BEFORE = {
    "clCreateCommandQueueWithProperties": "note(properties); properties = NULL;",
}
BEHIND = {
    "clGetEventInfo": """
    if (rc == 0 && fails("status"))
        *(int *)value = fails("status");""",
    "clGetDeviceInfo": """
    if (rc == 0 && what == 0x1030) {
        size_t longer = more(value);
        if (bytes != NULL)
            *bytes += longer;
    }""",
}


def forward(result, name, parameters):
    names = [re.findall(r"(\w+)$", p)[0] for p in parameters.split(",")]
    failing = "return failed;" if result == "int" else "{ *code = failed; return NULL; }"
    return f"""
{result} {name}({parameters})
{{
    {result} (*next)({parameters}) = real("{name}");
    int failed = next == NULL ? -1001 : fails("{name}");
    if (failed != 0)
        {failing}
    {BEFORE.get(name, "")}
    {result} rc = next({", ".join(names)});
    {BEHIND.get(name, "")}
    return rc;
}}
"""


@pytest.fixture(scope="module")
def between(tmp_path_factory, opencl_functions):
    """Build the library; give its file."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    place = tmp_path_factory.mktemp("between")
    source = START + "".join(forward(*row) for row in opencl_functions)
    (place / "between.c").write_text(source)
    command = [compiler, "-shared", "-fPIC", "-o", "libbetween.so", "between.c", "-ldl"]
    subprocess.run(command, cwd=place, check=True)
    return place / "libbetween.so"


class End(NamedTuple):
    """How a run ended: `kind` is the type of the error."""

    kind: str
    call: str
    code: int
    message: str
    honours_priority: bool | None


@pytest.fixture
def ends(between, pocl):
    """Give the ends of small runs: one without a fault, then one for each call that is to fail."""

    def run(*wanted, **environment):
        done = subprocess.run(
            [sys.executable, "-c", RUN, "nothing=0", *wanted],
            env={**os.environ, "PYTEST_XSCHED_GPU_DRIVER": str(between), **environment},
            cwd=between.parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found = [End(*json.loads(line)) for line in done.stdout.splitlines()]
        if found[0].kind == "DeviceUnavailable":
            pytest.skip(f"no opencl device: {found[0].message}")
        assert found[0].kind == "no error", found[0]
        assert len(found) == 1 + len(wanted)
        return found

    return run


def may_fail(name):
    """Say no of what only frees, and of what PoCL is not asked."""
    rare = {"clCreateCommandQueueWithProperties", "clGetProgramBuildInfo"}
    return not name.startswith("clRelease") and name not in rare


def test_every_call_that_fails_is_one_error(ends, opencl_functions):
    names = [name for _, name, _ in opencl_functions if may_fail(name)]
    _, *found = ends(*(f"{name}=-5" for name in names))
    for name, end in zip(names, found, strict=True):
        assert (end.kind, end.code) == ("DeviceError", -5), name
        assert end.call.startswith("opencl."), name
        assert "CL_OUT_OF_RESOURCES" in end.message, name


def test_no_device_is_a_reason_to_skip(ends):
    _, platforms, devices = ends("clGetPlatformIDs=-1001", "clGetDeviceIDs=-1")
    assert platforms.kind == devices.kind == "DeviceUnavailable"
    assert "no platform" in platforms.message
    assert "have 0 devices, so there is no device number 0" in devices.message


def test_a_command_that_fails_on_the_device_is_an_error(ends):
    _, end = ends("status=-14")
    assert (end.kind, end.call, end.code) == ("DeviceError", "opencl.execute", -14)
    assert "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST" in end.message


def test_no_memory_says_for_what(ends):
    _, end = ends("clCreateBuffer=-4")
    assert (end.kind, end.call, end.code) == ("DeviceError", "opencl.kernel_create", -4)
    assert "more than the device has" in end.message


def test_a_code_of_somebody_else_is_shown_as_it_is(ends):
    _, end = ends("clFinish=-9999")
    assert (end.kind, end.code) == ("DeviceError", -9999)
    assert "an unknown code" in end.message


def test_priorities_are_hints_where_the_device_takes_them(ends, tmp_path):
    (end,) = ends()
    assert end.honours_priority is False
    hints = tmp_path / "hints"
    (end,) = ends(XS_HINTS=str(hints))
    assert end.honours_priority is None
    low, medium, high = "1096 4", "1096 2", "1096 1"
    # Of the set-up and the calibration; of two experiments with the effect of priorities; of the
    # commands alone; then of priority 10 and priority 1.
    probed = [high, low, low, high]
    alone = [low, low]
    # On a busy machine the experiments are made up to three times.
    expected = [[low, low, *probed * times, *alone, high, medium] for times in (1, 2, 3)]
    assert hints.read_text().strip() in [" ".join(one) for one in expected]
