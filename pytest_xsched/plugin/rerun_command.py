"""The command that runs one test again as it was run; a failure's report ends with it."""

from __future__ import annotations

import os
import shlex

import pytest

from pytest_xsched.base.constants import split_device
from pytest_xsched.session.options import NOISE_VARIABLE, OPTION_NAMES, ini_key
from pytest_xsched.system.driver_files import VARIABLES
from pytest_xsched.xsched.installation import VARIABLE as HOME_VARIABLE

_VARIABLES = {
    "noise": NOISE_VARIABLE,
    "home": HOME_VARIABLE,
    "gpu_driver": VARIABLES["driver"],
    "gpu_compiler": VARIABLES["compiler"],
}
"""Environment variables that set something; they may be missing where the test is run again."""
_LIBRARIES = {"gpu_driver", "gpu_compiler"}
_NOT_REPEATED = {
    *("json", "html", "trace", "samples", "openmetrics", "lock_timeout"),
    *("save", "compare", "baselines", "baseline_episodes", "regression", "first_run"),
}
"""Settings that change neither what is measured nor how it is judged."""


def rerun_command(item: pytest.Item, *, device: str, seed: int, host: str | None = None) -> str:
    """Return the command, quoted for a shell, to be run in the directory where pytest was started.

    Args:
        item: the test.
        device: on which it was measured, also if pytest chose it.
        seed: that was drawn or set.
        host: on which it was measured, if it was one of all hosts.
    """
    config = item.config
    options = {name: config.getoption(f"xsched_{name}") for name in OPTION_NAMES}
    settings = [one for one in config.option.override_ini or () if not _is_left_out(one)]
    for name, variable in _VARIABLES.items():
        value = os.environ.get(variable)
        # On cpu and sim a library that is missing elsewhere would be an error for nothing.
        if not value or (name in _LIBRARIES and split_device(device)[0] in ("cpu", "sim")):
            continue
        if name in OPTION_NAMES:
            options[name] = options[name] or value
        else:
            path = os.path.abspath(value) if "/" in value else value
            settings.append(f"{ini_key(name)}={path}")
    options |= {"device": device, "seed": str(seed)}
    if host is not None:
        options |= {"host": host, "hosts": None}
    file = os.path.relpath(item.path, config.invocation_params.dir)
    words = ["pytest", "::".join([file, *item.nodeid.split("::")[1:]])]
    if "xsched" in config.option.plugins:
        words += ["-p", "xsched"]
    if config.option.inifilename is not None:
        words += ["-c", config.option.inifilename]
    for setting in settings:
        words += ["-o", setting]
    for name, value in options.items():
        if value is not None and name not in _NOT_REPEATED:
            words.append(f"--xsched-{name.replace('_', '-')}={value}")
    return shlex.join(words)


def _is_left_out(setting: str) -> bool:
    return setting.partition("=")[0].removeprefix("xsched_") in _NOT_REPEATED
