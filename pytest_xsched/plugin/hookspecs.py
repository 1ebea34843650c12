"""The hooks for other plugins and for a conftest.py; docs/reference/hooks.md describes them."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec
def pytest_xsched_environment(config: pytest.Config) -> dict[str, str] | None:
    """Return facts on where the session measures, such as the image of the container.

    Called once, after the last test, if a test measured something; under pytest-xdist on the
    controller. The facts are in the JSON file, on the page and in the OpenMetrics file. They decide
    nothing: whether runs can be compared depends on what the plugin itself found out.

    Args:
        config: of pytest.
    """


@pytest.hookspec
def pytest_xsched_verdict(
    item: pytest.Item, report: pytest.TestReport, verdict: dict[str, Any], run: dict[str, Any]
) -> None:
    """Receive a verdict on a target, after the phase of the test that asserted it.

    Called in the process that runs the test; under pytest-xdist that is a worker. A run that later
    tests measure on may withdraw the verdict; `pytest_xsched_run` has those that stand.

    Args:
        item: the test.
        report: of the phase, with its final outcome. What is added to it reaches other plugins.
        verdict: as in the JSON file. A target without a verdict has the status ``"NO VERDICT"``,
            and only the keys ``status``, ``sentence`` and ``nodeid``.
        run: the run or the comparison, as in the JSON file, with its verdicts so far; a copy. All
            verdicts of a phase on one run come one after the other, with the same object.
    """


@pytest.hookspec
def pytest_xsched_run(config: pytest.Config, run: dict[str, Any]) -> None:
    """Receive a run or a comparison, after the last test, with the verdicts that stand.

    Called once for each, before the files of the session are written; under pytest-xdist on the
    controller, with the runs of all workers.

    Args:
        config: of pytest.
        run: as in the JSON file; a comparison has the key ``arms``. A copy: changing it changes
            nothing.
    """
