"""Missed targets: what a test missed, and whether that stays a failure of the session.

A miss raises an error. The error must reach a report that fails, or the test must have expected it:
by `pytest.raises` or by xfail. Anything else that hides it makes the test fail, a skip, too.

An UNDECIDED target raises the same error and is no miss: a test that expects a miss has not shown
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from pytest_xsched.analysis.verdict import Verdict

_ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType]"


class Miss:
    """A target that a test missed.

    It is no dataclass, because making one would cost every session that loads the plugin.

    Args:
        sentence: of the verdict, or the comparison that failed.
        name: start of the names of its JUnit properties; "" for a comparison.
        expected: how the test expected it: "pytest.raises", "xfail"; "": it did not.
        undecided: whether the target is UNDECIDED, which no `pytest.raises` makes a miss.
        in_raises: whether `pytest.raises` received it.
    """

    def __init__(
        self,
        sentence: str,
        name: str = "",
        expected: str = "",
        *,
        undecided: bool = False,
        in_raises: bool = False,
    ) -> None:
        self.sentence = sentence
        self.name = name
        self.expected = expected
        self.undecided = undecided
        self.in_raises = in_raises


class Misses:
    """The misses of one pytest process."""

    def __init__(self) -> None:
        self.earlier: dict[str, str] = {}
        """First miss of a test in an attempt before the one that is running, by node id."""
        self.expected: list[dict[str, str]] = []
        """Misses that tests expected: ``"sentence"``, ``"nodeid"`` and ``"how"``."""
        self.compared: list[str] = []
        """Comparisons of measured numbers that failed since the last report."""
        self.failed_a_report = False
        self._nodeid = ""
        self._reported = ""
        self._raised: list[tuple[object, ...]] = []
        self._compared_in_raises: list[str] = []
        self._refusals: list[str] = []

    def begin(self, nodeid: str) -> None:
        """Begin an attempt of a test: what was reported before it is of an earlier attempt."""
        if self._reported:
            self.earlier.setdefault(self._nodeid, self._reported)
        self._nodeid, self._reported = nodeid, ""
        self._forget_phase()

    def report(self, sentence: str) -> None:
        """Keep that a report of the current attempt failed because of a miss."""
        self._reported = self._reported or sentence
        self.failed_a_report = True

    @property
    def reported(self) -> str:
        """The first miss in this attempt whose report failed; "" if there is none."""
        return self._reported

    def received_by_raises(self, error: BaseException) -> None:
        """Keep what `pytest.raises` received: a test that wants a miss says so with it."""
        for one in _flat(error):
            verdict = getattr(one, "verdict", None)
            if verdict is not None:
                self._raised.append(_identity(verdict))
            elif isinstance(one, AssertionError) and self.compared:
                self._compared_in_raises.append(self.compared.pop())
            elif hasattr(one, "starved"):  # an InvalidRun, whose import would cost every session
                self._refusals.append(str(one).partition("\n")[0])

    def of_phase(self, verdicts: list[tuple[Verdict, str]]) -> list[Miss]:
        """Return the misses since the last report, those that `pytest.raises` received marked.

        Args:
            verdicts: that raised, each with the start of its JUnit properties.
        """
        found = []
        for verdict, name in verdicts:
            in_raises = (identity := _identity(verdict)) in self._raised
            if in_raises:
                self._raised.remove(identity)
            missed = verdict.status == "FAIL"
            how = "pytest.raises" if in_raises and missed else ""
            found.append(
                Miss(verdict.sentence, name, how, undecided=not missed, in_raises=in_raises)
            )
        found += [Miss(text) for text in self.compared]
        found += [Miss(text, expected="pytest.raises") for text in self._compared_in_raises]
        self._forget_phase()
        return found

    @property
    def all_compared(self) -> list[str]:
        """Comparisons that failed since the last report, also those in `pytest.raises`."""
        return [*self.compared, *self._compared_in_raises]

    def take_refusals(self) -> list[str]:
        """Return why targets got no verdict that `pytest.raises` received since the last call."""
        found = list(self._refusals)
        self._refusals.clear()
        return found

    def _forget_phase(self) -> None:
        self.compared.clear()
        self._raised.clear()
        self._compared_in_raises.clear()


def _identity(verdict: Verdict) -> tuple[object, ...]:
    return verdict.judged, verdict.rule, verdict.limit, verdict.limit_origin


def _flat(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, and a plain error as it is."""
    inner = getattr(error, "exceptions", None)
    if not isinstance(inner, tuple):
        yield error
        return
    for one in inner:
        yield from _flat(one)


def watch_raises(receive: Callable[[BaseException], None]) -> Callable[[], None]:
    """Pass each exception that `pytest.raises` catches to a function; return what ends that.

    No hook of pytest reports such exceptions. `pytest.raises` passes each one to `fill_unfilled`,
    a documented method, and only `pytest.raises` and its group form do. An exception that
    `try/except` or `contextlib.suppress` catches does not come here.
    """
    kind = pytest.ExceptionInfo
    original = kind.fill_unfilled

    def fill_unfilled(self: pytest.ExceptionInfo[BaseException], exc_info: _ExcInfo) -> None:
        original(self, exc_info)
        receive(exc_info[1])

    def end() -> None:
        kind.fill_unfilled = original  # type: ignore[method-assign]

    kind.fill_unfilled = fill_unfilled  # type: ignore[method-assign]
    return end
