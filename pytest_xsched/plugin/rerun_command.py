"""The command that runs one test again as it was run, for whoever reads of its failure."""

from __future__ import annotations

import os
import shlex

import pytest

from pytest_xsched.base.constants import split_device
from pytest_xsched.session.settings import NAMES, NOISE_VARIABLE
from pytest_xsched.system.driver_files import VARIABLES
from pytest_xsched.xsched.installation import VARIABLE as HOME_VARIABLE

_VARIABLES = {
    "noise": NOISE_VARIABLE,
    "home": HOME_VARIABLE,
    "gpu_driver": VARIABLES["driver"],
    "gpu_compiler": VARIABLES["compiler"],
}
"""What may be set by a variable, which whoever runs the test again need not have set."""
_ELSEWHERE = {"json", "save", "compare", "baselines", "lock_timeout"}
"""Options about other things than what is measured and judged."""


def command(item: pytest.Item, *, device: str, seed: int) -> str:
    """Give the command, quoted for a shell, to be run where pytest was.

    Args:
        item: the test.
        device: on which it was measured, also if pytest chose it.
        seed: that was drawn or set.
    """
    config = item.config
    given = {name: _given(config, name) for name in NAMES}
    if split_device(device)[0] in ("cpu", "sim"):  # where a file that is not there disturbs nobody
        given |= {
            name: config.getoption(f"xsched_{name}") for name in ("gpu_driver", "gpu_compiler")
        }
    given |= {"device": device, "seed": str(seed)}
    file = os.path.relpath(item.path, config.invocation_params.dir)
    words = ["pytest", "::".join([file, *item.nodeid.split("::")[1:]])]
    if "xsched" in config.option.plugins:
        words += ["-p", "xsched"]
    if config.option.inifilename is not None:
        words += ["-c", config.option.inifilename]
    for setting in config.option.override_ini or ():
        if setting.partition("=")[0].removeprefix("xsched_") not in _ELSEWHERE:
            words += ["-o", setting]
    for name, value in given.items():
        if value is not None and name not in _ELSEWHERE:
            option = f"--xsched-{name.replace('_', '-')}"
            words.append(option if name == "fixed_duration" else f"{option}={value}")
    return shlex.join(words)


def _given(config: pytest.Config, name: str) -> str | None:
    option: str | None = config.getoption(f"xsched_{name}")
    variable = _VARIABLES.get(name)
    if option is None and variable is not None:
        return os.environ.get(variable) or None
    return option
