"""Read load, memory, clocks and processes of all NVIDIA GPUs, in a process of its own.

`python -m pytest_xsched.doctor.nvidia_probe FD` writes one line of JSON to the file descriptor:
``{"gpus": [...]}``, or ``{"unavailable": "why"}``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pytest_xsched.system.nvidia_gpu import NvidiaGpu, NvmlUnavailable, nvidia_gpu_count


def read_gpus() -> dict[str, Any]:
    """Return the answer, in JSON's types."""
    try:
        return {"gpus": [_read_gpu(index) for index in range(nvidia_gpu_count())]}
    except NvmlUnavailable as error:
        return {"unavailable": str(error)}


def _read_gpu(index: int) -> dict[str, Any]:
    gpu = NvidiaGpu(index)
    return {
        "name": gpu.name(),
        "load_percent": gpu.load_percent(),
        "memory_bytes": gpu.memory_bytes(),
        "clock_mhz": gpu.clock_mhz(),
        "max_clock_mhz": gpu.max_clock_mhz(),
        "processes": [
            {"pid": one.pid, "name": gpu.process_name(one.pid), "memory_bytes": one.memory_bytes}
            for one in gpu.processes() or ()
        ],
    }


if __name__ == "__main__":
    os.write(int(sys.argv[1]), (json.dumps(read_gpus()) + "\n").encode())
