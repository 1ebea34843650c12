"""For the tests of the plugin: test files to run, and ways to run them."""

from __future__ import annotations

import sys
import textwrap

import pytest

# A run inside this process must find the classes of the run before it, or `from pytest_xsched
# import ...`, which remembers, gives classes of a module that pytester has dropped.
import pytest_xsched.reporting.run_table
import pytest_xsched.session.session  # noqa: F401

STRICT = (
    "-Werror",
    # The import hook of an editable install is listed among the plugin's own files.
    "-Wignore:Module already imported so cannot be rewritten; _editable_skbc"
    ":pytest.PytestAssertRewriteWarning",
    "-pno:cacheprovider",
)

TWO_MODELS = """\
import pytest
from pytest_xsched import matmul

@pytest.fixture(scope="module")
def mix(xsched):
    high = xsched.queue("high", matmul(512), priority=10, rate="20/s")
    low = xsched.queue("low", matmul(1024, batch=8), priority=1)
    return high, low

@pytest.fixture(scope="module")
def scheduled(xsched, mix):
    return xsched.run(*mix, duration="60s")

def test_latency(scheduled):
    scheduled.high.assert_p99_below("{p99}")

def test_keeps_up(scheduled):
    scheduled.high.assert_throughput_at_least("20/s", tolerance="1%")

def test_is_steady(scheduled):
    scheduled.high.assert_tail_ratio_below({ratio})

def test_not_starved(scheduled):
    scheduled.low.assert_throughput_at_least("{low}/s")
"""


@pytest.fixture
def two_models(pytester):
    """Writes the test file of the design, with the limits given."""

    def write(*, p99="50ms", ratio=10, low=40):
        text = TWO_MODELS.format(p99=p99, ratio=ratio, low=low)
        pytester.makepyfile(test_qos=text)
        return text

    return write


@pytest.fixture
def alone(monkeypatch):
    """Keeps every plugin out of a run that the run does not name: a second less, each time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)  # of the job that runs these tests


@pytest.fixture
def inside(pytester, alone):
    """Runs pytest with the plugin inside this process; a warning is an error."""

    def run(*args):
        return pytester.runpytest_inprocess(*STRICT, "-pxsched", *args)

    return run


@pytest.fixture
def sim(inside):
    """Runs pytest on the device sim, inside this process; a warning is an error."""

    def run(*args):
        return inside("--xsched-device=sim", *args)

    return run


@pytest.fixture
def fresh(pytester, alone):
    """Runs pytest with the plugin in a process of its own; a warning is an error."""

    def run(*args, timeout=200):
        return pytester.runpytest_subprocess(*STRICT, "-pxsched", *args, timeout=timeout)

    return run


@pytest.fixture
def command(pytester, alone):
    """Runs `python -m pytest_xsched` in a process of its own."""

    def run(*args):
        return pytester.run(sys.executable, "-m", "pytest_xsched", *args, timeout=200)

    return run


@pytest.fixture
def load(pytester):
    """Writes a test file whose fixture `load` is two queues of little work, measured for 15 s.

    `high` has 300 requests, just enough for a P99.
    """
    start = """
        import pytest
        from pytest_xsched import *

        @pytest.fixture(scope="session")
        def load(xsched):
            return (
                xsched.queue("high", spin("1ms"), priority=10, rate="20/s"),
                xsched.queue("low", spin("5ms"), priority=1),
            )

        @pytest.fixture(scope="session")
        def run(xsched, load):
            return xsched.run(*load, duration="15s")
        """

    def write(body, name="test_it"):
        text = textwrap.dedent(start) + textwrap.dedent(body)
        return pytester.makepyfile(**{name: text})

    return write
