"""Ways of waiting change nothing but time; multiprocessors are a GPU's to give."""

import pytest

from pytest_xsched import ScenarioError, Session, matmul, spin
from pytest_xsched.base.constants import WAITING
from pytest_xsched.session.settings import Settings


@pytest.mark.parametrize("waiting", WAITING)
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_way_of_waiting_completes_everything(kind, waiting):
    session = Session(Settings(device=kind, waiting=waiting))
    run = session.run(
        session.queue("high", matmul(16), rate="100/s", priority=2),
        session.queue("low", spin("300us", layers=3), priority=1),
        duration="300ms",
        check=True,
    )
    session.close()
    assert not run.evidence.faults
    assert run.scenario.waiting == waiting
    assert run.high.n == 30
    assert all(run[name].counts.completed == run[name].counts.submitted for name in run)


@pytest.mark.parametrize("share", [{"sm_share": 0.25}, {"cu_mask": range(8)}])
@pytest.mark.parametrize("kind", ["cpu", "sim"])
def test_a_double_gives_no_multiprocessors(kind, share):
    session = Session(Settings(device=kind))
    queue = session.queue("high", spin("1ms"), **share)
    with pytest.raises(ScenarioError, match="queue 'high' asks for multiprocessors of its own"):
        session.run(queue, duration="100ms")
    session.close()


@pytest.mark.parametrize("scheduler", ["priority", "builtin"])
def test_a_gpu_gives_a_queue_multiprocessors_of_its_own(scheduler):
    session = Session(Settings(device="cuda"))
    run = session.run(
        session.queue("high", matmul(64), rate="100/s", priority=2, sm_share=0.25),
        session.queue("low", matmul(512, layers=3), priority=1),
        duration="300ms",
        scheduler=scheduler,
        check=True,
    )
    session.close()
    assert not run.evidence.faults
    assert run.evidence.priority_effect in ("yes", "no", "unknown")
    assert run.high.counts.completed == run.high.counts.submitted
