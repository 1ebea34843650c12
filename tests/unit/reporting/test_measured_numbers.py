"""What stands among measured numbers was measured: no number of the user, but for settings."""

from __future__ import annotations

import re

import pytest

from pytest_xsched import Session, ms, spin
from pytest_xsched.reporting import github_summary
from pytest_xsched.reporting.terminal_summary import summary
from pytest_xsched.session.settings import Settings


@pytest.fixture(scope="module")
def session():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@pytest.fixture(scope="module")
def queues(session):
    high = session.queue("high", spin("1ms"), priority=10, rate="20/s")
    return high, session.queue("low", spin("5ms"), priority=1)


def without_verdicts(lines):
    verdict = r"( *|- :\w+: )(PASS|FAIL|UNDECIDED) "
    return [line for line in lines if not re.match(verdict, line)]


@pytest.mark.parametrize("show", [summary, github_summary.page], ids=["terminal", "github"])
def test_a_limit_stands_in_its_verdict_and_nowhere_else(session, queues, show):
    shown = []
    for limit_ms, rate in ((77.125, 13.375), (88.625, 11.875)):
        run = session.run(*queues, duration="15s")
        run.high.assert_p99_below(limit_ms * ms)
        run.high.assert_throughput_at_least(f"{rate}/s")
        run.low.assert_tail_ratio_below(limit_ms)
        lines = show([run.to_dict()])
        assert len(lines) - len(without_verdicts(lines)) == 3
        shown.append(without_verdicts(lines))
    assert shown[0] == shown[1]  # no other line knows what was expected


def test_what_a_comparison_is_to_reach_stands_in_its_verdict_and_nowhere_else(session, queues):
    shown = []
    for factor in (0.125, 0.0625):
        compared = session.compare(*queues, duration="15s", episodes=6)
        compared.high.assert_no_worse(by=factor + 0.01)
        compared.low.assert_best_effort_kept(factor)
        lines = summary([compared.to_dict()])
        assert sum(f"at least {factor:.4g}" in line for line in lines) == 1
        shown.append(without_verdicts(lines))
    assert shown[0] == shown[1]


def test_every_figure_of_a_queue_comes_from_the_samples(session, queues):
    """Computed again from them: n, P50, P99, maximum and rate are in the row of the queue."""
    run = session.run(*queues, duration="15s")
    rows = {line.split()[0]: line for line in summary([run.to_dict()]) if "spin(" in line}
    for name, queue in run.queues.items():
        latency_ms = sorted(queue.latency_ns / 1e6)
        n = len(latency_ms)
        ranks = [latency_ms[-(-n * q // 100) - 1] for q in (50, 99, 100)]
        cells = re.split(r" {2,}", rows[name].strip())
        assert cells[3] == str(n)
        assert [float(cell.removesuffix(" ms")) for cell in cells[4:7]] == [
            pytest.approx(rank, rel=5e-3) for rank in ranks
        ]
        assert float(cells[7].partition("/s")[0]) == pytest.approx(n / 15, rel=5e-4)
