"""A small model of PyTorch next to a larger one: on the processor, and unchanged on a GPU.

On the processor: --xsched-device=cpu --xsched-scheduler=native. On a GPU: --xsched-device=cuda.
"""

import pytest

from pytest_xsched import model

torch = pytest.importorskip("torch")


def layers(count, width, batch):
    """Build a model and its input. PyTorch's default device is that of the run meanwhile."""
    torch.set_num_threads(1)  # of the processor: each queue has a process of its own there
    net = torch.nn.Sequential()
    for _ in range(count):
        net.extend([torch.nn.Linear(width, width), torch.nn.GELU()])
    net, x = net.eval(), torch.randn(batch, width)
    if x.is_cuda:
        net, x = net.half(), x.half()

    def request():
        with torch.no_grad():
            return net(x)

    return request


@pytest.fixture(scope="module")
def queues(xsched):
    large = (8, 256, 16) if xsched.device_kind == "cpu" else (16, 4096, 4096)
    high = xsched.queue("high", model(layers, 64, 256, 1), priority=10, rate="20/s")
    low = xsched.queue("low", model(layers, *large), priority=1)
    return high, low


@pytest.fixture(scope="module")
def run(xsched, queues):
    return xsched.run(*queues, duration="60s")


def test_high_is_fast(run):
    run.high.assert_percentile_below(0.9, "100ms")


def test_high_keeps_up(run):
    run.high.assert_throughput_at_least("20/s", tolerance="5%")


def test_low_is_not_starved(run):
    run.low.assert_throughput_at_least("1/s")


def test_the_scheduler_is_the_reason(xsched, queues):
    if xsched.device_kind == "cpu":
        pytest.skip("on the processor a model has no scheduler to compare")
    schedulers = ["native", "priority", "builtin"]
    comparison = xsched.compare(*queues, schedulers=schedulers, duration="3s")
    comparison.high.assert_percentile_improved(0.5, by=1.5, scheduler="builtin")
