"""The report of `pytest-xsched conformance`, as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.conformance.engine import (
    ENOUGH,
    FAILED,
    HOLDS,
    ONCE,
    UNSEEN,
    Conformance,
    Result,
)
from pytest_xsched.page.findings import CONFORMANCE_FORMAT, shown_by_rule
from pytest_xsched.reporting.table_layout import aligned

_WORDS = {HOLDS: "holds", FAILED: "FAILED", ONCE: "once", UNSEEN: "unseen"}
_WIDTHS = {0: 6, 1: 26}
_LINE = 100


def policy_lines(found: Conformance, files: Mapping[str, Path]) -> list[str]:
    """Report the outcome for a policy, as lines of text.

    Args:
        found: what `engine.examine` returned.
        files: where the scenarios of failures were saved, by id of the rule.
    """
    policy = found.policy
    lines = [
        f"{policy.scheduler} {policy.name}: {_count(found.scenarios, found.unit)}, "
        f"{_count(found.runs, 'run')} in {found.seconds:.1f} s"
        f"{'; then the budget was over' if found.cut else ''}",
        f"  {policy.text}",
    ]
    table = [(_WORDS[one.status], one.rule, _sentence(one)) for one in found.results]
    for result, line in zip(found.results, aligned(table, least=_WIDTHS), strict=True):
        lines += [f"  {line}", *_details(result, files.get(result.rule))]
    lines += [] if found.costs is None else [f"  cost   {line}" for line in found.costs.lines()]
    return lines + _not_claimed(found)


def _not_claimed(found: Conformance) -> list[str]:
    reasons = "; ".join(f"{', '.join(ids)} ({why})" for why, ids in _reasons(found))
    if not reasons:
        return []
    return textwrap.wrap(
        f"not claimed: {reasons}",
        width=_LINE,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def _reasons(found: Conformance) -> list[tuple[str, list[str]]]:
    """Return the reasons why rules are not claimed, each with the ids of its rules."""
    reasons: dict[str, list[str]] = {}
    for one in found.not_claimed:
        reasons.setdefault(one.why, []).append(one.rule)
    return list(reasons.items())


def _sentence(result: Result) -> str:
    if result.status == UNSEEN:
        return result.sentence or "no scenario showed anything about this rule"
    if result.status == HOLDS:
        return _count(result.looked, result.unit) + shown_by_rule(result.shown)
    if result.status == ONCE and not result.repeats:
        return f"failed, and was not run again: {result.sentence}"
    if result.status == ONCE:
        return f"failed, but was reproduced in {_again(result)} only: {result.sentence}"
    return result.sentence


def _again(result: Result) -> str:
    return f"{result.reproduced} of {_count(result.repeats, 'fresh process', 'es')}"


def _details(result: Result, file: Path | None) -> list[str]:
    if result.status != FAILED:
        return []
    again = _again(result)
    lines = [f"          claimed: {result.definition}"]
    if result.command:
        return [*lines, f"          reproduced in {again} by:", f"          {result.command}"]
    if result.scenario is None:
        lines += [f"          reproduced in {again} by these steps of the fixture xqueues:"]
        return lines + [f"          {line}" for line in result.steps]
    lines += [
        f"          in {result.failing} of {_count(result.looked, 'scenario')}; reproduced in "
        f"{again} by this one, kept in {file}:",
    ]
    return lines + [f"          {line}" for line in result.scenario.to_python().splitlines()]


def summary(all_found: Sequence[Conformance], seconds: float) -> str:
    """Return the line that counts the broken rules, and one that names what was not checked."""
    count = sum(len(found.failed) for found in all_found)
    parts = [found for found in all_found if found.unit != "scenario"]
    policies = [found for found in all_found if found.unit == "scenario"]
    scenarios = sum(found.scenarios for found in policies)
    places = [f"{_count(found.scenarios, found.unit)} of {found.policy.name}" for found in parts]
    if policies or not parts:
        many = "policy" if len(policies) == 1 else "policies"
        places.append(f"{_count(scenarios, 'scenario')} of {len(policies)} {many}")
    line = f"{_count(count, 'finding')} in {' and '.join(places)}, {seconds:.1f} s"
    few = [f"{found.policy.scheduler} {found.policy.name}" for found in all_found if found.too_few]
    if not few:
        return line
    return (
        f"{line}\nNOT CHECKED {', '.join(few)}: the budget was over after fewer than {ENOUGH} "
        "scenarios; a longer one is set with --budget"
    )


def to_json(
    all_found: Sequence[Conformance],
    files: Mapping[tuple[str, str, str], Path],
    *,
    facts: Mapping[str, Any],
    seconds: float,
) -> str:
    """Return everything as one JSON object.

    Args:
        all_found: one for each policy.
        files: files of failures, by scheduler, policy and id of the rule.
        facts: about the whole: device, home, seed.
        seconds: time that it took.
    """
    policies = [
        {
            "scheduler": found.policy.scheduler,
            "policy": found.policy.name,
            "definition": found.policy.text,
            "scenarios": found.scenarios,
            "unit": found.unit,
            "runs": found.runs,
            "seconds": round(found.seconds, 3),
            "checked": not found.too_few,
            "claims": [
                _plain(result, files.get((found.policy.scheduler, found.policy.name, result.rule)))
                for result in found.results
            ],
            "costs": found.costs and found.costs.to_dict(),
            "not_claimed": [{"claim": one.rule, "why": one.why} for one in found.not_claimed],
        }
        for found in all_found
    ]
    ok = not any(found.failed for found in all_found)
    return json.dumps(
        {
            "format": CONFORMANCE_FORMAT,
            **facts,
            "ok": ok,
            "seconds": round(seconds, 3),
            "policies": policies,
        },
        indent=2,
    )


def _plain(result: Result, file: Path | None) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "claim": result.rule,
        "definition": result.definition,
        "status": result.status,
        "looked": result.looked,
        "unit": result.unit,
    }
    if result.shown:
        plain["shown"] = dict(result.shown)
    if result.sentence:
        plain |= {
            "command": result.command,
            "failing": result.failing,
            "sentence": result.sentence,
            "reproduced": result.reproduced,
            "repeats": result.repeats,
            "python": result.scenario.to_python() if result.scenario else "\n".join(result.steps),
            "file": None if file is None else str(file),
        }
    return plain


def _count(number: int, what: str, more: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else more}"
