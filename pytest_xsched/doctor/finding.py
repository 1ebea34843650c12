"""The twelve findings of the doctor, as data, as text and as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pytest_xsched.reporting.table_layout import aligned, hanging

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

NAMES = (
    *("libraries", "symbols of the shim", "preload", "variables", "canary", "default stream"),
    *("scheduler", "priorities", "ladder", "fork and threads", "GPU at rest", "end of a process"),
)
"""Names of the checks, in order: a fault that one finds explains failures of later ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        seen: one sentence with values and paths; of a skipped check, the reason.
        remedy: one sentence that says what to do; "" where nothing is wrong.
        number: of the check, from 1; 0 until it is known.
    """

    status: str
    seen: str
    remedy: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        """Return the name of the check."""
        return NAMES[self.number - 1]


def ok(seen: str) -> Finding:
    """Return the finding that nothing is wrong."""
    return Finding(status=OK, seen=seen)


def failed(seen: str, remedy: str) -> Finding:
    """Return the finding that something is wrong."""
    return Finding(status=FAILED, seen=seen, remedy=remedy)


def skipped(reason: str, remedy: str = "") -> Finding:
    """Return the finding that the check could not be made."""
    return Finding(status=SKIPPED, seen=reason, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings of one examination.

    Attributes:
        home: where XSched is installed, or "".
        origin: what named it.
        device: kind of device that was checked, or "".
        findings: of all checks, in order.
        seconds: how long the checks took.
    """

    home: str
    origin: str
    device: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def exit_status(self) -> int:
        """Return 1 if a check failed, else 0."""
        return int(any(finding.status == FAILED for finding in self.findings))

    def print(self, form: str) -> None:
        """Write it to stdout, as ``"json"`` or as ``"text"``."""
        if form == "json":
            print(self.to_json())
        elif sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            print(self.to_text(columns=columns, colour="NO_COLOR" not in os.environ))
        else:
            print(self.to_text())

    def to_json(self) -> str:
        """Return the diagnosis as one JSON object."""
        checks = [{"name": finding.name, **asdict(finding)} for finding in self.findings]
        return json.dumps(
            {
                "home": self.home or None,
                "origin": self.origin or None,
                "device": self.device or None,
                "ok": self.exit_status == 0,
                "seconds": round(self.seconds, 3),
                "checks": checks,
            },
            indent=2,
        )

    def to_text(self, *, columns: int | None = None, colour: bool = False) -> str:
        """Return the diagnosis as text.

        Args:
            columns: of the terminal, to wrap at; None: one line a sentence.
            colour: whether to mark the status with colour.
        """
        home = f"{self.home} ({self.origin})" if self.home else "no XSched"
        device = f"device {self.device}" if self.device else "no GPU driver"
        lines = [f"xsched doctor: {home}, {device}", ""]
        for finding in self.findings:
            lines += _lines(finding, columns, colour)
        return "\n".join([*lines, "", self._summary()])

    def _summary(self) -> str:
        count = {
            status: sum(finding.status == status for finding in self.findings)
            for status in (OK, FAILED, SKIPPED)
        }
        parts = [f"{number} {status}" for status, number in count.items() if number]
        return f"{', '.join(parts)} in {self.seconds:.1f} s"


def numbered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings with their numbers."""
    return tuple(replace(finding, number=i) for i, finding in enumerate(findings, 1))


_COLOURS = {OK: "32", FAILED: "31;1", SKIPPED: "33"}
_WIDTHS = {1: 7, 2: 18}
_INDENT = 33


def _lines(finding: Finding, columns: int | None, colour: bool) -> list[str]:
    word = finding.status.upper() if finding.status == FAILED else finding.status
    (head,) = aligned([(f"{finding.number:2}", word, finding.name)], least=_WIDTHS)
    sentences = [finding.seen, *([f"-> {finding.remedy}"] if finding.remedy else [])]
    lines = hanging(head, sentences, indent=_INDENT, columns=columns)
    if colour:
        shown = f"\x1b[{_COLOURS[finding.status]}m{word}\x1b[0m"
        lines[0] = lines[0].replace(word, shown, 1)
    return lines
