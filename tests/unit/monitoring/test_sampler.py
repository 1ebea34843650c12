"""What is read of the machine, from made-up files: where it counts, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.monitoring.sampler import Sampler, cpu_stats, run_delay_ns, throttled

MS = 10**6
S = 10**9


class MadeUpQueue:
    def __init__(self, thread):
        self.thread = thread

    def thread_id(self):
        return self.thread


@pytest.fixture
def machine(tmp_path):
    """A made-up /proc/self and tree of control groups."""

    class Machine:
        proc = tmp_path / "proc"
        cgroup = tmp_path / "cgroup"

        def delay(self, thread, ns):
            task = self.proc / "task" / str(thread)
            task.mkdir(parents=True, exist_ok=True)
            (task / "schedstat").write_text(f"123456 {ns} 42\n")

        def group(self, lines):
            self.proc.mkdir(exist_ok=True)
            (self.proc / "cgroup").write_text(lines)

        def stat(self, path, periods):
            group = self.cgroup / path
            group.mkdir(parents=True, exist_ok=True)
            limited = "" if periods is None else f"nr_periods 9\nnr_throttled {periods}\n"
            (group / "cpu.stat").write_text(f"usage_usec 5\n{limited}")

    return Machine()


@pytest.fixture
def sampler(machine):
    """Looks at two threads in a window of 400 ms, in blocks of 100, behind 50 ms of warm-up."""
    machine.group("0::/a\n")
    machine.stat("a", 3)
    for thread in (7, 8):
        machine.delay(thread, 1000 * MS)
    return Sampler(
        [MadeUpQueue(7), MadeUpQueue(8)],
        on_host=False,
        warmup_ns=50 * MS,
        duration_ns=400 * MS,
        proc=machine.proc,
        cgroup=machine.cgroup,
    )


def test_what_came_between_two_looks_counts_in_all_blocks_of_that_time(sampler, machine):
    sampler.poll(0)
    machine.delay(7, 1001 * MS)  # in the warm-up, and perhaps in the first block
    sampler.poll(100 * MS)
    machine.delay(8, 1002 * MS)
    sampler.poll(200 * MS)  # from 50 to 150 ms of the window
    machine.delay(7, 1004 * MS)
    machine.stat("a", 5)
    sampler.poll(360 * MS)  # from 150 to 310
    assert sampler.readings() == Readings(
        block_ns=100 * MS,
        on_host=False,
        run_delay_ns=(2 * MS, 3 * MS, 3 * MS, 3 * MS),
        throttled=(0, 2, 2, 2),
    )


def test_before_the_window_nothing_counts_and_the_last_look_is_always_made(sampler, machine):
    sampler.poll(0)
    machine.delay(7, 1030 * MS)
    sampler.poll(49 * MS)  # too soon for a look
    sampler.poll(50 * MS, last=True)
    machine.delay(7, 1031 * MS)
    sampler.poll(460 * MS, last=True)
    assert sampler.readings().run_delay_ns == (MS,) * 4


def test_the_worst_thread_counts_and_no_block_has_more_than_its_length(sampler, machine):
    sampler.poll(0)
    machine.delay(7, 1900 * MS)
    machine.delay(8, 1040 * MS)
    sampler.poll(150 * MS)
    machine.delay(8, 1050 * MS)
    sampler.poll(250 * MS)
    assert sampler.readings().run_delay_ns == (100 * MS, 10 * MS, 0, 0)


def test_a_thread_that_has_not_begun_counts_from_when_it_has(sampler, machine):
    late = MadeUpQueue(0)
    sampler._queues = [late]
    sampler.poll(0)
    assert sampler.readings().run_delay_ns == ()
    late.thread = 8
    sampler.poll(100 * MS)
    machine.delay(8, 1004 * MS)
    sampler.poll(200 * MS)
    assert sampler.readings().run_delay_ns == (4 * MS, 4 * MS, 0, 0)


def test_what_cannot_be_read_is_left_out(tmp_path):
    nothing = Sampler(
        [MadeUpQueue(7)],
        on_host=True,
        warmup_ns=0,
        duration_ns=S,
        proc=tmp_path,
        cgroup=tmp_path,
    )
    for now in (0, 100 * MS, 200 * MS):
        nothing.poll(now)
    assert nothing.readings() == Readings(block_ns=100 * MS, on_host=True)
    assert run_delay_ns(tmp_path, 7) is None
    (tmp_path / "task" / "7").mkdir(parents=True)
    for text in ("", "0\n", "a b c\n"):
        (tmp_path / "task" / "7" / "schedstat").write_text(text)
        assert run_delay_ns(tmp_path, 7) is None


@pytest.mark.parametrize(
    ("lines", "stats", "found"),
    [
        ("0::/a/b\n", {"a/b": 2, "a": 3, "": None}, ["a/b", "a"]),
        ("0::/\n", {"": 4}, [""]),
        ("0::/a\n", {"a": None}, []),
        ("0::/gone\n", {"": 1}, [""]),
        ("4:memory:/a\n1:cpu,cpuacct:/a\n", {"cpu,cpuacct/a": 6}, ["cpu,cpuacct/a"]),
        ("4:memory:/a\n3:cpuset:/a\n", {"memory/a": 6, "cpuset/a": 6}, []),
    ],
)
def test_control_groups_of_both_versions(machine, lines, stats, found):
    machine.group(lines)
    for path, periods in stats.items():
        machine.stat(path, periods)
    files = cpu_stats(machine.proc, machine.cgroup)
    assert files == [machine.cgroup / path / "cpu.stat" for path in found]
    total = sum(stats[path] for path in found)
    assert throttled(files) == (total if found else None)


def test_of_this_process_something_can_be_read():
    """On Linux with scheduler statistics; elsewhere None is right."""
    proc = Path("/proc/self")
    thread = next((proc / "task").iterdir()).name
    if not (proc / "task" / thread / "schedstat").exists():
        pytest.skip("this kernel has no scheduler statistics")
    assert run_delay_ns(proc, int(thread)) >= 0
