"""A GPU that is given something bad: one error with the reason, and the next run is a good one."""

import time

import pytest

from pytest_xsched import (
    DeviceError,
    Session,
    buffer,
    int32,
    kernel,
    matmul,
)
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.isolated import measure_in_worker

SOURCE = """
extern "C" __global__ void spoil(float *out, int how)
{
    volatile float *at = out;
    if (how == 1) /* for ever */
        while (at[0] == at[0])
            at[1] = at[0];
    if (how == 2) /* far outside of anything */
        at[(1ll << 44) + threadIdx.x] = 1.0f;
    out[0] = 1.0f;
}
"""


def spoil(how):
    return kernel(SOURCE, "spoil", grid=1, block=32, args=[buffer(64), int32(how)])


@pytest.fixture
def cuda():
    session = Session(Settings(device="cuda"))
    yield session
    session.close()


def good(session, workload=None):
    queue = session.queue("q", workload or matmul(16), rate="50/s")
    run = session.run(queue, duration="200ms")
    assert not run.evidence.faults
    return run


def test_an_illegal_address_is_one_error(cuda):
    good(cuda, spoil(0))
    with pytest.raises(DeviceError, match="ILLEGAL_ADDRESS") as caught:
        cuda.run(cuda.queue("q", spoil(2), rate="50/s"), duration="200ms")
    assert caught.value.code == 700
    good(cuda)


def test_more_memory_than_there_is_is_one_error(cuda):
    good(cuda)
    # 2^30 elements each, three times: as many queues as no device has room for.
    queues = [cuda.queue(f"q{i}", matmul(2**15)) for i in range(32)]
    with pytest.raises(DeviceError, match=r"three times 4\.3 GB, more than is free"):
        cuda.run(*queues, duration="200ms")
    good(cuda)


def test_a_kernel_that_never_ends_is_one_error(cuda):
    good(cuda)
    scenario = Scenario(
        queues=(cuda.queue("q", spoil(1), rate="50/s"),),
        duration_ns=200_000_000,
        warmup_ns=0,
        drain_ns=500_000_000,
        seed=0,
        device="cuda",
        scheduler="builtin",
        policy="hpf",
    )
    start = time.monotonic()
    with pytest.raises(
        DeviceError, match=r"did not complete within 1\d s after the end of the run"
    ):
        measure_in_worker(scenario)
    assert time.monotonic() - start < 60
    good(cuda)
