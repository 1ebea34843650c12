"""The command that runs one test again as it was run, for whoever reads of its failure."""

from __future__ import annotations

import os
import shlex

import pytest

from pytest_xsched.options import NAMES

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
    given = {name: config.getoption(f"xsched_{name}") for name in NAMES}
    given |= {"device": device, "seed": str(seed)}
    file = os.path.relpath(item.path, config.invocation_params.dir)
    words = ["pytest", "::".join([file, *item.nodeid.split("::")[1:]])]
    if "xsched" in config.option.plugins:
        words += ["-p", "xsched"]
    for name, value in given.items():
        if value is not None and name not in _ELSEWHERE:
            option = f"--xsched-{name.replace('_', '-')}"
            words.append(option if name == "fixed_duration" else f"{option}={value}")
    return shlex.join(words)
