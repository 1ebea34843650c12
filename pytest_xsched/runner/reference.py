"""Compute with numpy what a device must compute from the documented inputs.

The inputs are small whole numbers, so float32 sums are exact in any order and results must be
equal. The formulas are those of xs_queue_checksum() in native/include/xs_api.h and of
native/devices/cpu/cpu_kernels.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.scenario.workload import Command

_ADDED = 1024  # launch k adds k % 1024 to its results, so that consecutive launches differ


def operand(count: int, seed: int, which: int) -> NDArray[np.float32]:
    """Return operand 0 or 1 of a command: float32[count] of whole numbers in [-2, 2]."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    h += np.uint32((2 * seed + which) * 668265263 % 2**32)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    values: NDArray[np.float32] = (h % np.uint32(5)).astype(np.float32) - np.float32(2)
    return values


def result(command: Command, seed: int) -> NDArray[np.float32]:
    """Return the output of a command without the number that its launch adds: float32[items]."""
    a, b = operand(command.items, seed, 0), operand(command.items, seed, 1)
    if command.kind != "matmul":
        return a + b
    shape = (command.batch, command.n, command.n)
    product: NDArray[np.float32] = np.matmul(a.reshape(shape), b.reshape(shape))
    return product.reshape(-1)


def wrong_results(
    command: Command, seed: int, launches: int, checksum: int, last: NDArray[np.float32]
) -> str:
    """Compare the results of a device with numpy.

    Args:
        command: the launched command.
        seed: of its inputs.
        launches: number of its launches.
        checksum: sum of one output element of each launch.
        last: output of the last launch, float32[items].

    Returns:
        One sentence about the difference; "" if there is none.
    """
    k = np.arange(launches, dtype=np.uint32)
    expected = int((k % np.uint32(_ADDED)).sum(dtype=np.int64))
    if command.items:
        plain = result(command, seed)
        at = (k * np.uint32(2654435761)) % np.uint32(command.items)
        expected += int(plain[at].sum(dtype=np.float64))
        if launches:
            differ = np.flatnonzero(last != plain + np.float32((launches - 1) % _ADDED))
            if len(differ):
                return (
                    f"{len(differ)} of {command.items} elements of the last {command.kind} "
                    f"differ from numpy, the first at {differ[0]}: {last[differ[0]]}"
                )
    if checksum != expected:
        return (
            f"the checksum over {launches} launches of {command.kind} is {checksum}, "
            f"numpy's is {expected}"
        )
    return ""
