"""How quiet it was, from numbers written by hand: which blocks are noisy, what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.analysis.evidence import gather
from pytest_xsched.errors import InvalidRun
from pytest_xsched.monitoring.noise import (
    GpuReadings,
    Noise,
    Readings,
    Rules,
    WatchedWindow,
    block_length_ns,
    inside,
    masks,
    own_lateness,
    unite_readings,
)
from pytest_xsched.native.binding import SAMPLE

MS = 10**6
S = 10**9


def watched(
    blocks=10, *, start_ns=0, late=None, limit_ns=5 * MS, block_ns=S, on_host=False, **readings
):
    """A window of whole blocks; `late` and the readings by block, a number for all of them."""
    by_block = {
        name: tuple(values) if isinstance(values, list) else (values,) * blocks
        for name, values in readings.items()
    }
    return WatchedWindow(
        start_ns=start_ns,
        end_ns=start_ns + blocks * block_ns,
        readings=Readings(block_ns=block_ns, on_host=on_host, **by_block),
        late_ns=tuple(late or [0] * blocks),
        limit_ns=limit_ns,
    )


def one_at(index, value, blocks=10):
    return [value if i == index else 0 for i in range(blocks)]


def noise_of(*windows, masking=True):
    return Noise(masks=masking, windows=windows)


# ---- which blocks


@pytest.mark.parametrize(
    ("duration_ns", "block_ns"),
    [(60 * S, S), (20 * S, S), (15 * S, 750 * MS), (2 * S, 100 * MS), (S // 2, 100 * MS)],
)
def test_blocks_are_seconds_or_twentieths(duration_ns, block_ns):
    assert block_length_ns(duration_ns) == block_ns


@pytest.mark.parametrize(
    ("signals", "noisy"),
    [
        ({}, []),
        ({"late": one_at(4, 5 * MS)}, []),
        ({"late": one_at(4, 5 * MS + 1)}, [4, 5]),
        ({"heartbeat_ns": one_at(4, 7 * MS)}, [4, 5]),
        ({"run_delay_ns": one_at(9, 7 * MS)}, [9]),
        ({"throttled": one_at(0, 1)}, [0, 1]),
        ({"late": one_at(2, 6 * MS), "heartbeat_ns": one_at(3, 6 * MS)}, [2, 3, 4]),
        ({"late": one_at(2, 6 * MS), "heartbeat_ns": one_at(6, 6 * MS)}, [2, 3, 6, 7]),
    ],
)
def test_a_block_is_noisy_above_the_limit_and_so_is_the_next(signals, noisy):
    assert np.flatnonzero(watched(**signals).noisy()).tolist() == noisy


def test_who_gives_way_to_a_device_on_the_host_is_no_witness():
    assert watched(run_delay_ns=6 * MS).noisy().all()
    on_host = watched(run_delay_ns=6 * MS, on_host=True)
    assert not on_host.noisy().any()
    assert noise_of(on_host).seen == ""


def test_noisy_neighbours_are_one_span_on_the_time_of_the_run():
    one = watched(start_ns=3 * S, late=[0, 6 * MS, 0, 0, 6 * MS, 6 * MS, 0, 0, 0, 6 * MS])
    assert one.spans_ns() == ((4 * S, 6 * S), (7 * S, 10 * S), (12 * S, 13 * S))
    assert watched().spans_ns() == ()


def test_the_last_block_ends_with_the_window():
    one = WatchedWindow(
        start_ns=0,
        end_ns=2 * S + S // 2,
        readings=Readings(block_ns=S, on_host=False),
        late_ns=(0, 0, 9 * MS),
        limit_ns=5 * MS,
    )
    assert one.spans_ns() == ((2 * S, 2 * S + S // 2),)


def test_times_inside_of_spans():
    times = np.array([0, 4, 5, 9, 10, 19, 20, 30])
    found = inside(times, ((5, 10), (20, 30)))
    assert times[found].tolist() == [5, 9, 20]
    assert not inside(times, ()).any()


# ---- the lateness of requests


def samples(*rows):
    """Rows of scheduled, submitted and completed, in ms; None: never."""
    made = np.zeros(len(rows), SAMPLE)
    for sample, row in zip(made, rows, strict=True):
        names = ("scheduled_ns", "submitted_ns", "completed_ns")
        for name, ms in zip(names, row, strict=True):
            sample[name] = -1 if ms is None else ms * MS
    return made


def lateness_ms(*queues, start_ms=0, end_ms=400):
    late = own_lateness(queues, (start_ms * MS, end_ms * MS), 100 * MS)
    return [ns // MS for ns in late]


def test_lateness_is_of_the_block_in_which_it_was():
    assert lateness_ms(samples((10, 12, 20), (130, 133, 150), (350, 350, 360))) == [2, 3, 0, 0]
    assert lateness_ms(samples((10, 12, 20)), samples((20, 27, 30))) == [7, 0, 0, 0]


def test_who_was_late_through_several_blocks_spoils_them_all():
    assert lateness_ms(samples((90, 210, 220))) == [120, 120, 120, 0]
    assert lateness_ms(samples((390, 900, 910))) == [0, 0, 0, 510]
    # Due in the warm-up.
    assert lateness_ms(samples((80, 110, 120)), start_ms=100) == [30, 0, 0]


def test_a_queue_that_was_busy_is_no_witness():
    """Its thread may have waited in the driver, which is what is measured."""
    assert lateness_ms(samples((10, 10, 80), (50, 80, 90))) == [0, 0, 0, 0]
    assert lateness_ms(samples((10, 10, None), (50, 80, None))) == [0, 0, 0, 0]
    assert lateness_ms(samples((10, 10, 50), (50, 80, 90))) == [30, 0, 0, 0]
    assert lateness_ms(samples((10, None, None))) == [0, 0, 0, 0]
    assert lateness_ms(samples(), start_ms=100) == [0, 0, 0]


# ---- several processes, several modes


def test_of_several_processes_the_worst_counts():
    first = Readings(block_ns=S, on_host=False, heartbeat_ns=(1, 5), run_delay_ns=(3, 3))
    second = Readings(block_ns=S, on_host=False, heartbeat_ns=(4, 2), throttled=(0, 1))
    assert unite_readings([first, second]) == Readings(
        block_ns=S, on_host=False, heartbeat_ns=(4, 5), run_delay_ns=(3, 3), throttled=(0, 1)
    )
    assert unite_readings([]) is None
    assert Readings.from_dict(first.to_dict()) == first


@pytest.mark.parametrize(
    ("mode", "on_host", "masking"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("mask", True, True),
        ("note", False, False),
    ],
)
def test_masks_by_itself_only_where_the_device_is_another(mode, on_host, masking):
    assert masks(Rules(mode=mode), Readings(block_ns=S, on_host=on_host)) is masking


# ---- too much of it


def test_a_fifth_may_be_noisy():
    quiet_enough = noise_of(watched(late=one_at(3, 6 * MS)))
    assert quiet_enough.noisy_ns == 2 * S and quiet_enough.faults == ()
    (fault,) = noise_of(watched(late=one_at(3, 6 * MS), heartbeat_ns=one_at(6, 7 * MS))).faults
    assert fault == (
        "environment too noisy: 40% of the time, by a limit of 5 ms: requests up to 6 ms late, "
        "heartbeat up to 7 ms late"
    )


def test_half_of_ten_in_a_row_may_be_noisy():
    late = [0] * 40 + [6 * MS, 0, 6 * MS, 0, 0, 0, 0, 0, 0, 0] + [0] * 10
    assert noise_of(watched(60, late=late)).faults == ()
    late[44] = 6 * MS
    (fault,) = noise_of(watched(60, late=late)).faults
    assert fault.startswith("environment too noisy: 10% of the time, by a limit of 5 ms: ")


def test_a_quiet_window_makes_up_for_a_noisy_one():
    noisy = watched(late=one_at(3, 6 * MS), throttled=one_at(7, 2))
    assert noise_of(noisy).faults
    both = noise_of(noisy, watched(start_ns=20 * S))
    assert (both.noisy_ns, both.measured_ns, both.faults) == (4 * S, 20 * S, ())
    assert both.cause == "requests up to 6 ms late, throttled in 2 periods"


def test_what_is_only_noted_is_no_fault():
    noise = noise_of(watched(run_delay_ns=[50 * MS] * 10), masking=False)
    assert noise.faults == () and noise.noisy_ns == 10 * S
    assert noise.to_dict()["mode"] == "note"


def test_it_is_said_by_signal_at_worst_and_by_the_second():
    noise = noise_of(
        watched(block_ns=S // 2, late=one_at(1, MS), run_delay_ns=2 * MS, heartbeat_ns=3 * MS),
        watched(start_ns=20 * S, late=one_at(1, 2 * MS), run_delay_ns=MS, heartbeat_ns=MS),
    )
    assert noise.seen == (
        "requests up to 2 ms late, heartbeat up to 3 ms late, run delay up to 4 ms/s"
    )
    assert noise.cause == ""


# ---- GPUs


def on_gpu(**seen):
    slowdown = one_at(1, 1) if set(seen.get("reasons", ())) - {"power cap"} else [0] * 10
    readings = Readings(
        block_ns=S, on_host=False, slowdown=tuple(slowdown), gpu=GpuReadings(**seen)
    )
    return WatchedWindow(
        start_ns=0, end_ns=10 * S, readings=readings, late_ns=(0,) * 10, limit_ns=5 * MS
    )


def test_a_clock_that_is_held_down_is_noise_and_a_power_cap_is_none():
    hot = noise_of(on_gpu(clock_mhz=(900, 1980), reasons=("power cap", "thermal slowdown")))
    assert hot.noisy_ns == 2 * S
    assert hot.cause == "GPU held down by thermal slowdown"
    assert hot.to_dict()["gpu"]["said"] == "900 to 1980 MHz, power cap, thermal slowdown"
    assert noise_of(on_gpu(reasons=("power cap",))).noisy_ns == 0


def test_a_stranger_on_the_gpu_is_a_fault_at_once():
    shared = on_gpu(strangers=("process 750 (python3)",))
    assert noise_of(shared).faults == (
        "environment too noisy: process 750 (python3) computed on the GPU, too",
    )
    assert noise_of(shared, masking=False).faults == ()


# ---- a run without those seconds


@pytest.fixture
def run(made_queue, made_run):
    """100 requests in 5 s, of which 20 came in the noisy seconds 1 and 4: all slow ones."""

    def make(*, masking, latencies=None):
        if latencies is None:
            latencies = [50 if i % 10 == 0 and i // 20 in (1, 4) else 1 for i in range(100)]
        queue = made_queue(latencies)
        queue.noisy_ns, queue.masks = ((1 * S, 2 * S), (4 * S, 5 * S)), masking
        queue.latency_ns = queue._span("scheduled_ns")
        return made_run(queue)

    return make


def test_masked_requests_have_no_part_in_latencies(run):
    queue = run(masking=True).high
    assert (queue.n, queue.masked, len(queue.arrived), len(queue.latency_ns)) == (60, 40, 100, 60)
    assert queue.max.value == 1 * MS
    assert queue.attainment(2 * MS) == 1
    assert not queue.noisy.any()
    assert queue.to_dict()["n"] == 60 and queue.to_dict()["masked"] == 40


def test_where_all_are_masked(run):
    queue = run(masking=True).high
    queue.noisy_ns = ((0, 5 * S),)
    queue.latency_ns = queue._span("scheduled_ns")
    assert (queue.n, queue.masked) == (0, 100)
    with pytest.raises(InvalidRun, match=r"^high has no request outside of masked seconds$"):
        _ = queue.p50


def test_noted_ones_have(run):
    queue = run(masking=False).high
    assert (queue.n, queue.masked) == (100, 0)
    assert queue.max.value == 50 * MS
    assert np.count_nonzero(queue.noisy) == 40


def test_rates_and_errors_are_of_the_whole_window(run):
    queue = run(masking=True).high
    assert queue.throughput.value == queue.offered.value == 20
    assert queue.requests_in(S) == 20
    queue.assert_throughput_at_least("20/s")
    queue.assert_goodput_at_least("2ms", "20/s")  # of those that count, all; so of all
    lost = run(masking=True, latencies=[None if i == 25 else 1 for i in range(100)])
    assert (lost.high.censored, lost.high.unfinished) == (0, 1)
    assert lost.high.throughput.value == pytest.approx(99 / 5)
    with pytest.raises(AssertionError, match="errors 1 is not exactly 0"):
        lost.high.assert_no_errors()


def test_too_few_that_count_are_said_to_be_masked(run):
    with pytest.raises(
        InvalidRun, match=r"at least 299 requests, high has 60 without 40 in masked"
    ):
        assert run(masking=True).high.p99 < "1s"


def test_a_noisy_environment_is_no_verdict(made_queue):
    noise = noise_of(watched(late=[6 * MS] * 10))
    evidence = gather((made_queue([1] * 300),), (), checked=False, noise=noise)
    assert evidence.faults == noise.faults and len(noise.faults) == 1
    plain = evidence.to_dict()["noise"]
    assert (plain["mode"], plain["noisy_ns"]) == ("mask", 10 * S)
    assert plain["windows"][0]["late_ns"] == [6 * MS] * 10
    assert plain["windows"][0]["noisy"] == [True] * 10


@pytest.mark.parametrize(
    ("slow", "noisy_ns", "said"),
    [
        (
            (1, 4),
            ((1, 2), (4, 5)),
            "20 misses in 2 groups, 3 allowed, 20 of them in noisy seconds)",
        ),
        ((1, 4), ((4, 6),), "20 misses in 2 groups, 3 allowed, 10 of them in noisy seconds)"),
        ((1, 4), (), "20 misses in 2 groups, 3 allowed)"),
        ((1, 4), ((0, 16),), "20 misses in 2 groups, 3 allowed)"),  # all are: says nothing
    ],
)
def test_a_failure_says_which_misses_were_in_noisy_seconds(
    made_queue, made_run, slow, noisy_ns, said
):
    latencies = [50 if i % 2 == 0 and i // 20 in slow else 1 for i in range(320)]
    queue = made_queue(latencies)
    queue.noisy_ns = tuple((begin * S, end * S) for begin, end in noisy_ns)
    run = made_run(queue)
    with pytest.raises(AssertionError) as error:
        run.high.assert_attainment_at_least("10ms", "99%")
    assert said in str(error.value)


def test_exactly_half_of_ten_in_a_row_may_be_noisy_and_exactly_a_fifth_of_all():
    """Four late blocks are five noisy ones, since the next one counts, too."""
    late = [0] * 20 + [6 * MS] * 4 + [0] * 16
    assert noise_of(watched(40, late=late)).faults == ()
    late[24] = 6 * MS
    assert noise_of(watched(40, late=late)).faults
    assert noise_of(watched(25, late=[6 * MS] * 4 + [0] * 21)).faults == ()
    assert noise_of(watched(24, late=[6 * MS] * 4 + [0] * 20)).faults
