"""The command that runs one test again as it was run, for whoever reads of its failure."""

from __future__ import annotations

import os
import shlex

import pytest

_ELSEWHERE = ("doctor", "soak", "json", "save", "compare", "baselines", "lock_timeout")
"""Options about other things than what is measured and judged."""


def command(item: pytest.Item, *, device: str, seed: int) -> str:
    """Give the command, quoted for a shell, to be run where pytest was.

    Args:
        item: the test.
        device: on which it was measured, also if pytest chose it.
        seed: that was drawn or set.
    """
    config = item.config
    options = {
        name.removeprefix("xsched_"): str(value)
        for name, value in vars(config.option).items()
        if name.startswith("xsched_") and value is not None
    }
    options |= {"device": device, "seed": str(seed)}
    file = os.path.relpath(item.path, config.invocation_params.dir)
    words = ["pytest", "::".join([file, *item.nodeid.split("::")[1:]])]
    if "xsched" in config.option.plugins:
        words += ["-p", "xsched"]
    for name, value in sorted(options.items()):
        if name in _ELSEWHERE:
            continue
        option = f"--xsched-{name.replace('_', '-')}"
        words.append(option if name == "fixed_duration" else f"{option}={value}")
    return shlex.join(words)
