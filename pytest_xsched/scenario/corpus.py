"""Scenarios in files, one JSON file each, so that what failed once is run again from then on."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pytest_xsched.base.output_file import read_regular, write_whole
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.scenario import Scenario


def save(directory: Path, scenario: Scenario, nodeid: str) -> Path:
    """Write a scenario to a file named after the test that failed and after its own digest.

    Raises:
        OSError: the file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    test = re.sub(r"\W+", "-", nodeid.rpartition("::")[2]).strip("-")
    path = directory / f"{test}-{scenario.digest()[:8]}.json"
    text = json.dumps({"test": nodeid, "scenario": scenario.to_dict()}, indent=1)
    write_whole(path, text + "\n")
    return path


def load(directory: Path) -> dict[str, Scenario]:
    """Return the scenarios of a directory, by the names of their files and in their order.

    Raises:
        ScenarioError: a file is not what `save` writes; says which.
    """
    found = {}
    for path in sorted(directory.glob("*.json")):
        try:
            data = json.loads(read_regular(path))
            found[path.stem] = Scenario.from_dict(data["scenario"])
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, OSError) as error:
            raise ScenarioError(f"{path} holds no scenario: {error}") from error
    return found
