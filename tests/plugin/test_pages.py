"""Every Python block and every sample of output on the pages is run, or counted as not runnable.

A comment above a block says how it is run; without one it is a test file that passes on `sim`.

    <!-- file: examples/test_two_models.py -->   the block is that file, which test_examples.py runs
    <!-- module: serve.py -->                    saved for the blocks after it on the page; also
                                                 a block of JSON: `module: two_layers.json`
    <!-- run: cpu -->                            a test file that passes on `cpu`
    <!-- run: corpus -->                         a test file that passes on `sim`, with a corpus
    <!-- run: body -->                           statements of a test with queues `high` and `low`
    <!-- compiled: needs a GPU -->               names and arguments are checked; listed in COMPILED
    <!-- output: FILE on sim with OPTIONS -->    what pytest prints for a file, or a saved module

`WRITE_PAGES=1 pytest tests/plugin/test_pages.py -n 0 -k output` writes the samples of output.
"""

import ast
import builtins
import importlib
import inspect
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import pytest_xsched
from pytest_xsched import QueueSpec, Scenario, constant, spin
from pytest_xsched.scenario import corpus
from pytest_xsched.session import options
from pytest_xsched.session.session import Session

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Blocks that run nowhere without a GPU or an installed XSched, or too long: how many a page has.
COMPILED = {
    "docs/explanation/conformance.md": 2,
    "docs/howto/gpus.md": 3,
    "docs/howto/models.md": 1,
    "docs/howto/other_machines.md": 1,
    "docs/howto/own_program.md": 2,
    "docs/howto/own_xsched.md": 2,
    "docs/howto/recorded_profiles.md": 1,
    "docs/howto/servers.md": 3,
}
NAMES_OF_BODIES = {"xsched", "high", "low", "run", "comparison"}
BODY = """\
from pytest_xsched import *
def test(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
"""
PLUGINS = (
    *("-p_hypothesis_pytestplugin", "--hypothesis-profile=xsched-ci"),
    *("-ppytest_benchmark.plugin", "--benchmark-disable"),
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    """`file`, `module`, `run`, `compiled` or `output`."""
    value: str
    text: str
    modules: dict
    """The blocks saved before it on the page: name of the file and text."""

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks():
    found = []
    fence = r"(?:^<!-- (\w+): (.*?) -->\n)?^```(python|text|json)\n(.*?)^```$"
    for page in PAGES:
        text, modules = page.read_text(encoding="utf-8"), {}
        for match in re.finditer(fence, text, re.MULTILINE | re.DOTALL):
            kind, value, language, body = match.groups()
            if language in ("text", "json") and kind is None:
                continue  # a picture or a shell's output, which no run on sim prints
            line = text.count("\n", 0, match.start(4))
            block = Block(page, line, kind or "run", value or "sim", body, dict(modules))
            assert (block.kind == "output") == (language == "text"), block
            if block.kind == "module":
                modules[value] = body
            found.append(block)
    return found


BLOCKS = blocks()


def of_kind(kind):
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == kind], ids=str)


def save(path, files):
    for name, text in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_every_block_has_a_known_kind():
    assert {block.kind for block in BLOCKS} <= {"file", "module", "run", "compiled", "output"}
    indented = [b for page in PAGES for b in re.findall(r"^ +```python", page.read_text(), re.M)]
    assert not indented, "an indented block is not found"


@of_kind("file")
def test_the_block_is_the_file(block):
    assert block.text == (ROOT / block.value).read_text(encoding="utf-8")


@of_kind("module")
def test_saved_modules_compile(block):
    if block.value.endswith(".json"):
        json.loads(block.text)
    else:
        compile(block.text, block.value, "exec")


@of_kind("run")
def test_the_block_runs(block, pytester, inside, late_is_fine, monkeypatch):
    assert block.value in ("sim", "cpu", "corpus", "body")
    text, more = block.text, PLUGINS
    if block.value == "corpus":
        scenario = Scenario(
            queues=(QueueSpec(name="a", workload=spin("1ms"), arrivals=constant("20/s")),),
            **{"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 10**9, "seed": 0},
            **{"device": "sim", "scheduler": "builtin", "policy": "hpf"},
        )
        corpus.save(pytester.path / "corpus", scenario, "test_block.py::test_any_mix")
        more = (*PLUGINS, f"--xsched-corpus={pytester.path / 'corpus'}")
    if block.value == "body":
        text = BODY + "".join(f"    {line}\n" for line in text.splitlines())
    save(pytester.path, {**block.modules, "test_block.py": text})
    device = "cpu" if block.value == "cpu" else "sim"
    if device == "cpu":  # where a busy machine stops a program at the end of a run of a second
        monkeypatch.setattr("pytest_xsched.analysis.evidence._saturated", lambda queue: [])
    # A file without pytest's functions is a script, and running it is importing it.
    if "def test_" in text or block.value == "body":
        result = inside(*more, f"--xsched-device={device}", "test_block.py")
        outcomes = result.parseoutcomes()
        assert outcomes.pop("passed", 0) > 0 and not outcomes, outcomes
    else:
        exec(compile(text, str(block), "exec"), {"__name__": "block"})


@of_kind("compiled")
def test_names_and_arguments_exist(block):
    tree = ast.parse(block.text)
    known = set(dir(builtins)) | NAMES_OF_BODIES
    calls = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            for alias in node.names:
                known.add(alias.asname or alias.name.split(".")[0])
                if (module or "").startswith("pytest_xsched"):
                    calls[alias.name] = getattr(importlib.import_module(module), alias.name)
        elif isinstance(node, (ast.FunctionDef, ast.arg)):
            known.add(getattr(node, "name", None) or node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            assert node.id in pytest_xsched.__all__, f"{block}: {node.id}"
            calls[node.id] = getattr(pytest_xsched, node.id)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        called = calls.get(name)
        if re.fullmatch(r"xsched\.\w+", name):
            called = getattr(Session, name.removeprefix("xsched."))
        if called is not None:
            words = {keyword.arg for keyword in node.keywords if keyword.arg}
            inspect.signature(called).bind_partial(**dict.fromkeys(words))


def test_blocks_that_run_nowhere_are_counted():
    found = {}
    for block in BLOCKS:
        if block.kind == "compiled":
            name = block.page.relative_to(ROOT).as_posix()
            found[name] = found.get(name, 0) + 1
    assert found == COMPILED


@of_kind("output")
def test_the_output_is_what_pytest_prints(block, pytester, inside, monkeypatch):
    source, options = re.fullmatch(r"(\S+) on sim(?: with (.*))?", block.value).groups()
    file = source.partition("::")[0]
    text = block.modules.get(file) or (ROOT / file).read_text(encoding="utf-8")
    save(pytester.path, {**block.modules, file: text})
    monkeypatch.delenv("PYTEST_XSCHED_NOISE")  # the command to run a test again would repeat it
    result = inside(source, "--xsched-device=sim", *(options or "").split())
    printed = shown(result.outlines)
    if os.environ.get("WRITE_PAGES"):
        page = block.page.read_text(encoding="utf-8")
        start = page.index("```text\n", page.index(f"<!-- output: {block.value} -->")) + 8
        end = start + page[start:].index("```")
        block.page.write_text(page[:start] + printed + page[end:], encoding="utf-8")
        return
    assert block.text == printed


def test_the_parts_of_a_report_that_are_explained_exist():
    page = (ROOT / "docs/reference/report.md").read_text(encoding="utf-8")
    shown = "".join(re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    sources = [*(ROOT / "pytest_xsched/reporting").glob("*.py")]
    sources.append(ROOT / "pytest_xsched/stats/sequential_test.py")
    sources += [
        ROOT / f"pytest_xsched/plugin/{name}.py" for name in ("hook_calls", "hooks", "misses")
    ]
    sources += [
        ROOT / f"pytest_xsched/analysis/{name}.py"
        for name in ("run", "final_verdict", "contention", "inversion")
    ]
    sources.append(ROOT / "pytest_xsched/monitoring/noise.py")
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    cells = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    for quoted in (text for cell in cells for text in re.findall(r"`([^`]+)`", cell)):
        for part in quoted.split("..."):
            assert part.strip() in shown or part.strip() in source, quoted


def test_the_help_of_pytest_has_these_options_and_ini_keys(inside):
    printed = inside("--help").stdout.str()
    names = {f"--xsched-{name}" for name, _, _ in options.OPTIONS}
    assert set(re.findall(r"--xsched-[a-z-]+", printed)) == names
    keys = {options.ini_key(name) for name in options.NAMES}
    keys |= {options.ini_key(name) for name, _ in options.LINES}
    assert set(re.findall(r"^  (xsched_[a-z_]+)", printed, re.MULTILINE)) == keys


def shown(lines):
    """Return the report of the runs, or where a test fails, its failure."""
    if any(" FAILURES " in line for line in lines):
        start = next(i for i, line in enumerate(lines) if line.startswith("E  "))
        end = next(i for i, line in enumerate(lines) if "-- to run it again --" in line) + 2
    else:
        start = next(i for i, line in enumerate(lines) if re.match("=+ xsched =+", line)) + 1
        end = next(i for i in range(start, len(lines)) if not lines[i] or lines[i][0] == "=")
    return "".join(f"{line}\n" for line in lines[start:end])
