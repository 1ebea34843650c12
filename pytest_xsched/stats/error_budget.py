"""How often the verdicts of a session may be wrong: one probability, divided over its gates.

With 50 gates that are each wrong once in a hundred, two sessions of five are red for nothing. So a
session has a budget for a wrong FAIL: it is divided evenly over the tests that were collected, and
within a test over its assertions, the k-th of which gets 1 / (k (k + 1)) of it. These parts add up
to one, however many there will be, so the sum over the session is at most the budget, whatever the
gates have in common. Source: C. Bonferroni, Teoria statistica delle classi e calcolo delle
probabilita, 1936.
"""

from __future__ import annotations

SESSION_ALPHA = 0.01
TESTS_MIN = 10
"""A session of few tests does not spend its budget on them: one gate is never at 0.01."""


class Budget:
    """Hands out the probability of a wrong FAIL.

    Args:
        alpha: of any wrong FAIL in the whole session, in (0, 1).
        tests: tests that were collected and may have gates.
    """

    def __init__(self, alpha: float = SESSION_ALPHA, tests: int = 0) -> None:
        self.alpha = alpha
        self.tests = tests
        self._asked = 0

    def begin_test(self) -> None:
        """Tell that the next assertion is the first of a test."""
        self._asked = 0

    def next_alpha(self) -> float:
        """Give what the next assertion of the test may spend."""
        self._asked += 1
        share = self.alpha / max(self.tests, TESTS_MIN)
        return share / (self._asked * (self._asked + 1))
