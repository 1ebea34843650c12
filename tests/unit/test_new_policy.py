"""The page "Add a policy", followed to the letter in a copy of the tree: build it, and test it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "new_policy.md"
NAME = "fifo"
# What knows policies. `NEW_POLICY_TESTS=all tox -e howto` runs all of tests/unit.
PART = (
    *("unit/base/test_policies.py", "unit/stress", "unit/reporting/test_policy_hints.py"),
    *("unit/scenario/test_scenario.py", "sim/test_policies.py", "sim/test_properties.py"),
)
ALL = ("unit", "sim/test_policies.py", "sim/test_properties.py")

missing = [name for name in ("cmake", "ninja") if shutil.which(name) is None]
missing += [
    name for name in ("scikit_build_core", "cffi", "pip") if not importlib.util.find_spec(name)
]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"to build: {', '.join(missing)} missing")


def follow(page, root):
    """Makes the files and edits of the page in a tree: the paths, in the order of the page."""
    touched = []
    blocks = r"(?:<!-- new: (\S+) -->\n)?^```(c|diff|python)\n(.*?)^```$"
    for new, kind, text in re.findall(blocks, page, re.MULTILINE | re.DOTALL):
        assert new or kind == "diff", f"a block without a file:\n{text}"
        touched.append(new or re.search(r"^\+\+\+ b/(.*)$", text, re.MULTILINE)[1])
        path = root / touched[-1]
        if new:
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
        else:
            edit(path, text)
    return touched


def edit(path, diff):
    lines = diff[diff.index("@@\n") + 3 :].splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
    text = path.read_text(encoding="utf-8")
    if not old:  # at the end
        path.write_text(text + new, encoding="utf-8")
        return
    assert text.count(old) == 1, f"{path}: the edit fits in {text.count(old)} places"
    path.write_text(text.replace(old, new), encoding="utf-8")


def build(tree, site):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--target", str(site), str(tree)]
    subprocess.run(pip, check=True, timeout=240)


@pytest.mark.timeout(600)
def test_the_page(tmp_path):
    tree, site = tmp_path / "tree", tmp_path / "site"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "shared", "_native*.so")
    shutil.copytree(ROOT, tree, ignore=ignored)
    touched = follow(PAGE.read_text(encoding="utf-8"), tree)
    assert len(touched) == len(set(touched)) <= 4
    build(tree, site)
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    environment.pop("PYTEST_ADDOPTS", None)

    def run(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(
            command,
            cwd=tree / "tests",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )

    tests = ALL if os.environ.get("NEW_POLICY_TESTS") == "all" else PART
    options = ["-c", "../pyproject.toml", "--rootdir", "..", "-q", "-p", "no:cacheprovider"]
    ended = run("pytest", *options, "--ignore=unit/test_new_policy.py", *tests)
    assert ended.returncode == 0, ended.stdout[-5000:]
    ended = run("pytest", *options, "--collect-only", "sim", "-k", NAME)
    assert "test_any_mix[fifo]" in ended.stdout  # random scenarios have it, too
    ended = run("pytest_xsched", "conformance", NAME, "--budget=2s")
    assert ended.returncode == 0, ended.stdout
    assert "builtin fifo: " in ended.stdout and " holds   in order " in ended.stdout
