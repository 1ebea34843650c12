"""The decode step of a language model next to a training step, both of PyTorch.

A request is one decode step with a static cache, so its latency is the time of a token. The
training changes its model with each request, and so its results cannot be compared.
"""

import pytest

from pytest_xsched import model

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


class Layer(torch.nn.Module):
    def __init__(self, width, heads, length):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
        self.first, self.second = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, heads, length, width // heads))

    def forward(self, x, at):
        batch, tokens, width = x.shape
        split = self.qkv(self.first(x)).view(batch, tokens, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        self.keys[:, :, at : at + 1] = k
        self.values[:, :, at : at + 1] = v
        seen = torch.nn.functional.scaled_dot_product_attention(q, self.keys, self.values)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(torch.nn.functional.gelu(self.up(self.second(x))))


def decode(layers, width, length):
    net = torch.nn.ModuleList(Layer(width, 16, length) for _ in range(layers)).eval()
    token = torch.randn(1, 1, width)
    if token.is_cuda:
        net, token = net.half(), token.half()

    def request():
        x = token
        with torch.no_grad():
            for layer in net:
                x = layer(x, length // 2)
        return x

    return request


def training(batch, size):
    net = torchvision.models.resnet18()
    images = torch.randn(batch, 3, size, size)
    labels = torch.randint(0, 1000, (batch,))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def request():
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return request


def test_tokens_come_in_time_next_to_a_training(xsched):
    on_gpu = xsched.device_kind != "cpu"
    step = model(decode, *((16, 2048, 1024) if on_gpu else (1, 64, 16)))
    train = model(training, *((64, 224) if on_gpu else (4, 32)), tolerance=None)
    high = xsched.queue("high", step, priority=10, rate="100/s" if on_gpu else "2/s")
    low = xsched.queue("low", train, priority=1)
    run = xsched.run(high, low, duration="10s")
    run.high.assert_no_errors()
    if on_gpu:  # times of the processor say nothing about it
        run.high.assert_p99_below("5ms")
        run.low.assert_throughput_at_least("1/s")
