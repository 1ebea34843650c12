"""The double of XSched's libraries as an installation: what it holds, how its parts find another.

What it does is tested by native/tests/test_xsched_double.c.
"""

import ctypes.util
import os
import subprocess
import sys

import pytest

HALS = {
    "libhalcuda.so": {"CudaQueueCreate", "CudaQueueGet"},
    "libhalhip.so": {"HipQueueCreate"},
    "libhalopencl.so": {"OclQueueCreate"},
}


def say(xsched_double, code, **environment):
    """Run Python code with `lib`, a function that loads a library of the double, in a process."""
    head = f"import ctypes\nlib = lambda n: ctypes.CDLL('{xsched_double}/lib/' + n)\n"
    return subprocess.run(
        [sys.executable, "-c", head + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", HALS)
def test_a_hal_finds_libpreempt_by_itself(xsched_double, name):
    code = f"print(all(hasattr(lib('{name}'), f) for f in {sorted(HALS[name])}))"
    done = say(xsched_double, code)
    assert done.stdout == "True\n"
    assert done.stderr.endswith("using app-managed scheduler\n")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "using app-managed scheduler"),
        ({"XSCHED_POLICY": "HPF"}, "using local scheduler with policy HPF"),
        ({"XSCHED_POLICY": "hpf"}, "using app-managed scheduler"),
        ({"XSCHED_SCHEDULER": "LCL"}, "using app-managed scheduler"),
        ({"XSCHED_SCHEDULER": "GLB"}, "using global scheduler"),
        ({"XSCHED_SCHEDULER": "GLB", "XLOG_LEVEL": "WARN"}, ""),
    ],
)
def test_the_environment_chooses_the_scheduler(xsched_double, variables, said):
    done = say(xsched_double, "lib('libpreempt.so')", **variables)
    assert done.returncode == 0
    assert said in done.stderr
    assert said or not done.stderr


def test_a_policy_that_is_not_there_ends_the_process_while_it_is_loaded(xsched_double):
    done = say(xsched_double, "lib('libpreempt.so'); print('loaded')", XSCHED_POLICY="SPUP")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[XSCHED ERRO @" in done.stderr


def test_a_driver_without_the_function_ends_the_process(xsched_double):
    code = "lib('libhalopencl.so').OclQueueCreate(ctypes.byref(ctypes.c_uint64()), 1)"
    libc = ctypes.util.find_library("c")
    done = say(xsched_double, code, XSCHED_CUDA_LIB=libc)
    assert done.returncode == 1
    assert "fail to get symbol clGetCommandQueueInfo" in done.stderr.splitlines()[-1]


COMMANDS = """
import ctypes, sys
home, driver = sys.argv[1:]
pointer, u64, i64, ref = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64, ctypes.byref
cuda, context, stream = ctypes.CDLL(driver), pointer(), pointer()
cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ref(context), 0), cuda.cuCtxSetCurrent(context)
assert cuda.cuStreamCreateWithPriority(ref(stream), 1, 0) == 0
preempt = ctypes.CDLL(home + "/lib/libpreempt.so")
hal = ctypes.CDLL(home + "/lib/libhalcuda.so")
hwq, xq, command, done = u64(), u64(), u64(), []
callback = ctypes.CFUNCTYPE(ctypes.c_int, u64, pointer)(lambda hwq, data: done.append(hwq) or 0)
said = [
    preempt.XHintSetScheduler(2, 1),
    hal.CudaQueueCreate(ref(hwq), None),
    hal.CudaQueueCreate(ref(hwq), stream),
    preempt.XQueueCreate(ref(xq), hwq, i64(1), i64(0)),
    preempt.XQueueSetLaunchConfig(xq, i64(4), i64(2)),
    preempt.XHintPriority(xq, 10),
    preempt.XHintPriority(u64(7), 10),
]
for _ in range(50):
    said.append(preempt.HwCommandCreateCallback(ref(command), callback, None))
    said.append(preempt.XQueueSubmit(xq, command))
said += [
    preempt.XQueueSubmit(xq, command),
    preempt.HwCommandDestroy(command),
    preempt.XQueueWaitAll(xq),
    preempt.HwQueueDestroy(hwq),
    preempt.XQueueDestroy(xq),
    preempt.XQueueDestroy(xq),
    preempt.HwQueueDestroy(hwq),
    preempt.HwQueueDestroy(hwq),
]
print(said, len(done), set(done) == {stream.value})
"""


def test_it_answers_as_the_original_does(xsched_home, fake_cuda):
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(xsched_home), fake_cuda],
        env={**os.environ, "XSCHED_CUDA_LIB": fake_cuda},
        capture_output=True,
        text=True,
        timeout=60,
    )
    answers = [0, 5, 0, 0, 0, 0, 3, *[0] * 100, 3, 3, 0, 4, 0, 3, 0, 3]
    assert done.stdout == f"{answers} 50 True\n", done.stderr
    assert "using local scheduler with policy HPF" in done.stderr
