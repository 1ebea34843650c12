"""A later window joins a queue: nothing of the earlier ones is lost, times are those of the run."""

from __future__ import annotations

import pytest

MS = 1_000_000
S = 1000 * MS
OFFSET_NS = 100 * S


def extended(first, *later, noisy_ns=()):
    """Return the first queue, extended by the others, whose runs begin 100 s after one another."""
    for number, queue in enumerate(later, 1):
        spans = noisy_ns[number - 1] if noisy_ns else ()
        (window_ns,) = queue.windows_ns
        first.extend(queue.counts, queue.samples, window_ns, number * OFFSET_NS, spans)
    return first


def test_every_time_of_a_later_window_is_one_of_the_run(made_queue):
    queue = extended(made_queue([30, 40]), made_queue([50, 60], late_ms=10, window_ms=(50, 100)))
    later = queue.samples[2:]
    assert later["scheduled_ns"].tolist() == [OFFSET_NS, OFFSET_NS + 50 * MS]
    assert later["submitted_ns"].tolist() == [OFFSET_NS + 10 * MS, OFFSET_NS + 60 * MS]
    assert later["launched_ns"].tolist() == [OFFSET_NS + 10 * MS, OFFSET_NS + 60 * MS]
    assert later["completed_ns"].tolist() == [OFFSET_NS + 50 * MS, OFFSET_NS + 110 * MS]
    assert queue.windows_ns == [(0, 100 * MS), (OFFSET_NS + 50 * MS, OFFSET_NS + 100 * MS)]
    # Without the request before the second window, which is one of its warm-up.
    assert queue.latency_ns.tolist() == [30 * MS, 40 * MS, 60 * MS]
    assert queue.seconds == 0.15
    assert queue.longest_wait.value == 10 * MS


def test_what_never_happened_in_a_later_window_has_no_time(made_queue):
    queue = extended(made_queue([1, 1]), made_queue([None, 1]))
    assert queue.samples["completed_ns"].tolist() == [
        *(1 * MS, 51 * MS),
        *(-1, OFFSET_NS + 51 * MS),
    ]
    assert (queue.n, queue.censored, queue.unfinished) == (4, 1, 1)


def test_the_samples_of_the_window_itself_are_left_alone(made_queue):
    later = made_queue([1, 1])
    extended(made_queue([1, 1]), later)
    assert later.samples["scheduled_ns"].tolist() == [0, 50 * MS]


def test_commands_of_all_windows_are_counted(made_queue):
    counts = {"submitted": 7, "launched": 6, "completed": 5, "failed": 1}
    requests = {"requests_submitted": 4, "requests_completed": 3, "suspended": 2}
    first = made_queue([1] * 4, **counts, **requests, most_in_flight=8, longest_stall_ns=7)
    later = made_queue([1] * 4, **counts, **requests, most_in_flight=3, state="suspended")
    found = extended(first, later, later).counts
    for name, count in {**counts, **requests}.items():
        assert getattr(found, name) == 3 * count
    assert found.most_in_flight == 8
    assert found.longest_stall_ns == 7
    assert found.state == "suspended"


@pytest.mark.parametrize("order", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_one_saturated_window_is_a_saturated_run(made_queue, order):
    kinds = [[100 + i * 50 for i in range(200)], [1] * 200]
    queue = extended(*(made_queue(kinds[kind]) for kind in order))
    assert queue.saturated
    assert not extended(*(made_queue([1] * 200) for _ in order)).saturated


def test_noisy_spans_of_all_windows_are_kept(made_queue):
    spans = [((OFFSET_NS, OFFSET_NS + S),), ((2 * OFFSET_NS, 2 * OFFSET_NS + S),)]
    first = made_queue([1] * 40)
    first.noisy_ns, first.masks = ((0, S),), True
    queue = extended(first, made_queue([1] * 40), made_queue([1] * 40), noisy_ns=spans)
    assert queue.noisy_ns == ((0, S), *spans[0], *spans[1])
    assert (queue.n, queue.masked) == (60, 60)
    assert len(queue.latency_ns) == 60


def test_what_a_closed_loop_left_out_is_counted_anew(made_queue):
    first = made_queue([10] * 20, period_ms=1000, closed=True)
    assert first.omitted == 0
    queue = extended(first, made_queue([*[10] * 20, 500], period_ms=1000, closed=True))
    assert queue.omitted == 49
    assert len(queue.client_latency_ns) == len(queue.noisy) == 41 + 49
