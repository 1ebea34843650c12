"""Where Ctrl-C may come between the steps of a loop, and something must be done after it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest_xsched

PACKAGE = Path(pytest_xsched.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
INTERRUPTS = {"BaseException", "KeyboardInterrupt"}
NO_EXCEPTION = {"system/mps_keeper.py"}
"""Files of processes in which a signal is noted and raises nothing."""


def nodes(of: ast.AST) -> Iterator[ast.AST]:
    """Yield what is inside, but not in another function."""
    for child in ast.iter_child_nodes(of):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from nodes(child)


def sees_interrupts(block: ast.Try) -> bool:
    names = [
        None if handler.type is None else {n.id for n in ast.walk(handler.type) if hasattr(n, "id")}
        for handler in block.handlers
    ]
    return bool(block.finalbody) or any(one is None or one & INTERRUPTS for one in names)


def uncovered_loops(text: str) -> list[int]:
    """Return the lines of loops with a condition, in a `try` that Ctrl-C must not skip."""
    blocks = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Try) and sees_interrupts(n)]
    inside = [node for block in blocks for one in block.body for node in (one, *nodes(one))]
    return [
        node.lineno
        for node in inside
        if isinstance(node, ast.While) and not isinstance(node.test, ast.Constant)
    ]


def test_no_interrupt_skips_what_must_be_done_after_a_loop():
    """In CPython 3.12 and 3.13, a `try` does not cover the jump back of `while condition`.

    An interrupt there skips `finally`. `ManagedProcess.listen_until` and `Run.wait_until_over` are
    functions of their own for this reason.
    """
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := uncovered_loops(path.read_text(encoding="utf-8")))
    }
    assert found.keys() == NO_EXCEPTION, found


def test_such_loops_are_seen():
    loop = "    while x():\n        y()\n"
    assert uncovered_loops(f"try:\n{loop}finally:\n    z()\n") == [2]
    assert uncovered_loops(f"try:\n{loop}except (OSError, KeyboardInterrupt):\n    z()\n") == [2]
    assert uncovered_loops(f"try:\n{loop}except OSError:\n    z()\n") == []
    assert uncovered_loops("try:\n    while True:\n        y()\nfinally:\n    z()\n") == []
