"""`pytest-xsched report FILE... -o PAGE`: one page of the JSON files of one or several machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_xsched.base.output_file import output_fault
from pytest_xsched.base.paths import expand_path
from pytest_xsched.errors import ScenarioError
from pytest_xsched.page.html_page import write_page
from pytest_xsched.page.view import Source
from pytest_xsched.reporting.json_export import read_json


def make_page(files: Sequence[str], output: str) -> str:
    """Write the page; return a sentence that says what is in it.

    Args:
        files: paths of JSON files.
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
    sources = [Source(name=str(path), document=read_json(path)) for path in paths]
    write_page(page, sources)
    runs = sum(len(source.document["xsched"]["runs"]) for source in sources)
    comparisons = sum(len(source.document["xsched"]["comparisons"]) for source in sources)
    counted = [
        f"{count} {word}{'s' * (count != 1)}"
        for count, word in ((runs, "run"), (comparisons, "comparison"), (len(paths), "file"))
        if count or word == "run"
    ]
    return f"{page}: {', '.join(counted[:-1])} of {counted[-1]}"
