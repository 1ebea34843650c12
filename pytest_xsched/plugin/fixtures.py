"""The fixtures: pytest's objects in, ours out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_xsched.plugin.state import state_of

if TYPE_CHECKING:
    from pytest_xsched.runner.live_queues import XQueues
    from pytest_xsched.session.session import Session


@pytest.fixture(scope="session")
def xsched_host(request: pytest.FixtureRequest) -> str | None:
    """Return the name of the machine that measures; None: this one, or as the test says."""
    return state_of(request.config).begin_host(getattr(request, "param", None))


@pytest.fixture(scope="session")
def xsched(pytestconfig: pytest.Config, xsched_host: str | None) -> Iterator[Session]:
    """Makes prioritized queues (`queue`) and runs them together (`run`)."""
    session = state_of(pytestconfig).open_session(xsched_host)
    yield session
    session.close()


def set_clock(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set the clock of `publish` in pytest-benchmark's fixture in tests that use both fixtures.

    By its marker, which is the only public way; before the tests' set-up, which is the last moment.
    """
    plugins = config.pluginmanager
    names = ("benchmark", "pytest_benchmark.plugin")  # found by itself, or named with -p
    if not any(map(plugins.hasplugin, names)) or plugins.hasplugin("codspeed_plugin"):
        return  # pytest-codspeed has a fixture of the same name, which refuses a timer
    for item in items:
        if not {"benchmark", "xsched"} <= set(getattr(item, "fixturenames", ())):
            continue
        from pytest_xsched.analysis.pytest_benchmark import TIMER

        own = item.get_closest_marker("benchmark")
        settings = {"timer": TIMER, **(own.kwargs if own else {})}
        item.add_marker(pytest.mark.benchmark(**settings), append=False)


@pytest.fixture
def xqueues(xsched: Session) -> Iterator[XQueues]:
    """Makes live XQueues; call it with a priority, a threshold, a batch size."""
    queues = xsched.live()
    yield queues
    queues.close()
