"""Calls on live queues in their process, in which threads of the other one may overlap."""

import pytest

from pytest_xsched.errors import XSchedError
from pytest_xsched.workers.live_worker import LiveCalls


@pytest.mark.parametrize(
    ("call", "values"),
    [
        ("submit", {"commands": []}),
        ("submit_times", {"commands": [], "times": 2}),
        ("start_load", {"commands": [], "most": 1, "every_ns": 0}),
        ("stop_load", {}),
        ("wait", {"ticket": 0, "timeout_ns": 0}),
        ("suspend", {}),
        ("resume", {}),
        ("set_priority", {"priority": 1}),
        ("set_depth", {"threshold": 1, "batch_size": 1}),
        ("counts", {}),
        ("destroy", {}),
    ],
)
def test_a_call_on_a_queue_that_another_thread_destroyed_is_one_sentence(call, values):
    """Any other error would end the process, and with it all queues."""
    calls = LiveCalls(None, "hpf", xsched=None)
    with pytest.raises(XSchedError, match=r"^the queue was destroyed$"):
        getattr(calls, call)(0, **values)
