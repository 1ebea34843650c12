"""ResNet-50 next to a stack of transformer layers, both of PyTorch, with a latency target.

On a GPU both are captured and cut into commands, so any scheduler schedules them. Without a GPU
they run eagerly, each in a process of its own: --xsched-device=cpu --xsched-scheduler=native.
"""

import pytest

from pytest_xsched import model

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


def resnet(name, size, batch=1):
    """Build the model and its input on the device of the run, which is PyTorch's default here."""
    net = torchvision.models.get_model(name).eval()
    x = torch.randn(batch, 3, size, size)
    if x.is_cuda:
        net = net.half().to(memory_format=torch.channels_last)
        x = x.half().to(memory_format=torch.channels_last)

    def request():
        with torch.no_grad():
            return net(x)

    return request


def transformer(layers, width, batch, tokens):
    layer = torch.nn.TransformerEncoderLayer(width, 16, 4 * width, batch_first=True)
    net = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    x = torch.randn(batch, tokens, width)
    if x.is_cuda:
        net, x = net.half(), x.half()

    def request():
        with torch.no_grad():
            return net(x)

    return request


def test_resnet_is_fast_next_to_a_transformer(xsched):
    on_gpu = xsched.device_kind != "cpu"
    net = model(resnet, *(("resnet50", 224) if on_gpu else ("resnet18", 32)))
    other = model(transformer, *((12, 2048, 16, 512) if on_gpu else (1, 64, 1, 16)))
    high = xsched.queue("high", net, priority=10, rate="50/s" if on_gpu else "2/s")
    low = xsched.queue("low", other, priority=1)
    run = xsched.run(high, low, duration="10s", check=on_gpu)
    run.high.assert_no_errors()
    if on_gpu:  # times of the processor say nothing about it
        run.high.assert_p99_below("5ms")
        run.low.assert_throughput_at_least("1/s")
