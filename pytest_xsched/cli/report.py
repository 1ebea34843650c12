"""`pytest-xsched report FILE... -o PAGE`: one page of JSON files, of one or several machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.base.output_file import output_fault
from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import ScenarioError
from pytest_xsched.page.findings import is_conformance
from pytest_xsched.page.html_page import write_page
from pytest_xsched.page.source import Source
from pytest_xsched.reporting.json_export import checked, read_content

_COUNTED = {
    "runs": ("run", "runs"),
    "comparisons": ("comparison", "comparisons"),
    "rate_searches": ("search for a rate", "searches for rates"),
    "searches": ("search", "searches"),
    "policies": ("policy", "policies"),
}


def make_page(files: Sequence[str], output: str) -> str:
    """Write the page; return a sentence that says what is in it.

    Args:
        files: paths of JSON files, of --xsched-json or of `pytest-xsched conformance --json`.
        output: path of the page.

    Raises:
        ScenarioError: a path is wrong, or a file cannot be read.
        MissingExtra: jinja2 is not installed.
        OSError: the page cannot be written.
    """
    page = Path(expand_path(output, "--output"))
    if fault := output_fault(page):
        raise ScenarioError(f"--output: {fault}")
    paths = [Path(expand_path(file, "report")) for file in files]
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise ScenarioError(f"{path} is named twice, and its runs would count twice")
        seen.add(path.resolve())
    if page.resolve() in seen:
        raise ScenarioError(f"--output: {page} is one of the files to read; name another")
    sources = [Source(name=str(path), document=_read(path)) for path in paths]
    write_page(page, sources)
    counts: Counter[str] = Counter()
    for document in (source.document for source in sources):
        data = document.get("xsched", document)
        counts.update({key: len(data.get(key, ())) for key in _COUNTED})
    found = [(counts[key], names) for key, names in _COUNTED.items() if counts[key]]
    counted = [
        f"{count} {names[count != 1]}"
        for count, names in [*(found or [(0, _COUNTED["runs"])]), (len(paths), ("file", "files"))]
    ]
    return f"{page}: {', '.join(counted[:-1])} of {counted[-1]}"


def _read(path: Path) -> dict[str, Any]:
    content = read_content(path)
    return content if is_conformance(content) else checked(path, content)
