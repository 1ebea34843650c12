"""How fast the cpu device multiplies, on its one worker, and numpy for scale."""

from __future__ import annotations

import os
import statistics
import sys

from measure import alternate, finish, judge, table, wall_ns

ONE_THREAD = {
    f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "BLIS", "VECLIB")
}
TURNS = 5
SECONDS_A_TURN = 0.2
SIZES = (64, 96, 128, 192, 256, 512, 1024)


def main() -> int:
    # Imported after the re-exec below: a BLAS counts its threads when it is loaded.
    import numpy as np

    from pytest_xsched import CpuModel, SimModel, XQueues, matmul
    from pytest_xsched.native.binding import Device

    # The thread that sees the end busy-waits on another core, so no wake-up makes it late.
    device = Device("cpu", cpu=CpuModel(spin_ns=10_000_000), sim=SimModel())
    xqueues = XQueues(device)
    queue = xqueues(threshold=1, batch_size=1)
    numbers = np.random.default_rng(0)

    def device_ns(n: int) -> int:
        ticket = queue.submit(matmul(n)).wait("60s")
        return ticket.completed_ns - ticket.launched_ns

    rows, of_256 = [], 0.0
    for n in SIZES:
        a, b = (numbers.integers(-2, 3, (n, n)).astype(np.float32) for _ in range(2))
        out = np.empty_like(a)

        def numpy_ns(a=a, b=b, out=out) -> int:
            return wall_ns(lambda: np.matmul(a, b, out=out))

        once = statistics.median(device_ns(n) for _ in range(3))
        count = max(3, int(SECONDS_A_TURN * 1e9 / once))
        times: dict[str, list[int]] = {"device": [], "numpy": []}
        for arm in alternate(TURNS, tuple(times)):
            take = (lambda n=n: device_ns(n)) if arm == "device" else numpy_ns
            take()  # caches and clocks
            times[arm] += [take() for _ in range(count)]
        ours, theirs = (statistics.median(times[arm]) for arm in times)
        of_256 = ours / 1e6 if n == 256 else of_256
        flops = 2 * n**3
        rows.append(
            [
                f"matmul({n})",
                count * TURNS,
                f"{ours / 1e6:.3f}",
                f"{flops / ours:.1f}",
                f"{flops / theirs:.1f}",
                f"{theirs / ours:.2f}",
            ]
        )
    xqueues.close()  # the device, too

    print(f"one command, launch to completion; {TURNS} turns each, medians; numpy on one thread\n")
    table(["", "n", "device ms", "GFLOP/s", "numpy GFLOP/s", "device / numpy speed"], rows)
    return judge([(f"matmul(256) takes {of_256:.2f} ms, below 5 ms", of_256 < 5)])


if __name__ == "__main__":
    if not ONE_THREAD.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    finish(main)
