"""The graph of `gpu_runner.py`, for `graph(...)`: a memset and kernels, as `loop.c` has them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

LIST_BYTES = 64 << 20


def steps(cubin: str, kernels: int, offset: int = 0) -> Callable[[int], None]:
    """Return a request that launches a number of kernels of a compiled steps.cu onto a stream.

    Their list begins `offset` bytes after the start of LIST_BYTES of memory.
    """
    driver = ctypes.CDLL(os.environ.get("PYTEST_XSCHED_GPU_DRIVER", "libcuda.so.1"))
    list_bytes = ctypes.c_size_t(8 * (kernels + 2))
    module, step, numbers = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()

    def call(name: str, *arguments: object) -> None:
        if code := getattr(driver, name)(*arguments):
            raise RuntimeError(f"{name} gives {code}")

    call("cuModuleLoadData", ctypes.byref(module), Path(cubin).read_bytes())
    call("cuModuleGetFunction", ctypes.byref(step), module, b"step")
    call("cuMemAlloc_v2", ctypes.byref(numbers), ctypes.c_size_t(LIST_BYTES))
    numbers.value += offset

    def request(stream: int) -> None:
        on = ctypes.c_void_p(stream)
        call("cuMemsetD8Async", numbers, ctypes.c_ubyte(0), list_bytes, on)
        for value in range(1, kernels + 1):
            number = ctypes.c_longlong(value)
            parameters = (ctypes.c_void_p * 2)(
                *(ctypes.cast(ctypes.byref(one), ctypes.c_void_p) for one in (numbers, number))
            )
            call("cuLaunchKernel", step, 1, 1, 1, 32, 1, 1, 0, on, parameters, None)

    return request
