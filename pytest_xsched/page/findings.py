"""What a page shows next to runs: baselines, searches for the worst case, conformance; no HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_xsched.base.units import format_duration
from pytest_xsched.page import charts
from pytest_xsched.reporting.run_table import Record

CONFORMANCE_FORMAT = 1
"""Of the JSON of `pytest-xsched conformance` that this version reads and writes."""

_OF_BASELINES = {
    "FAIL": ("worse", "failed"),
    "NO VERDICT": ("no difference shown",),
    "UNDECIDED": ("not applicable", "no baseline", "not compared", "damaged", "not saved"),
    "PASS": ("better", "saved", "first"),
}
_OF_RULES = {"failed": "FAIL", "once": "UNDECIDED", "unseen": "NO VERDICT", "holds": "PASS"}
_WORDS = {"failed": "FAILED", "once": "ONCE", "unseen": "UNSEEN", "holds": "HOLDS"}


def baseline(finding: Record, file: str) -> Record:
    """Describe what was found of a baseline."""
    status = str(finding["status"])
    kind = next((kind for kind, known in _OF_BASELINES.items() if status in known), "UNDECIDED")
    history: Any = finding.get("history") or []
    return {
        "status": status.upper(),
        "class": charts.css_class(kind),
        "sentence": finding["sentence"],
        "origin": finding["origin"],
        "file": file,
        "history": charts.history(
            [(str(when), value) for when, value in history],
            finding["unit"],
            "the figure of the stored runs over time",
        )
        if len(history) > 1
        else None,
    }


# ---- the search for the worst case


def search(one: Record, anchor: str, file: str, tests: Record) -> Record:
    """Describe a search for the worst case.

    Args:
        one: what `Worst.to_dict` returned, with its test.
        anchor: its place on the page.
        file: that it is from.
        tests: of the same file, by node id: the commands that run them again.
    """
    worst, typical = (_figure(one, one[key]) for key in ("value", "median"))
    cut = f"; then its budget was over: {one['examples']} were to be tried" if one["cut"] else ""
    return {
        "anchor": anchor,
        "title": f"Worst case of {one['objective']}: {worst}",
        "origin": one["origin"],
        "file": file,
        "verdicts": search_verdicts(one, anchor, file),
        "sentences": [
            f"Tried: {_count(one['tried'], 'mix', 'es')}, whose median is {typical}{cut}. "
            f"The worst of them, {_figure(one, one['highest'])}, was then made small as long as it "
            "stayed nearly as bad, and measured three times again: the median counts.",
        ],
        "python": one["scenario"],
        "peak": "" if one["peak"] == one["scenario"] else one["peak"],
        "peak_value": _figure(one, one["peak_value"]),
        "rerun": tests.get(one["origin"], {}).get("rerun", ""),
    }


def search_verdicts(one: Record, anchor: str, file: str) -> list[Record]:
    """Return what was asserted of a search, as verdicts of the page."""
    return [
        {
            "status": target["status"],
            "sentence": target["sentence"],
            "nodeid": one["origin"],
            "place": target["place"],
            "queue": "",
            "why": "",
            "anchor": anchor,
            "file": file,
        }
        for target in one["targets"]
    ]


def _figure(one: Record, value: float | None) -> str:
    if value is None:
        return "saturated"
    return f"{value:.4g}" if one["unit"] == "" else format_duration(round(value))


# ---- conformance


def is_conformance(document: object) -> bool:
    """Check whether a JSON file is of `pytest-xsched conformance --json`."""
    return isinstance(document, dict) and isinstance(document.get("policies"), list)


def conformance(document: Record, anchor: str, file: str) -> Record:
    """Describe what `pytest-xsched conformance` found.

    Raises:
        ValueError: the file has another format.
    """
    if document["format"] != CONFORMANCE_FORMAT:
        raise ValueError(f"format {document['format']!r}")
    home = f", XSched in {document['home']} on {document['device']}" if document["home"] else ""
    stopped = "; it was interrupted" if document["interrupted"] else ""
    return {
        "anchor": anchor,
        "file": file,
        "sentence": (
            f"Random scenarios were run under {_count(len(document['policies']), 'policy')}, and "
            f"checked against what is claimed of each: seed {document['seed']}{home}, "
            f"{document['seconds']:.1f} s{stopped}."
        ),
        "policies": [_policy(policy) for policy in document["policies"]],
    }


def conformance_headline(documents: Iterable[Record]) -> str:
    """Return what the first line of the page says of policies; "" without any."""
    policies = [policy for document in documents for policy in document["policies"]]
    if not policies:
        return ""
    counts = Counter(claim["status"] for policy in policies for claim in policy["claims"])
    unchecked = sum(not policy["checked"] for policy in policies)
    broken = counts["failed"]
    of = f"of {_count(len(policies), 'policy')}"
    parts = [f"{_count(broken, 'rule')} {of} {'is' if broken == 1 else 'are'} broken"]
    if not broken:
        parts = [f"no rule {of} is broken"]
    if unchecked:
        parts.append(f"{unchecked} {'was' if unchecked == 1 else 'were'} not checked")
    return ", ".join(parts)


def _policy(policy: Record) -> Record:
    rules = [_rule(claim) for claim in policy["claims"]]
    few = "" if policy["checked"] else "; too few: the policy counts as not checked"
    return {
        "name": f"{policy['scheduler']} {policy['policy']}",
        "definition": policy["definition"],
        "sentence": (
            f"{_count(policy['scenarios'], policy.get('unit', 'scenario'))}, "
            f"{_count(policy['runs'], 'run')} in "
            f"{policy['seconds']:.1f} s{few}"
        ),
        "bad": [rule for rule in rules if rule["python"] or rule["command"]],
        "rules": rules,
        "not_claimed": [
            {"rule": one["claim"], "why": one["why"]} for one in policy.get("not_claimed", [])
        ],
        "costs": (policy.get("costs") or {}).get("said", []),  # absent in old files
    }


def _rule(claim: Record) -> Record:
    status = claim["status"]
    sentence = claim.get("sentence", "")
    looked = _count(claim["looked"], claim["unit"])
    if status == "holds":
        sentence = f"in {looked}{shown_by_rule(claim.get('shown', {}))}"
    elif status == "unseen":
        sentence = sentence or "no scenario showed anything about this rule"
    again = ""
    if claim.get("python") or claim.get("command"):
        times = f"{claim['reproduced']} of {_count(claim['repeats'], 'fresh process', 'es')}"
        again = f"in {claim['failing']} of {looked}; reproduced in {times}"
    return {
        "status": _WORDS[status],
        "class": charts.css_class(_OF_RULES[status]),
        "rule": claim["claim"],
        "definition": claim["definition"],
        "sentence": sentence,
        "again": again,
        "python": claim.get("python", ""),
        "command": claim.get("command", ""),
    }


def shown_by_rule(shown: Mapping[str, int]) -> str:
    """Return in how many sequences of steps each rule of live queues was checked."""
    checked = ", ".join(f"{rule} {count}" for rule, count in shown.items() if count)
    unseen = ", ".join(rule for rule, count in shown.items() if not count)
    return (f": {checked}" if checked else "") + (f"; unseen: {unseen}" if unseen else "")


def _count(number: int, what: str, more: str = "s") -> str:
    if what == "policy":
        return f"{number} {'policy' if number == 1 else 'policies'}"
    return f"{number} {what}{'' if number == 1 else more}"
