"""The tree keeps its own rules: layers, file sizes, first comments, names."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pytest_xsched"
NATIVE = ROOT / "native"

# Each may import what stands in a line above it, and nothing else of the package.
PYTHON_LAYERS = [
    ["errors", "names", "budget", "group", "leash", "requests"],
    ["units", "checks", "libraries", "lock", "elf", "installation", "xsched_variables"],
    ["kernels", "durations", "programs", "nvml"],
    ["workload", "load", "changes", "mechanism"],
    ["doubles", "spelling", "queue_spec"],
    ["model"],
    ["strategies", "corpus"],
    ["arrivals", "traces", "aliasing", "stats", "checking", "_binding", "quantity", "partition"],
    ["looks", "basis"],
    ["gate", "noise"],
    ["_running", "fingerprint"],
    ["spread", "pairs"],
    ["result", "probe", "activity", "calibration", "tenants"],
    ["sampling"],
    ["contention", "plausible"],
    ["evidence", "verdict", "benchmark"],
    ["targets", "fairness"],
    ["measured"],
    ["assertions"],
    ["harness", "live", "likeness", "report", "invariants", "real_time"],
    ["contrast", "episode"],
    ["comparison", "comparison_text"],
    ["versus"],
    ["windows"],
    ["search", "steps", "claims"],
    ["player"],
    ["statemachine"],
    ["findings"],
    ["searching"],
    ["rows", "markdown", "comparing", "baselines"],
    ["keeping"],
    ["worker"],
    ["child", "live_worker"],
    ["shares", "transparent"],
    ["process", "xserver", "party"],
    ["separate", "remote"],
    ["elsewhere"],
    ["diagnosis", "doctor_child"],
    ["doctor_children", "doctor_gpu"],
    ["doctor_libraries"],
    ["doctor_shim", "doctor_fork", "doctor_worker"],
    ["doctor_canary"],
    ["doctor"],
    ["options", "progress"],
    ["devices", "commands"],
    ["session", "outcome", "again"],
    ["soak"],
    ["conformance", "contests"],
    ["conformance_report", "conformance_steps"],
    ["conforming"],
    ["state"],
    ["fixtures"],
    ["plugin"],
]
# Within a line, and only so: what is at the right may import what is at its left.
WITHIN_A_LAYER = {("checks", "units"), ("load", "workload")}
MAY_IMPORT = {
    "pytest": {
        "options",
        "commands",
        "devices",
        "session",
        "outcome",
        "again",
        "state",
        "fixtures",
        "plugin",
    },
    "numpy": {
        "arrivals",
        "traces",
        "stats",
        "gate",
        "noise",
        "looks",
        "sampling",
        "targets",
        "checking",
        "_binding",
        "_running",
        "activity",
        "probe",
        "calibration",
        "plausible",
        "result",
        "spread",
        "pairs",
        "baselines",
        "evidence",
        "contention",
        "invariants",
        "real_time",
        "harness",
        "shares",
        "party",
        "worker",
        "separate",
        "doctor_worker",
        "child",
    },
    "pytest_xsched._native": {"_binding"},
    "hypothesis": {
        *("strategies", "statemachine", "findings", "search", "soak"),
        *("conformance", "conformance_steps", "contests"),
    },
    "pytest_benchmark": set(),
}

# Each file of the runner may include these headers of ours, in order from the bottom.
C_LAYERS = [
    ["xs_api"],
    ["base"],
    ["clock", "cpu_kernels", "gpu_kernels", "heartbeat", "kernel_cache", "library"],
    ["gpu_driver", "opencl_api", "xsched_api"],
    ["xqueue", "pace", "policy", "device", "load"],
    ["gpu_device", "opencl_device"],
    ["run"],
]
# Pure state machines and backends: what they may include at all.
C_ONLY = {
    r"xqueue": {"base", "xs_api", "xqueue"},
    r"pace": {"base", "xs_api", "pace"},
    r"load": {"base", "xs_api", "load"},
    r"kernel_cache": {"base", "xs_api", "kernel_cache"},
    r"heartbeat": {"base", "xs_api", "heartbeat", "clock"},
    r"policy(_\w+)?": {"base", "xs_api", "policy"},
    r"device(_cpu|_sim)?": {"base", "xs_api", "device", "clock", "cpu_kernels"},
    r"gpu_\w+|device_(cuda|hip)": {
        *("base", "xs_api", "device", "clock", "library"),
        *("gpu_kernels", "gpu_driver", "gpu_device", "kernel_cache"),
    },
    r"xsched_\w+|device_xsched": {
        *("base", "xs_api", "device", "clock", "library", "xsched_api"),
    },
    r"opencl_\w+|device_opencl": {
        *("base", "xs_api", "device", "clock", "library", "gpu_kernels"),
        *("opencl_api", "opencl_device"),
    },
}


def python_modules():
    return sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports_of(path, *, at_import_only=False):
    """Every module that a file imports; with `at_import_only` not those inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or is_type_checking(node):
            continue
        if at_import_only and is_in_function(node):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            found.update(names)
        elif node.module == "pytest_xsched":
            found.update(f"pytest_xsched.{name}" for name in names)
        else:
            found.add(node.module)
    return found


def ancestors(node):
    while (node := getattr(node, "parent", None)) is not None:
        yield node


def is_type_checking(node):
    return any(
        isinstance(up, ast.If) and getattr(up.test, "id", "") == "TYPE_CHECKING"
        for up in ancestors(node)
    )


def is_in_function(node):
    return any(isinstance(up, (ast.FunctionDef, ast.AsyncFunctionDef)) for up in ancestors(node))


def test_every_module_has_its_place():
    placed = [name for layer in PYTHON_LAYERS for name in layer]
    assert sorted(placed) == [path.stem for path in python_modules()]


@pytest.mark.parametrize("path", python_modules(), ids=lambda path: path.stem)
def test_python_imports_go_down(path):
    level = {name: i for i, layer in enumerate(PYTHON_LAYERS) for name in layer}
    for module in imports_of(path):
        name = module.removeprefix("pytest_xsched.")
        if module == name or name not in level:
            continue
        if level[name] == level[path.stem]:
            assert (name, path.stem) in WITHIN_A_LAYER or (
                path.stem,
                name,
            ) in WITHIN_A_LAYER, f"{path.stem} imports its neighbour {name}"
        else:
            assert level[name] < level[path.stem], f"{path.stem} imports {name}, which is above it"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_heavy_packages_stay_where_they_belong(package):
    users = {
        path.stem
        for path in python_modules()
        if any(module == package or module.startswith(f"{package}.") for module in imports_of(path))
    }
    assert users <= MAY_IMPORT[package]


def test_what_pytest_loads_is_light():
    # plugin, and what it imports while being imported, down to the bottom.
    seen, todo = set(), ["plugin"]
    while todo:
        name = todo.pop()
        seen.add(name)
        for module in imports_of(PACKAGE / f"{name}.py", at_import_only=True):
            short = module.removeprefix("pytest_xsched.")
            if short == module:
                assert module.split(".")[0] in {*sys.stdlib_module_names, "pytest"}, module
            elif short not in seen:
                todo.append(short)
    light = {
        "plugin",
        "fixtures",
        "state",
        "options",
        "commands",
        "progress",
        "names",
        "libraries",
        "errors",
        "budget",
    }
    light |= {"installation", "budget"}
    assert seen == light


def c_files():
    return sorted((NATIVE / "src").glob("*.[ch]"))


@pytest.mark.parametrize("path", c_files(), ids=lambda path: path.name)
def test_c_includes_go_down(path):
    included = set(re.findall(r'#include "(\w+)\.h"', path.read_text(encoding="utf-8")))
    for pattern, allowed in C_ONLY.items():
        if re.fullmatch(pattern, path.stem):
            assert included <= allowed
    if path.suffix == ".h":
        height = {name: i for i, layer in enumerate(C_LAYERS) for name in layer}
        assert all(height[name] < height[path.stem] or path.stem == "run" for name in included)


@pytest.mark.parametrize("path", c_files(), ids=lambda path: path.name)
def test_c_keeps_the_preprocessor_small(path):
    conditions = re.findall(
        r"^\s*#\s*if(?!ndef XS_\w+_H$).*$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert not conditions or path.stem in {"base", "clock"}


def test_c_never_prints_or_exits():
    for path in c_files():
        calls = re.findall(r"\b(printf|puts|exit|abort|fprintf)\(", path.read_text("utf-8"))
        # One place ends the process, for a bug of our own, and says which.
        assert not calls or path.stem == "base", f"{path.name}: {calls}"


def source_files():
    return [
        path
        for folder in ("pytest_xsched", "native", "tests", "cffi_build", "bench", "examples")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".c", ".h"}
    ]


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(('"""', "/*")), "the first thing in a file is what it is for"
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "common", "helpers"}
