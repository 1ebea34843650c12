"""Build the wheels of a release on one machine, and check them.

    python -m pip install ziglang cffi scikit-build-core cmake ninja wheel abi3audit
    python cffi_build/cross_wheels.py [DIRECTORY]

The release workflow builds them with cibuildwheel, on a machine of each kind. This does so with the
compiler of Zig, which has the C libraries of all four platforms. It prints a line for each wheel:
its tags, the processor in its ELF header, and what it is linked with. A wheel that uses more than
the stable ABI ends it. Wheels for other platforms than this one are not loaded.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = {
    "manylinux_2_17_x86_64.manylinux2014_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64.manylinux2014_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
}
"""Platform tags of a wheel, and Zig's name of the platform."""
MACHINES = {62: "x86_64", 183: "aarch64"}
"""`e_machine` of an ELF header."""


def run(*command: object, **variables: str) -> str:
    """Return the standard output of a command, or end with all that it printed."""
    texts = [str(one) for one in command]
    environment = {**os.environ, **variables}
    done = subprocess.run(texts, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(texts)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(directory: Path, tags: str, target: str) -> Path:
    """Return the path of a new wheel in the directory."""
    with tempfile.TemporaryDirectory() as temporary:
        compiler = Path(temporary, "cc")
        command = f'exec "{sys.executable}" -m ziglang cc -target {target} "$@"'
        compiler.write_text(f"#!/bin/sh\n{command}\n")
        compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
        options = ("--no-deps", "--no-build-isolation", "-C", f"build-dir={temporary}/build")
        pip = (sys.executable, "-m", "pip", "wheel", "-q", *options, "-w", f"{temporary}/wheel")
        run(*pip, ROOT, CC=str(compiler))
        (wheel,) = Path(temporary, "wheel").glob("*.whl")
        retag = (sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tags, wheel)
        return Path(temporary, "wheel", run(*retag).split()[-1]).rename(
            directory / f"{wheel.name.rpartition('-')[0]}-{tags}.whl"
        )


def describe(wheel: Path) -> str:
    """Return the line of a wheel."""
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".abi3.so"))
        module = Path(archive.extract(member, temporary))
        machine = MACHINES[int.from_bytes(module.read_bytes()[18:20], "little")]
        dynamic = run("readelf", "-d", module).splitlines()
        needed = [line.split("[")[1].rstrip("]") for line in dynamic if "(NEEDED)" in line]
        run(sys.executable, "-m", "abi3audit", "--strict", module)
    return f"{wheel.name}\n  {machine}, linked with {', '.join(needed)}; abi3audit finds nothing"


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    for tags, target in PLATFORMS.items():
        print(describe(build(directory, tags, target)), flush=True)


if __name__ == "__main__":
    main()
