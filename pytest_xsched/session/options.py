"""The names of all settings: command-line options, ini keys and the keywords of the marker.

pytest loads this module at every start, so it imports nothing that costs time: the values are read
and checked in `settings`, when a session needs them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

NOISE_VARIABLE = "PYTEST_XSCHED_NOISE"
MARKER_KEYS = ("device", "scheduler", "policy", "duration", "seed", "host")

# Name, placeholder and help text. Each is a command-line option and an ini key.
OPTIONS = (
    ("device", "NAME", "auto (default), cpu, sim, hip, cuda or opencl; with an index: cuda:1"),
    ("scheduler", "NAME", "native, priority, builtin (default), xsched, time-slicing or mps"),
    ("duration", "TIME", 'measured time of every run, instead of what the tests say: "10s"'),
    ("seed", "N", "seed of arrivals and inputs, or 'random' (default: 0)"),
    (
        "require-device",
        "NAME",
        "fail where this device is missing, instead of skipping or using another",
    ),
    ("host", "NAME", "measure on another machine, which the ini key xsched_hosts names"),
    ("hosts", "NAMES", "repeat each test on these machines, a,b,c; any: spread the tests over all"),
    ("build", "NAME", "measure this build, which the ini key xsched_builds names"),
    ("process", "WHERE", "measure in a worker process, inside pytest's process, or auto (default)"),
    ("home", "DIR", "the directory where XSched is installed (for scheduler xsched)"),
    ("gpu-driver", "PATH", "the GPU's driver library (default: searched)"),
    ("corpus", "DIR", "save scenarios that fail in DIR, and run the saved ones"),
    ("save", "NAME", "save the runs as a baseline called NAME"),
    ("compare", "NAME", "compare the runs with the baseline called NAME"),
    (
        "baseline-episodes",
        "N",
        "measure the build that --xsched-compare names and this one alternately, N times each",
    ),
    (
        "regression",
        "SHARE",
        "fail a run that is worse by this share (0.2) than 3 or more stored runs",
    ),
    ("baselines", "DIR", "directory of the baselines (default: .xsched in the rootdir)"),
    ("alpha", "P", "probability of any wrong FAIL in the session (default: 0.01)"),
    ("noise", "HOW", "noisy seconds: mask, note, off, or auto (default: mask on GPUs, else note)"),
    ("undecided", "HOW", "fail (default) or warn when a run is too short to decide a target"),
    (
        "trace",
        "PATH",
        "write a timeline of the runs for ui.perfetto.dev; on-failure: of those that missed a "
        "target, to xsched-trace.json",
    ),
    ("json", "PATH", "write scenarios, evidence, figures and verdicts to a JSON file"),
    ("html", "PATH", "write verdicts, charts and evidence as one HTML page"),
    ("samples", "PATH", "write each request of each run to a CSV file; .gz: compressed"),
    ("openmetrics", "PATH", "write figures and verdicts to a text file for Prometheus"),
)
# Rarely needed: ini keys only. `-o xsched_burst=5` sets one on the command line.
INI_ONLY = (
    ("waiting", "while a thread waits for a GPU: yield (default), spin or sleep between polls"),
    ("lock-timeout", "longest wait for a GPU that another process uses (default: 10min)"),
    ("gpu-compiler", "the library that compiles GPU kernels (default: searched)"),
    ("burst", "requests that may miss together although no burst was seen (default: 1)"),
    ("noise-limit", "a second is noisy when the harness is late by more than this (default: 5ms)"),
    ("first-run", "a stored run with nothing to compare it with: pass (default) or fail"),
    ("fixed-duration", "yes or true: measure the whole duration even when all targets are decided"),
)
OPTION_NAMES = tuple(name.replace("-", "_") for name, _, _ in OPTIONS)
NAMES = (*OPTION_NAMES, *(name.replace("-", "_") for name, _ in INI_ONLY))


LINES = (("builds", "builds, one a line, NAME: what differs, as in pr: home=build/pr"),)
"""Ini keys of more than one line, whose names no option has."""
_HOST_LINES = "other machines, one a line: NAME = COMMAND, as in gpu7 = ssh gpu7"


def add_options(parser: pytest.Parser) -> None:
    """Register the options and the ini keys, ``xsched_gpu_driver`` for ``--xsched-gpu-driver``."""
    group = parser.getgroup("xsched", "GPU QoS targets (pytest-xsched)")
    for name, metavar, text in OPTIONS:
        group.addoption(f"--xsched-{name}", metavar=metavar, default=None, help=text)
        ini_text = text if name != "duration" else "measured time of runs that set none"
        if name == "hosts":  # the option chooses among those that the ini key names
            parser.addini(ini_key(name), help=_HOST_LINES, type="linelist")
        else:
            _add_ini_key(parser, name, ini_text)
    for name, text in INI_ONLY:
        _add_ini_key(parser, name, text)
    for name, text in LINES:
        parser.addini(ini_key(name), help=text, type="linelist")


def _add_ini_key(parser: pytest.Parser, name: str, text: str) -> None:
    """Register an ini key whose value may be a number, true or false in `[tool.pytest]`."""
    any_type: Any = str | bool | int | float
    try:
        parser.addini(ini_key(name), help=text, type=any_type, default=None)
    except (AssertionError, TypeError, ValueError):  # pytest before 9.2 knows no unions
        parser.addini(ini_key(name), help=text, default=None)


def ini_key(name: str) -> str:
    """Return the ini key of a setting."""
    return f"xsched_{name.replace('-', '_')}"


def given(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """Return the value of a setting (None: not set) and where it came from.

    Args:
        config: of pytest.
        name: one of `NAMES`.
    """
    if name in OPTION_NAMES:
        value = config.getoption(f"xsched_{name}")
        if value is not None:
            return value, f"--xsched-{name.replace('_', '-')}"
        if name == "hosts":
            return None, "--xsched-hosts"
    origin = f"ini option {ini_key(name)}"
    try:
        value = config.getini(ini_key(name))
    except (TypeError, ValueError) as error:  # pytest 9.0 and 9.1, of a value with a type
        raise pytest.UsageError(f"{origin}: {error}; write it as a text, in quotes") from None
    return _ini_text(value), origin


def _ini_text(value: str | bool | float | None) -> str | None:
    """Return a value of an ini file or of TOML as text; an empty one is not set."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None or value == "" else str(value)


def is_in_use(config: pytest.Config) -> bool:
    """Check whether the user set anything or loaded the plugin by name (``-p xsched``)."""
    return "xsched" in config.option.plugins or any(given(config, name)[0] for name in NAMES)


def must_be_checked(config: pytest.Config) -> bool:
    """Check whether there are settings to validate, or pytest can start without reading them."""
    return is_in_use(config) or bool(os.environ.get(NOISE_VARIABLE))


def read_marker(item: pytest.Item) -> dict[str, Any]:
    """Return the settings of `@pytest.mark.xsched(...)` on a test, its class and its module.

    Raises:
        pytest.UsageError: for positional arguments and unknown keywords. The values are checked
            where they are used.
    """
    overrides: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("xsched"))):
        unknown = sorted(set(marker.kwargs) - set(MARKER_KEYS))
        if marker.args or unknown:
            what = ", ".join([*map(repr, marker.args), *unknown])
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.xsched does not take {what}; "
                f"it takes {', '.join(f'{key}=' for key in MARKER_KEYS)}"
            )
        overrides.update(marker.kwargs)
    return overrides
