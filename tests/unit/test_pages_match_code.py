"""Pages, `--help` and code agree: no page names what is gone, and everything is described."""

import importlib.util
import re
from pathlib import Path

import pytest

from pytest_xsched.base import policies
from pytest_xsched.cli import main
from pytest_xsched.reporting import openmetrics
from pytest_xsched.session import options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what is gone
OPTIONS_PAGE = (ROOT / "docs/reference/options.md").read_text(encoding="utf-8")
COMMANDS = ("doctor", "conformance", "compare", "record", "report")

OPTIONS = {f"--xsched-{name}" for name, _, _ in options.OPTIONS}
INI_KEYS = {
    options.ini_key(name) for name in (*options.NAMES, *(name for name, _ in options.LINES))
}


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main.main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_each_option_and_ini_key_is_described():
    described = set(re.findall(r"^\| `(--xsched-[a-z-]+)=", OPTIONS_PAGE, re.MULTILINE))
    assert described == OPTIONS
    section = OPTIONS_PAGE.partition("## Ini file only")[2].partition("\n## ")[0]
    only_ini = set(re.findall(r"^\| `(xsched_[a-z_]+)` \|", section, re.MULTILINE))
    assert only_ini == {options.ini_key(name) for name, _ in options.INI_ONLY}


def test_each_metric_is_described():
    text = (ROOT / "docs/reference/openmetrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`xsched_.*?) \|", text, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == list(openmetrics.FAMILIES)


def test_the_keys_of_the_marker_are_described():
    (keys,) = re.findall(r"`@pytest\.mark\.xsched\((.*?)\)`", OPTIONS_PAGE)
    assert keys == ", ".join(f"{key}=" for key in options.MARKER_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_an_option_that_is_gone(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"--xsched-[a-z][a-z-]*", text)) <= OPTIONS
    # "xsched_double" and the like are names of files and tests, which stand next to a path.
    keys = set(re.findall(r"(?<![\w/.:])xsched_[a-z_]+(?![\w/(.])", text))
    assert keys <= INI_KEYS | set(openmetrics.FAMILIES)


def test_each_command_and_its_options_are_described(capsys):
    assert set(re.findall(r"^    (\w+)(?:  |$)", help_of(capsys), re.MULTILINE)) == set(COMMANDS)
    rows = dict(re.findall(r"^\| `pytest-xsched (\w+).*?` \| (.*) \|$", OPTIONS_PAGE, re.MULTILINE))
    rows["conformance"] += rows["doctor"]  # "the same, and ..."
    for command in COMMANDS:
        shown = set(
            re.findall(r"^  (?:-\w.*?, )?(--[a-z-]+)", help_of(capsys, command), re.MULTILINE)
        )
        assert set(re.findall(r"--[a-z-]+", rows[command])) == shown - {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_options_of_the_commands_that_exist(page, capsys):
    text = page.read_text(encoding="utf-8")
    for command, rest in re.findall(r"pytest-xsched (\w+)((?: [^`\n#)]+)?)", text):
        if command not in COMMANDS:
            continue
        shown = help_of(capsys, command)
        for option in re.findall(r"--[a-z-]+", rest):
            if command == "compare" and option in OPTIONS:
                continue  # of pytest, which compare runs
            assert option in shown, f"pytest-xsched {command} {option}"


def test_the_exit_codes_are_those_of_the_command():
    page = (ROOT / "docs/reference/exit_codes.md").read_text(encoding="utf-8")
    of_command = page.partition("## pytest-xsched")[2]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", of_command, re.MULTILINE)}
    assert codes == set(main.ExitCode)


def test_our_policies_are_described():
    page = (ROOT / "docs/reference/policies.md").read_text(encoding="utf-8")
    ours = page.partition("## Policies of `builtin`")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)`", ours, re.MULTILINE))
    known = {policy.name for policy in policies.BUILTIN}
    assert named and named <= known
    # A new policy needs no line there: the built page has the table of the registry.
    assert "<!-- table: policies of builtin -->" in ours
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    assert set(re.findall(r"^\| `(\w+)`", conf.policy_table(), re.MULTILINE)) == known


def test_the_policies_of_xsched_are_described():
    page = (ROOT / "docs/reference/policies.md").read_text(encoding="utf-8")
    theirs = page.partition("## Policies of XSched")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`.*\| (.*) \|$", theirs, re.MULTILINE)
    hints = {name: set(re.findall(r"`(\w+)=`", cell)) for name, cell in rows}
    assert hints == {
        policy.name: {hint.removesuffix("_ns") for hint in policy.reads}
        for policy in policies.XSCHED
        if policy.name != "none"
    }


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_every_page_is_in_the_contents():
    docs = ROOT / "docs"
    listed = {docs / "index.md"}
    for page in docs.rglob("*.md"):
        for contents in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.S):
            names = [line for line in contents.splitlines() if line and line[0] != ":"]
            listed |= {page.parent / f"{name}.md" for name in names}
    assert listed == set(docs.rglob("*.md"))
