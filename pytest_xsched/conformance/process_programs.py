"""Small programs that fork, exec, spawn or end with pending work, on the user's own driver.

`python -I -S process_programs.py PROGRAM DEVICE DRIVER` runs one of them. `process_cases` starts
each under XSched and without it. The programs know nothing of XSched, and use only the standard
library. They write each step to stdout before they do it, so that a hang names the call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, NoReturn

STATUS = 3
"""Exit status of programs that end with pending work: one that no library uses by itself."""
_LAUNCHES, _ROUNDS, _PENDING = 20, 3, 100
_BURST = 100
"""Kernels of a round of `bursts`: much longer than a wait for a processor between two rounds."""
_ITERATIONS = 400_000
"""Of a kernel: about a millisecond on one thread of a processor or of a GPU."""

_who = "program"


def step(what: str) -> None:
    """Write what this process does next."""
    os.write(1, f"{_who}: {what}\n".encode())


class Device:
    """One queue of a device and one kernel, through the functions that the loader finds first.

    Args:
        name: of the device, ``"opencl"`` or ``"cuda:1"``.
        driver: the file of its driver.
    """

    def __init__(self, name: str, driver: str) -> None:
        step("opens the device")
        kind, _, index = name.partition(":")
        self.index = int(index) if index.isdecimal() else 0
        ctypes.CDLL(driver, ctypes.RTLD_GLOBAL)
        self.library: Any = ctypes.CDLL(None)  # a preloaded shim precedes the driver here
        self.parameters: Any = None
        self.values: tuple[Any, ...] = ()  # to which `parameters` points
        self.queue = c_void_p()
        self.kernel = c_void_p()
        self._launch, self._wait = _OPEN[kind](self)

    def work(self) -> None:
        """Launch kernels and wait for them, several times."""
        for _ in range(_ROUNDS):
            self.launch(_LAUNCHES)
            self.wait()

    def launch(self, count: int) -> None:
        """Launch kernels."""
        step(f"calls {self._launch.__name__}()")
        for _ in range(count):
            self.check(self._launch.__name__, self._call_launch())

    def wait(self) -> None:
        """Wait until all of them are complete."""
        step(f"calls {self._wait.__name__}()")
        self.check(self._wait.__name__, self._wait(self.queue))

    def check(self, call: str, code: int) -> None:
        """End with a message if a call has failed."""
        if code != 0:
            sys.exit(f"{_who}: {call} returned {code}")

    def _call_launch(self) -> int:
        one = c_size_t(1)
        if self._launch.__name__ == "clEnqueueNDRangeKernel":
            code = self._launch(self.queue, self.kernel, 1, None, byref(one), None, 0, None, None)
        else:
            grid = (1,) * 6
            code = self._launch(self.kernel, *grid, 0, self.queue, self.parameters, None)
        return int(code)


def _open_opencl(device: Device) -> tuple[Any, Any]:
    cl = device.library
    for name in ("Context", "CommandQueue", "ProgramWithSource", "Kernel", "Buffer"):
        getattr(cl, f"clCreate{name}").restype = c_void_p
    source = ctypes.c_char_p(
        b"kernel void spin(global float *x) { float y = x[0];"
        b"for (int i = 0; i < %d; i++) y = y * 0.5f + 1.0f; x[0] = y; }" % _ITERATIONS
    )
    platform, one, error = c_void_p(), c_void_p(), c_int()
    device.check("clGetPlatformIDs", cl.clGetPlatformIDs(1, byref(platform), None))
    every = c_uint64(0xFFFFFFFF)
    device.check("clGetDeviceIDs", cl.clGetDeviceIDs(platform, every, 1, byref(one), None))
    context = c_void_p(cl.clCreateContext(None, 1, byref(one), None, None, byref(error)))
    device.check("clCreateContext", error.value)
    device.queue = c_void_p(cl.clCreateCommandQueue(context, one, c_uint64(0), byref(error)))
    device.check("clCreateCommandQueue", error.value)
    made = cl.clCreateProgramWithSource(context, 1, byref(source), None, byref(error))
    program = c_void_p(made)
    device.check("clBuildProgram", cl.clBuildProgram(program, 0, None, None, None, None))
    device.kernel = c_void_p(cl.clCreateKernel(program, b"spin", byref(error)))
    device.check("clCreateKernel", error.value)
    buffer = c_void_p(cl.clCreateBuffer(context, c_uint64(1), c_size_t(64), None, byref(error)))
    device.check("clSetKernelArg", cl.clSetKernelArg(device.kernel, 0, c_size_t(8), byref(buffer)))
    return cl.clEnqueueNDRangeKernel, cl.clFinish


_PTX = b"""// __global__ void xs_spin(u64 iterations, u32 launch, i64 *checksum)
.version 6.0
.target sm_50
.address_size 64
.visible .entry xs_spin(.param .u64 iterations, .param .u32 launch, .param .u64 checksum)
{
    .reg .pred %p<2>;
    .reg .b64 %d<4>;
    ld.param.u64 %d1, [iterations];
    mov.u64 %d2, 0;
AGAIN:
    add.u64 %d2, %d2, 1;
    setp.lt.u64 %p1, %d2, %d1;
    @%p1 bra AGAIN;
    ld.param.u64 %d1, [checksum];
    cvta.to.global.u64 %d3, %d1;
    st.global.u64 [%d3], %d2;
    ret;
}
"""
"""The kernel in the form that NVIDIA's driver compiles by itself."""


def _open_cuda(device: Device) -> tuple[Any, Any]:
    cu = device.library
    number, context, module, memory = c_int(), c_void_p(), c_void_p(), c_uint64()
    for call, arguments in (
        ("cuInit", (c_uint(0),)),
        ("cuDeviceGet", (byref(number), device.index)),
        ("cuDevicePrimaryCtxRetain", (byref(context), number)),
        ("cuCtxSetCurrent", (context,)),
        ("cuModuleLoadData", (byref(module), ctypes.c_char_p(_PTX))),
        ("cuModuleGetFunction", (byref(device.kernel), module, b"xs_spin")),
        ("cuMemAlloc_v2", (byref(memory), c_size_t(8))),
        ("cuStreamCreateWithPriority", (byref(device.queue), c_uint(1), 0)),
    ):
        device.check(call, getattr(cu, call)(*arguments))
    values = (c_uint64(_ITERATIONS), c_uint(0), memory)
    device.parameters = (c_void_p * 3)(*(ctypes.addressof(value) for value in values))
    device.values = values
    return cu.cuLaunchKernel, cu.cuStreamSynchronize


_OPEN: dict[str, Callable[[Device], tuple[Any, Any]]] = {
    "opencl": _open_opencl,
    "cuda": _open_cuda,
}
KINDS = tuple(_OPEN)
"""Kinds of devices for which there are programs."""


# ---- the programs ----------------------------------------------------------------------


def _plain(name: str, driver: str) -> int:
    """Work, and end."""
    Device(name, driver).work()
    return 0


def _fork_first(name: str, driver: str) -> int:
    """Fork before the first use of the device; both processes work."""
    child = _fork()
    if child == 0:
        return _plain(name, driver)
    _plain(name, driver)
    return _wait_for(child)


def _fork_idle(name: str, driver: str) -> int:
    """Fork after work; the child only ends, as one that multiprocessing makes for other work."""
    device = Device(name, driver)
    device.work()
    child = _fork()
    if child == 0:
        step("ends")
        return 0
    status = _wait_for(child)
    device.work()
    return status


def _exec(name: str, driver: str) -> NoReturn:
    """Work, then become the program `plain`, in the same process."""
    Device(name, driver).work()
    step("execs another program")
    os.execv(sys.executable, _command("plain", name, driver))


def _spawn(name: str, driver: str) -> int:
    """Start the program `plain` while work is pending."""
    device = Device(name, driver)
    device.launch(_PENDING)
    step("starts a process and waits for it")
    status = subprocess.run(_command("plain", name, driver), check=False).returncode
    device.wait()
    return status


def _exit_pending(name: str, driver: str) -> int:
    """End with work for which the program has not waited."""
    Device(name, driver).launch(_PENDING)
    return STATUS


def _killed_pending(name: str, driver: str) -> int:
    """End by SIGTERM, with work for which the program has not waited."""
    Device(name, driver).launch(_PENDING)
    step("is sent SIGTERM")
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


def _until_told(name: str, driver: str) -> int:
    """Work until stdin is closed; a line of stdout reports each round."""
    return _repeat(name, driver, 1)


def _bursts(name: str, driver: str) -> int:
    """Work until stdin is closed, with many kernels in each round, so that pauses are rare."""
    return _repeat(name, driver, _BURST)


def _repeat(name: str, driver: str, launches: int) -> int:
    os.set_blocking(0, False)
    device = Device(name, driver)
    while True:
        device.launch(launches)
        device.wait()
        os.write(1, b"round\n")
        try:
            if not os.read(0, 1):
                return 0
        except BlockingIOError:
            pass


def _fork() -> int:
    global _who
    step("forks")
    child = os.fork()
    if child == 0:
        _who = "child"
    return child


def _wait_for(child: int) -> int:
    step("waits for its child")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _command(program: str, name: str, driver: str) -> list[str]:
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), program, name, driver]


PROGRAMS: dict[str, Callable[[str, str], int]] = {
    "plain": _plain,
    "fork-first": _fork_first,
    "fork-idle": _fork_idle,
    "exec": _exec,
    "spawn": _spawn,
    "exit-pending": _exit_pending,
    "killed-pending": _killed_pending,
    "until-told": _until_told,
    "bursts": _bursts,
}
ENDLESS = ("until-told", "bursts")
"""Programs that end when stdin is closed."""


def _mapped() -> str:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return "yes" if "/libshim" in maps.read() else "no"


def main() -> None:
    """Run the program that the command line names."""
    os.write(1, f"shim: {_mapped()}\n".encode())
    status = PROGRAMS[sys.argv[1]](*sys.argv[2:])
    step("ends")
    sys.exit(status)


if __name__ == "__main__":
    main()
