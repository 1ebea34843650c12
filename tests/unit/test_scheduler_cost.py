"""What threads of a scheduler used, from the kernel's counters."""

import ctypes

import pytest

from pytest_xsched import Duration
from pytest_xsched.system.heap import heap_bytes
from pytest_xsched.system.scheduler_cost import QUEUES, SCHEDULER, SchedulerCost, read_cost


def thread(proc, number, name, cpu_ns, wakeups, preemptions):
    task = proc / "task" / str(number)
    task.mkdir(parents=True)
    (task / "comm").write_text(f"{name}\n")
    (task / "schedstat").write_text(f"{cpu_ns} 77 5\n")
    (task / "status").write_text(
        f"Name:\t{name}\nvoluntary_ctxt_switches:\t{wakeups}\n"
        f"nonvoluntary_ctxt_switches:\t{preemptions}\n"
    )


def test_only_threads_with_the_name_count(tmp_path):
    thread(tmp_path, 1, "python", 10**9, 1000, 100)
    thread(tmp_path, 2, SCHEDULER, 3_000, 4, 1)
    thread(tmp_path, 3, SCHEDULER, 5_000, 6, 2)
    thread(tmp_path, 4, QUEUES, 70_000, 80, 9)
    found = read_cost(SCHEDULER, tmp_path)
    assert (found.threads, found.processor_time, found.wakeups, found.preemptions) == (
        *(2, Duration(8_000), 10, 3),
    )
    assert read_cost(QUEUES, tmp_path).wakeups == 80
    assert SchedulerCost.from_rows(found.rows()) == found


@pytest.mark.parametrize("file", ["comm", "schedstat", "status"])
def test_a_thread_that_ends_meanwhile_is_left_out(tmp_path, file):
    thread(tmp_path, 2, SCHEDULER, 3_000, 4, 1)
    thread(tmp_path, 3, SCHEDULER, 5_000, 6, 2)
    (tmp_path / "task" / "2" / file).unlink()
    assert read_cost(SCHEDULER, tmp_path).by_thread == {3: (5_000, 6, 2)}


def test_without_proc_there_are_no_threads(tmp_path):
    assert read_cost(SCHEDULER, tmp_path) == SchedulerCost()


def test_a_difference_has_all_of_a_new_thread_and_nothing_of_one_that_ended():
    earlier = SchedulerCost({1: (100, 10, 1), 2: (1000, 50, 5)})
    later = SchedulerCost({1: (150, 12, 1), 3: (7, 1, 0)})
    used = later - earlier
    assert used.by_thread == {1: (50, 2, 0), 3: (7, 1, 0)}
    assert (used.processor_time.ns, used.wakeups) == (57, 3)


def test_memory_of_malloc_is_counted_to_the_byte():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    before = heap_bytes()
    if before is None:
        pytest.skip("the C library does not count its memory")
    blocks = [libc.malloc(1000) for _ in range(1000)]
    between = heap_bytes()
    for block in blocks:
        libc.free(block)
    assert 1_000_000 <= between - before < 1_200_000
    assert abs(heap_bytes() - before) < 200_000
