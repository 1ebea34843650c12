"""One self-contained HTML page of one or many JSON files: written whole, equal for equal input.

jinja2, the extra `html`, is imported on use. The page may run one script and nothing else: its
policy names the script by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pytest_xsched.base.extras import require_extra
from pytest_xsched.base.output_file import write_whole
from pytest_xsched.page.charts import css_class
from pytest_xsched.page.source import Source
from pytest_xsched.page.svg import Markup, plain
from pytest_xsched.page.view import view


def write_page(path: Path, sources: Sequence[Source]) -> None:
    """Write the page of some JSON files, whole or not at all.

    Raises:
        MissingExtra: jinja2 is not installed.
        ScenarioError: a file cannot be read, see `view`.
        OSError: the page cannot be written.
    """
    write_whole(path, page(sources))


def page(sources: Sequence[Source]) -> str:
    """Return the page.

    Raises:
        MissingExtra: jinja2 is not installed.
        ScenarioError: a file cannot be read, see `view`.
    """
    require_extra("jinja2", "html")
    import jinja2

    script = _file("page.js").strip()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if hasattr(value, "__html__") else plain(value),
    )
    environment.filters["css"] = css_class
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    text: str = environment.from_string(_file("page.html.jinja")).render(
        **view(sources),
        style=Markup(_file("page.css")),
        script=Markup(script),
        script_hash=digest,
    )
    return text.rstrip() + "\n"


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
