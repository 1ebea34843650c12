"""The page "Add a device", followed to the letter in a copy of the tree: its conformance test."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "new_device.md"

missing = [name for name in ("cmake", "ninja", "cc") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"to build: {', '.join(missing)} missing")

spec = importlib.util.spec_from_file_location(
    "new_policy", Path(__file__).with_name("test_new_policy.py")
)
new_policy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(new_policy)


@pytest.mark.timeout(300)
def test_the_page(tmp_path):
    def run(command, cwd=tmp_path):
        ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    for folder in ("native", "pytest_xsched", "tests/unit"):
        ignored = shutil.ignore_patterns("__pycache__", "_native*.so")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copyfile(ROOT / "CMakeLists.txt", tmp_path / "CMakeLists.txt")
    page = PAGE.read_text(encoding="utf-8")
    copy, build, _ = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    run(["bash", "-ec", copy])
    text = (tmp_path / "native/devices/slate/device_slate.c").read_text(encoding="utf-8")
    assert 'xs_device_slate = {\n    .kind = "slate",' in text
    touched = new_policy.follow(re.sub(r"^```sh.*?^```$", "", page, flags=re.M | re.S), tmp_path)
    assert touched == ["native/devices/device.h", "pytest_xsched/base/constants.py"]
    # The page builds and runs all native tests; this one is about the device.
    build = build.replace("cmake --build build/native", "& --target test_conformance")
    build = build.replace("& ", "cmake --build build/native ") + " -R '^test_conformance$'"
    assert "100% tests passed" in run(["bash", "-ec", build.replace("failure\n", "failure")])
    layers = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    layers += ["tests/unit/test_layers.py", "-k", "slate or table"]
    kernels = "tests/unit/test_layers.py::test_c_includes_go_down[devices/slate/device_slate.c]"
    assert " deselected in " in run([*layers, f"--deselect={kernels}"])
