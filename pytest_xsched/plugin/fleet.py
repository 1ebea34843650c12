"""Tests that are repeated on several hosts: their parameter, and xdist workers of their own."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from pytest_xsched.plugin.state import state_of
from pytest_xsched.session.options import read_marker

HOST = "xsched_host"
"""The fixture that is the parameter."""


def repeat_on_hosts(metafunc: pytest.Metafunc) -> None:
    """Repeat a test on the hosts of --xsched-hosts, unless its marker names one."""
    hosts = state_of(metafunc.config).settings.fleet
    if hosts and "host" not in read_marker(metafunc.definition):
        metafunc.parametrize(HOST, hosts, indirect=True, scope="session")


def keep_one_of_each(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect repetitions of tests whose `pytest.param` has a marker with a host.

    Such a marker is known only when the tests are there. The one that is kept has the id of its
    host, or of the first where its host is none of --xsched-hosts.
    """
    hosts = state_of(config).settings.fleet
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        host = _named_host(item) if HOST in parameters else None
        if host is None:
            kept.append(item)
            continue
        is_repetition = parameters[HOST] != (host if host in hosts else hosts[0])
        (left if is_repetition else kept).append(item)
        parameters[HOST] = host  # what the fixture returns
    if left:
        items[:] = kept
        config.hook.pytest_deselected(items=left)


def _named_host(item: pytest.Item) -> Any:
    try:
        return read_marker(item).get("host")
    except pytest.UsageError:  # which the set-up of the test raises again
        return None


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler of xdist that runs the tests of a host in one worker, hosts side by side.

    None: where tests are not repeated, or --dist asks for another way.
    """
    hosts = state_of(config).settings.fleet
    if not hosts or config.getoption("dist") != "load":
        return None
    base = importlib.import_module("xdist.scheduler").LoadScopeScheduling

    def split_scope(self: Any, nodeid: str) -> Any:
        return host_of(nodeid, hosts) or base._split_scope(self, nodeid)

    return type("HostScheduling", (base,), {"_split_scope": split_scope})(config, log)


def host_of(nodeid: str, hosts: tuple[str, ...]) -> str:
    """Return the host among the parameters of a test; "" if there is none.

    Args:
        nodeid: of the test: ``"test_a.py::test_one[gpu7-8]"``.
        hosts: that tests are repeated on.
    """
    found = re.search(r"\[(.*)\]$", nodeid)
    if not found:
        return ""
    parameters = f"-{found[1]}-"
    return max((host for host in hosts if f"-{host}-" in parameters), key=len, default="")
