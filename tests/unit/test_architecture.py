"""ARCHITECTURE.md is one page, has every package in the order of imports, and names what exists."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SUFFIXES = (".py", ".c", ".h", ".md")


def layers():
    spec = importlib.util.spec_from_file_location("layers", ROOT / "tests/unit/test_layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(heading):
    (rows,) = re.findall(rf"^\| {heading} \|.*?\n\|.*?\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return re.findall(r"^\| `([\w/]+)` \|", rows, re.MULTILINE)


def test_the_packages_are_those_of_the_tree_in_the_order_of_imports():
    packages = layers().PACKAGES
    assert table("package") == ["pytest_xsched", *packages[1:]]


def test_the_folders_of_the_runner_are_those_of_the_tree():
    folders = layers().C_FOLDERS
    assert table("folder") == [folder for folder in folders if "/" not in folder]


def test_it_is_one_page():
    assert TEXT.count("\n") <= 100


def test_every_path_exists():
    words = re.findall(r"`([\w./]+)`", TEXT)
    for path in (word for word in words if word.endswith(SUFFIXES) and "/" in word):
        assert (ROOT / path).exists(), path


def test_every_function_is_in_the_file_that_is_named_with_it():
    named = re.findall(r"`(\w+)\(\)` in\s+`([\w./]+)`", TEXT)
    assert len(named) >= 6
    for function, path in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|[\w ]+\*?) ?{function}\(", text, re.MULTILINE), function
