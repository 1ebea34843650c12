"""What random steps find, with the fewest steps, where a scheduler in virtual time is made bad."""

from hypothesis import settings

from pytest_xsched import CpuModel, SimModel, WorkerHung
from pytest_xsched._binding import Device
from pytest_xsched.findings import all_broken, first_broken
from pytest_xsched.live import Here, XQueues

MANY = settings(max_examples=100, stateful_step_count=20)


def hangs(queue):
    if queue.counts().submitted:
        raise WorkerHung("XSched did not return from destroying it within 5 s")


class Bad:
    """A queue of a run that does one thing otherwise."""

    def __init__(self, queue, vice):
        self._queue = queue
        self._vice = vice

    def __getattr__(self, name):
        if name == self._vice:
            return {"destroy": lambda: hangs(self._queue), "resume": lambda: None}[name]
        return getattr(self._queue, name)


class BadPlace(Here):
    def __init__(self, device, vice):
        super().__init__(device, "hpf")
        self.vice = vice

    def open_run(self):
        run = super().open_run()
        add = run.add_manual
        run.add_manual = lambda settings: Bad(add(settings), self.vice)
        return run


def make(vice):
    return lambda: XQueues(BadPlace(Device("sim", cpu=CpuModel(), sim=SimModel()), vice))


def test_nothing_is_found_in_what_is_good():
    assert first_broken(make(""), settings(max_examples=10, stateful_step_count=20)) is None
    assert all_broken(make(""), settings(max_examples=10, stateful_step_count=20)) == []


def test_a_queue_that_is_never_resumed():
    found = first_broken(make("resume"), MANY, without={"highest runs"})
    assert found.rule == "wait returns"
    assert str(found).splitlines() == [
        "wait returns: queue 'xq0': request 0 did not complete within 10 s; the queue is "
        "suspended, 0 of 1 commands completed",
        "q0 = xqueues(priority=0, threshold=4, batch_size=2)",
        *found.steps[1:],
    ]
    assert sorted(found.steps[1:]) == sorted(
        ["q0.suspend()", 'q0.submit(spin("1ms"))', "q0.resume()", "q0.wait()"]
    )
    assert found.reproduced


def test_a_call_that_hangs_in_some_state():
    found = first_broken(make("destroy"), MANY)
    assert found.rule == "destroy returns"
    assert list(found.steps) == [
        "q0 = xqueues(priority=0, threshold=4, batch_size=2)",
        'q0.submit(spin("1ms"))',
        "q0.destroy()",
    ]
