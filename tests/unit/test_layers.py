"""The tree keeps its own rules: packages and folders, heavy imports, first comments, names."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pytest_xsched"
NATIVE = ROOT / "native"

# Each package may import from those in the lines above it, and from itself without a circle.
PACKAGES = [
    "",  # the public face, which loads the others on use
    "base",
    "scenario",
    "stats",
    "system",
    "native",
    "monitoring",
    "xsched",
    "models",
    "clients",
    "runner",
    "workers",
    "analysis",
    "reporting",
    "page",
    "comparison",
    "stress",
    "session",
    "doctor",
    "conformance",
    "plugin",
    "cli",
]
# Which packages may import these, and where only some of its modules, which.
MAY_IMPORT = {
    "pytest": {"session", "plugin"},
    "numpy": {
        *("scenario", "stats", "native", "monitoring", "xsched", "runner", "workers", "analysis"),
        *("comparison", "stress", "conformance", "doctor", "models", "clients"),
        "base",  # on use, for a time that numpy made
    },
    "pytest_xsched.native._native": {"native"},
    "hypothesis": {"stress", "conformance", "plugin"},
    "pytest_benchmark": set(),
    "aiohttp": {"clients"},
    "httpx": {"clients"},
    "tritonclient": {"clients"},
    "jinja2": {"page"},
    "perfetto": set(),  # imported by name, on use
    "pynvml": set(),  # imported by name, on use
    "torch": set(),  # likewise, by models.torch_adapter only
}
# What `import pytest_xsched.plugin.hooks` loads, all of it light.
LIGHT = {
    "plugin.fixtures",
    "plugin.hooks",
    "plugin.misses",
    "plugin.shared_runs",
    "plugin.state",
    "session.options",
}

# Each folder of the runner may include what lies in those above it, and in itself.
SHARED = ("devices", "devices/kernels")  # by backends
BACKENDS = sorted(
    f"devices/{folder.name}"
    for folder in (NATIVE / "devices").iterdir()
    if folder.is_dir() and folder.name != "kernels"
)
C_FOLDERS = ["include", "base", "core", "policies", *SHARED, *BACKENDS, "runtime", "loopback"]
# Pure state machines and backends may include these folders, and nothing else.
C_ONLY = {
    "core": {"include", "base", "core"},
    "loopback": set(),
    "policies": {"include", "base", "policies"},
    "devices": {"include", "base", "devices"},
    "devices/kernels": {"include", "base", "devices/kernels"},
    **{folder: {"include", "base", "devices", folder} for folder in BACKENDS},
}
for folder in ("devices/gpu", "devices/opencl"):  # which compile kernels
    C_ONLY[folder].add("devices/kernels")


def python_modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def package_of(name):
    return name.rpartition(".")[0]


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
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
            continue
        assert node.level == 0, f"{path.name} imports relatively"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            is_module = (ROOT / f"{whole.replace('.', '/')}.py").exists()
            found.add(whole if is_module else node.module)
    return found


def ours(modules):
    """Names within the package of those modules that are files of it."""
    short = {name.removeprefix("pytest_xsched.") for name in modules if name != "pytest_xsched"}
    return {name for name in short if (PACKAGE / f"{name.replace('.', '/')}.py").exists()}


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


def test_every_package_is_in_the_table():
    found = {package_of(name_of(path)) for path in python_modules()}
    assert found == set(PACKAGES)
    top = {"__init__", "__main__", "client", "errors"}
    assert {path.stem for path in PACKAGE.glob("*.py")} == top


def test_packages_are_empty_but_for_their_modules():
    for path in PACKAGE.glob("*/__init__.py"):
        assert path.read_text() == "", f"{path} would be loaded with every module of the package"


@pytest.mark.parametrize("path", python_modules(), ids=name_of)
def test_python_imports_go_down(path):
    height = {package: i for i, package in enumerate(PACKAGES)}
    here = name_of(path)
    top = "cli" if here == "__main__" else package_of(here)
    for name in ours(imports_of(path)):
        assert height[package_of(name)] <= height[top], f"{here} imports {name}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {name_of(path): ours(imports_of(path)) for path in python_modules()}
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_heavy_packages_stay_where_they_belong(package):
    users = {
        package_of(name_of(path))
        for path in python_modules()
        if any(module == package or module.startswith(f"{package}.") for module in imports_of(path))
    }
    assert users <= MAY_IMPORT[package]


def test_what_pytest_loads_is_light():
    # plugin, and what it imports while being imported, down to the bottom.
    seen, todo = set(), ["plugin.hooks"]
    while todo:
        name = todo.pop()
        seen.add(name)
        imported = imports_of(PACKAGE / f"{name.replace('.', '/')}.py", at_import_only=True)
        for module in imported:
            if module.split(".")[0] != "pytest_xsched":
                assert module.split(".")[0] in {*sys.stdlib_module_names, "pytest"}, module
        todo += ours(imported) - seen
    assert seen == LIGHT


def c_files():
    return sorted(path for folder in C_FOLDERS for path in (NATIVE / folder).glob("*.[ch]"))


def c_name(path):
    return str(path.relative_to(NATIVE))


def test_every_folder_of_the_runner_is_in_the_table():
    found = {c_name(path.parent) for path in NATIVE.rglob("*.[ch]") if path.parts[-2] != "tests"}
    assert {name for name in found if not name.startswith("tests/")} == set(C_FOLDERS)


@pytest.mark.parametrize("path", c_files(), ids=c_name)
def test_c_includes_go_down(path):
    height = {folder: i for i, folder in enumerate(C_FOLDERS)}
    folder = c_name(path.parent)
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'#include "([\w/]+\.h)"', text):
        included = str(Path(name).parent) if "/" in name else "include"
        assert (NATIVE / included / Path(name).name).exists(), name
        assert height[included] <= height[folder], f"{folder} includes {name}"
        if folder in C_ONLY:
            assert included in C_ONLY[folder], f"{folder} includes {name}"


@pytest.mark.parametrize("path", c_files(), ids=c_name)
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
        if path.suffix in {".py", ".c", ".h"} and path.stat().st_size
    ]


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(('"""', "/*")), "the first thing in a file is what it is for"
    assert text.count("\n") <= 650, "one subject a file; of this length it has two"
    assert path.stem not in {"utils", "common", "helpers"}
