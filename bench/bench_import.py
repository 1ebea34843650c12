"""What the plugin costs a pytest session that does not use it: fresh processes, with and without.

`--version` is given twice: of a single one, pytest 9 prints its version before it loads any plugin.
`again` is the same command once more: what it differs by is noise. `empty` is a plugin without a
line in it: what pytest itself spends on finding one by name.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import by_turns, finish, judge, table, wall_ns

REPETITIONS = 21
ARMS = {
    "without": ["-p", "no:xsched"],
    "again": ["-p", "no:xsched"],
    "empty": ["-p", "no:xsched", "-p", "empty"],
    "installed": ["-p", "pytest_xsched.plugin"],  # as by autoloading
    "asked for": ["-p", "xsched"],
}
COMMANDS = {
    "--version --version": (["--version", "--version"], 0),
    "--collect-only of nothing": (["--collect-only"], 5),  # 5: no tests
}


def run_ns(arguments: list[str], status: int, folder: str) -> int:
    """Take the wall time of a pytest process in an empty folder."""
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # Compiled modules are kept, as they are where a package is installed.
    environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
    for name in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    done: list[subprocess.CompletedProcess[bytes]] = []
    elapsed = wall_ns(
        lambda: done.append(
            subprocess.run(command, cwd=folder, env=environment, capture_output=True)
        )
    )
    if done[0].returncode != status:
        raise RuntimeError(f"{command} exited with {done[0].returncode}:\n{done[0].stderr!r}")
    return elapsed


def main() -> int:
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.py").touch()
        for name, (arguments, status) in COMMANDS.items():
            times: dict[str, list[float]] = {arm: [] for arm in ARMS}
            for options in ARMS.values():
                run_ns([*arguments, *options], status, folder)  # compiles
            for arm in by_turns(REPETITIONS, tuple(ARMS)):
                elapsed = run_ns([*arguments, *ARMS[arm]], status, folder)
                times[arm].append(elapsed / 1e6)
            without, *others = (statistics.median(times[arm]) for arm in ARMS)
            rows.append([name, f"{without:.1f}", *(f"{other - without:+.1f}" for other in others)])
            for arm, median in list(zip(ARMS, [without, *others], strict=True))[-2:]:
                more = median - without
                targets.append((f"{name}, {arm}: {more:+.1f} ms, at most +10 ms", more <= 10))
    print(f"pytest as a fresh process, n = {REPETITIONS} each, by turns; medians in ms\n")
    table(["", *ARMS], rows)
    return judge(targets)


if __name__ == "__main__":
    finish(main)
