"""The files that a page shows, and the runs and comparisons in them."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_xsched.reporting.run_table import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of `--xsched-json`, or of `pytest-xsched conformance --json`.

    Attributes:
        name: as the user wrote it; empty: the session that makes the page.
        document: its content, see `json_export.document` and `conformance.report`.
    """

    name: str
    document: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A run or a comparison with the file that it is from, and its place on the page."""

    record: Record
    source: Source
    anchor: str
