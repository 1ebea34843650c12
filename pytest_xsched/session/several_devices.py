"""Live queues on several devices of a kind, where there are several."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_xsched.errors import WorkerCrashed, XSchedError
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.session import Session


def live_on(session: Session, scheduler: XSched, most: int) -> Callable[[], XQueues]:
    """Return what opens live queues on as many devices as there are.

    Args:
        session: of the first device.
        scheduler: of the queues.
        most: devices at most.
    """
    counts = list(range(1, most + 1))

    def make() -> XQueues:
        try:
            return session.live(scheduler=scheduler, devices=counts[-1])
        except WorkerCrashed:
            raise
        except (XSchedError, pytest.skip.Exception):  # there are fewer, or others use them
            if len(counts) == 1:
                raise
            counts.pop()
            return make()

    return make
