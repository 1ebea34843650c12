"""The probability of a wrong FAIL in a session: one budget, divided over its gates.

With 50 gates that are each wrong once in a hundred runs, two sessions of five are red without a
reason. So a session has a budget for a wrong FAIL. It is divided evenly over the collected tests,
and within a test over its assertions: the k-th one gets 1 / (k (k + 1)) of it. These parts add up
to one for any number of assertions. So the sum over the session is at most the budget, for any
dependence between the gates. Source: C. Bonferroni, Teoria statistica delle classi e calcolo delle
probabilita, 1936.
"""

from __future__ import annotations

SESSION_ALPHA = 0.01
TESTS_MIN = 10
"""A session of few tests does not spend its budget on them: one gate is never at 0.01."""


class SessionBudget:
    """Divides the probability of a wrong FAIL in a session over tests and assertions.

    Args:
        alpha: probability of any wrong FAIL in the whole session, in (0, 1).
        tests: tests that were collected and may have gates.
    """

    def __init__(self, alpha: float = SESSION_ALPHA, tests: int = 0) -> None:
        self.alpha = alpha
        self.tests = tests
        self._assertions = 0

    def begin_test(self) -> None:
        """Begin a test: the next assertion is its first."""
        self._assertions = 0

    def next_alpha(self) -> float:
        """Return the probability that the next assertion of the test may spend."""
        self._assertions += 1
        share = self.alpha / max(self.tests, TESTS_MIN)
        return share / (self._assertions * (self._assertions + 1))
