"""For tests on the devices that every machine has."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has `device` among its arguments on cpu and on sim."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize(
            "device",
            [pytest.param(kind, marks=pytest.mark.xsched(device=kind)) for kind in ("sim", "cpu")],
        )
