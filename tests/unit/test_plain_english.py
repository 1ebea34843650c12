"""The words of the project: sentences that an engineer reads once and understands.

Subject, verb, object; the actor is named; one fact a sentence. The list holds the words that made
sentences hard to read before, each with what to write instead.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WORDS = {
    r"whoever": "name the actor",
    r"nobody|somebody|everybody": "name the actor: no process, another program, all queues",
    r"behind": "after, at the end of, under",
    r"beside|besides": "next to, with, in addition to",
    r"(is|are|was|were|be|been|being) asked": "name who asks: the engine calls the policy",
    r"of which": "two sentences",
    r"so (many|much|few)": "a number",
    r"(gives?|handed|hands?) on": "passes",
    r"gone by": "name what decides",
    r"go(es)? by": "uses, follows",
    r"looked at": "checked, read, polled",
    r"looks? (at|into)": "checks, reads, polls",
    r"be told|is told|are told|was told": "receives, learns",
    r"told apart": "distinguished",
    r"what (it|they|he) (is|are|was|were) worth": "how well it works",
    r"nor do|neither does": "two sentences",
    r"here and there": "name the places",
    r"by turns": "alternately, interleaved",
    r"set beside|stands? beside": "compared with",
}
FIRST_WORDS = {"give", "gives", "tell", "tells", "say", "says", "look", "looks", "do", "hand"}
"""No docstring of a function begins with these: it returns, describes, checks, reports, polls."""


def text_of_python(path):
    """Yield line and text of every string and comment."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(io.StringIO(file.read()).readline):
            if token.type in (tokenize.STRING, tokenize.COMMENT) or (
                tokenize.tok_name[token.type] == "FSTRING_MIDDLE"
            ):
                yield token.start[0], token.string


def text_of_c(path):
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', text, re.DOTALL):
        yield text.count("\n", 0, match.start()) + 1, match[0]


def text_of_page(path):
    text = path.read_text(encoding="utf-8")
    # Code is checked where it is a file; what pytest prints is checked where it is written.
    text = re.sub(r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    yield from enumerate(text.splitlines(), start=1)


READERS = {".py": text_of_python, ".c": text_of_c, ".h": text_of_c, ".md": text_of_page}


def files():
    found = []
    for folder in ("pytest_xsched", "native", "bench", "docs", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in READERS:
                found.append(path)
    return found + [path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"]


def complaints(path):
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(WORDS)})(?![\w-])", re.IGNORECASE)
    found = []
    for line, text in READERS[path.suffix](path):
        for match in pattern.finditer(text):
            instead = next(w for word, w in WORDS.items() if re.fullmatch(word, match[0], re.I))
            number = line + text.count("\n", 0, match.start())
            found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}")
    if path.suffix == ".py":
        found += first_words(path)
    return found


def first_words(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].lower() in FIRST_WORDS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: a docstring begins with {words[0]}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path):
    found = complaints(path)
    assert not found, "\n".join(found)


def test_the_list_finds_something():
    assert re.search("|".join(WORDS), "With two whoever overtakes waits for two.")
