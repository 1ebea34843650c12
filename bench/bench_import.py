"""What the plugin costs a pytest session that does not use it, in fresh processes.

The target is about the import itself, timed inside each process, because whole processes differ by
more than it takes. They are listed for scale: `again` is the same command once more, `empty` is an
empty plugin. `--version` is there twice, because with a single one pytest 9 prints its version
before it loads any plugin.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import alternate, finish, judge, table, wall_ns

REPETITIONS = 21
IMPORT = (
    "import pytest, time; start = time.perf_counter_ns(); import pytest_xsched.plugin.hooks; "
    "print(time.perf_counter_ns() - start)"
)
ARMS = {
    "without": ["-p", "no:xsched"],
    "again": ["-p", "no:xsched"],
    "empty": ["-p", "no:xsched", "-p", "empty"],
    "asked for": ["-p", "xsched"],
}


def run(arguments: list[str], folder: str) -> str:
    """Run Python in an empty folder; give its output."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # Compiled modules are kept, as they are where a package is installed.
    environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
    for name in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def version_ns(arm: str, folder: str) -> int:
    """Take the wall time of a `pytest --version --version`."""
    return wall_ns(lambda: run(["-m", "pytest", "--version", "--version", *ARMS[arm]], folder))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.py").touch()
        run(["-c", IMPORT], folder)  # compiles
        imports = [int(run(["-c", IMPORT], folder)) / 1e6 for _ in range(REPETITIONS)]
        times: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for arm in alternate(REPETITIONS, tuple(ARMS)):
            times[arm].append(version_ns(arm, folder) / 1e6)

    print(f"fresh processes, n = {REPETITIONS} each, alternately; ms\n")
    rows = [
        [name, f"{statistics.median(values):.1f}", f"{min(values):.1f}", f"{max(values):.1f}"]
        for name, values in [
            ("import of the plugin, timed inside", imports),
            *((f"--version --version, {arm}", values) for arm, values in times.items()),
        ]
    ]
    table(["", "median", "min", "max"], rows)
    median = statistics.median(imports)
    return judge([(f"the import takes {median:.1f} ms, at most 10 ms", median <= 10)])


if __name__ == "__main__":
    finish(main)
