"""Parts of the JSON file that many runs have in common, written once and named by their digest.

A comparison has dozens of runs of the same queues on the same machine. Their descriptions of queues
(a model has thousands of commands) and of the machine are in a table of the file; runs of
comparisons name them. A run that a test compared after it made it is a number: its place among the
runs of the file, which are whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pytest_xsched.reporting.run_table import Record

_KEY_LENGTH = 12


class SharedParts:
    """The table: queues of scenarios, and fingerprints, by digest.

    Args:
        runs: of the file, which are written whole.
    """

    def __init__(self, runs: list[Record]) -> None:
        self._runs = runs
        self.tables: dict[str, Record] = {"queues": {}, "fingerprints": {}}
        self._keys: dict[str, str] = {}

    def without(self, comparison: Record) -> Record:
        """Return a comparison whose runs name their queues and fingerprints; the table has them."""
        arms = {arm: list(map(self._run, runs)) for arm, runs in comparison["arms"].items()}
        return {**comparison, "arms": arms}

    def _run(self, run: Record) -> Record | int:
        if run in self._runs:
            return self._runs.index(run)
        scenario = run["scenario"]
        queues = [self._key("queues", queue) for queue in scenario["queues"]]
        return {
            **run,
            "scenario": {**scenario, "queues": queues},
            "fingerprint": self._key("fingerprints", run["fingerprint"]),
        }

    def _key(self, table: str, part: Record) -> str:
        text = json.dumps(part, sort_keys=True)
        key = self._keys.get(text)
        if key is None:
            key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]
            self._keys[text] = key
            self.tables[table][key] = part
        return key


def whole(comparison: Record, runs: list[Record], tables: Mapping[str, Record]) -> Record:
    """Return a comparison of a file with whole runs again; they share what they had in common.

    Args:
        comparison: of the file.
        runs: of the file.
        tables: of the file; empty for a file of a format without them.

    Raises:
        LookupError: a run names a part that the file does not have.
    """
    arms = {
        arm: [runs[run] if isinstance(run, int) else _whole_run(run, tables) for run in of_arm]
        for arm, of_arm in comparison["arms"].items()
    }
    return {**comparison, "arms": arms}


def _whole_run(run: Record, tables: Mapping[str, Record]) -> Record:
    def part(table: str, named: Any) -> Any:
        return tables[table][named] if isinstance(named, str) else named

    scenario = run["scenario"]
    queues = [part("queues", queue) for queue in scenario["queues"]]
    fingerprint = part("fingerprints", run["fingerprint"])
    return {**run, "scenario": {**scenario, "queues": queues}, "fingerprint": fingerprint}


def layout(value: Any, indent: int = 0) -> str:
    """Return JSON text in which an innermost list or object is one line.

    Raises:
        ValueError: a number is not finite.
    """
    if not isinstance(value, (dict, list)) or not any(
        isinstance(one, (dict, list)) and one
        for one in (value.values() if isinstance(value, dict) else value)
    ):
        return json.dumps(value, allow_nan=False)
    inner = "\n" + " " * (indent + 1)
    end = "\n" + " " * indent
    comma = "," + inner
    if isinstance(value, dict):
        named = (f"{json.dumps(str(key))}: {layout(one, indent + 1)}" for key, one in value.items())
        return "{" + inner + comma.join(named) + end + "}"
    return "[" + inner + comma.join(layout(one, indent + 1) for one in value) + end + "]"
