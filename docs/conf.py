"""How Sphinx builds these pages: `tox -e docs`, which treats a warning as an error."""

import importlib.metadata

project = "pytest-xsched"
version = release = importlib.metadata.version("pytest-xsched")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Warns", "returns_style")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"pytest-xsched {release}"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False


def policy_table():
    """Return our policies as a Markdown table, out of the registry."""
    from pytest_xsched.base.policies import BUILTIN

    rows = [f"| `{policy.name}` | {policy.definition} | {policy.source} |" for policy in BUILTIN]
    return "\n".join(["| policy | definition | source |", "|---|---|---|", *rows])


def add_policies(app, docname, source):
    if docname == "reference/policies":
        mark = "<!-- table: policies of builtin -->"
        assert mark in source[0]
        source[0] = source[0].replace(mark, policy_table())


def keep_colons(app, what, name, obj, options, lines):
    """Stop napoleon from reading "The kind: what it is" of an attribute as its type."""
    if what in ("attribute", "property", "data"):
        lines.insert(0, "")


def setup(app):
    app.connect("source-read", add_policies)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
