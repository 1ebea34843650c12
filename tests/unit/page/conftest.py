"""Pages as a reader's program sees them: read by the HTML parser of the standard library."""

from __future__ import annotations

import html.parser

import pytest

VOID = {"meta", "br", "img", "link", "input", "hr"}
NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><script src=//evil.example/x.js></script>",
    "]]><svg onload=alert(1)>",
    "--><b>bold</b><!--",
    "</code></pre><iframe srcdoc=x>",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "{{ 7 * 7 }} {% include 'x' %} ${7*7}",
    "javascript:alert(1)",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m",
    "\u202eexe.gnp \u2066x\u2069 \u200b",
    "null \x00 and half \ud800",
    "line\u2028end\u2029 \x85 tab\t",
    "%s %n $(reboot) `x` \\ \\u0041",
    "a" * 400,
]
"""What a test id, a name of a workload, the output of a program or a file name may be."""


class Element:
    """An element of a page, with its attributes and its text."""

    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children = []
        self.texts = []

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.texts)

    def find(self, tag="", **attributes):
        """Yields the elements below of a tag, with some attributes (of a class a word)."""
        for child in self.children:
            words = {
                name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()
            }
            if tag in ("", child.tag) and all(
                value in (child.attributes.get(name) or "").split()
                if name == "class"
                else child.attributes.get(name) == value
                for name, value in words.items()
            ):
                yield child
            yield from child.find(tag, **attributes)


class Reader(html.parser.HTMLParser):
    """Builds the tree, and fails where an element is not closed where it should be."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("", {}, None)

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"{tag} has an attribute twice"
        one = Element(tag, dict(attributes), self.here)
        self.here.children.append(one)
        self.here.texts.append(one)
        if tag not in VOID:
            self.here = one

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert tag == self.here.tag, f"</{tag}> ends <{self.here.tag}>"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.texts.append(data)


@pytest.fixture
def read():
    """Reads a page and checks what holds for every page."""

    def read(page):
        reader = Reader()
        reader.feed(page)
        reader.close()
        assert reader.here is reader.root
        check(page, reader.root)
        return reader.root

    return read


def check(page, root):
    """No script but ours, nothing from elsewhere, no control characters, ids only once."""
    everything = list(root.find())
    assert [one.tag for one in everything].count("script") == 1
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & {
        one.tag for one in everything
    }
    for one in everything:
        for name, value in one.attributes.items():
            assert not name.startswith("on"), name
            if name in ("href", "src", "action", "xlink:href"):
                assert value.startswith("#"), value
    ids = [one.attributes["id"] for one in everything if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    links = {one.attributes["href"][1:] for one in everything if "href" in one.attributes}
    assert links <= set(ids)
    assert all(letter.isprintable() or letter in "\n\t" for letter in page)
    page.encode()


@pytest.fixture
def document(tmp_path):
    """Makes the document of some records."""
    from pytest_xsched.reporting.json_export import document

    def make(*records, findings=(), tests=None):
        made = document(list(records), tmp_path, list(findings), tests or {})
        return made | {"datetime": "2026-01-02T03:04:05.678901+00:00"}

    return make


@pytest.fixture
def source(document):
    """Makes the source of a page."""
    from pytest_xsched.page.source import Source

    def make(*records, name="", **more):
        return Source(name=name, document=document(*records, **more))

    return make


@pytest.fixture(params=NASTY, ids=range(len(NASTY)))
def nasty(request):
    return request.param
