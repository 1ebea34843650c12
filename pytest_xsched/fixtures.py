"""The fixtures: pytest's objects in, ours out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_xsched.state import state_of

if TYPE_CHECKING:
    from pytest_xsched.live import XQueues
    from pytest_xsched.session import Session


@pytest.fixture(scope="session")
def xsched(pytestconfig: pytest.Config) -> Iterator[Session]:
    """Makes prioritized queues (`queue`) and runs them together (`run`)."""
    session = state_of(pytestconfig).open_session()
    yield session
    session.close()


@pytest.fixture
def xqueues(xsched: Session) -> Iterator[XQueues]:
    """Makes live XQueues; call it with a priority, a threshold, a batch size."""
    queues = xsched.live()
    yield queues
    queues.close()
