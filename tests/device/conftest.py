"""For tests on the devices that every machine has, and the environment of PoCL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "native" / "src"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has `device` among its arguments on cpu and on sim."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize(
            "device",
            [pytest.param(kind, marks=pytest.mark.xsched(device=kind)) for kind in ("sim", "cpu")],
        )


@pytest.fixture(scope="session")
def pocl_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a directory for the kernels that PoCL compiles: not the user's, whatever is in that."""
    return str(tmp_path_factory.mktemp("pocl"))


@pytest.fixture
def pocl(monkeypatch: pytest.MonkeyPatch, pocl_cache: str) -> None:
    """Leave processors to us: PoCL's kernels get one (3.x and 5.x call that differently)."""
    monkeypatch.setenv("POCL_CACHE_DIR", pocl_cache)
    monkeypatch.setenv("POCL_MAX_PTHREAD_COUNT", "1")
    monkeypatch.setenv("POCL_CPU_MAX_CU_COUNT", "1")


@pytest.fixture(scope="session")
def opencl_functions() -> list[tuple[str, str, str]]:
    """Give result, name and parameters of every OpenCL function that we declare."""
    text = (SOURCE / "opencl_api.h").read_text(encoding="utf-8").replace("\\\n", " ")
    rows = re.findall(r"X\((int|void \*), (\w+),\s*\(([^()]*)\)\)", text)
    return [(result, f"cl{name}", " ".join(rest.split())) for result, name, rest in rows]
