"""Runs in virtual time: exact numbers, worked out by hand in the comments of the tests."""

from collections.abc import Iterator

import pytest

from pytest_xsched import Session, SimModel
from pytest_xsched.session.settings import Settings

BARE = SimModel(priority=False, launch_ns=0)
"""First come, first served, and a launch is on the device at once: easy to follow by hand."""


@pytest.fixture
def sim() -> Iterator[Session]:
    session = Session(Settings(device="sim", fixed_duration=True))
    yield session
    session.close()


@pytest.fixture
def sim_in_windows() -> Iterator[Session]:
    """A session that measures as long as it needs to."""
    session = Session(Settings(device="sim", fixed_duration=False))
    yield session
    session.close()


@pytest.fixture
def bare() -> SimModel:
    return BARE
