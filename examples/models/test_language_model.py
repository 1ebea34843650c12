"""The decode step of a language model next to its prefill: the time of a token has a target.

On the processor: --xsched-device=cpu --xsched-scheduler=native. On a GPU: --xsched-device=cuda.
"""

import pytest

from pytest_xsched import model

torch = pytest.importorskip("torch")


class Block(torch.nn.Module):
    """Attention over a cache that is allocated once, and two linear layers."""

    def __init__(self, width, heads, length):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
        self.first, self.second = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.heads = heads
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, heads, length, width // heads))

    def forward(self, x, begin, mask):
        _, tokens, width = x.shape
        split = self.qkv(self.first(x)).view(1, tokens, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        self.keys[:, :, begin : begin + tokens] = k
        self.values[:, :, begin : begin + tokens] = v
        attention = torch.nn.functional.scaled_dot_product_attention
        seen = attention(q, self.keys, self.values, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(1, tokens, width))
        return x + self.down(torch.nn.functional.gelu(self.up(self.second(x))))


def language_model(blocks, width, length, begin, tokens):
    """Build a request for the tokens from `begin` on: one is a decode step, many are a prefill."""
    torch.set_num_threads(1)  # of the processor: each queue has a process of its own there
    net = torch.nn.ModuleList(Block(width, 8, length) for _ in range(blocks)).eval()
    words, scores = torch.nn.Embedding(1000, width), torch.nn.Linear(width, 1000)
    ids = torch.randint(0, 1000, (1, tokens))
    # A token sees those before it and itself.
    mask = torch.ones(tokens, length, dtype=torch.bool).tril(begin)
    if ids.is_cuda:
        net, words, scores = net.half(), words.half(), scores.half()

    def request():
        with torch.no_grad():
            x = words(ids)
            for block in net:
                x = block(x, begin, mask)
            last = scores(x[:, -1])
            return last, last.argmax(-1)

    return request


def test_tokens_come_in_time_next_to_a_prefill(xsched):
    size = (2, 64, 128) if xsched.device_kind == "cpu" else (16, 2048, 2048)
    length = size[-1]
    step = model(language_model, *size, begin=length - 1, tokens=1)
    prefill = model(language_model, *size, begin=0, tokens=length // 2)
    decode = xsched.queue("decode", step, priority=10, rate="20/s")
    first = xsched.queue("first", prefill, priority=1)
    run = xsched.run(decode, first, duration="20s")
    run.decode.assert_percentile_below(0.9, "100ms")
    run.first.assert_longest_wait_below("5s")
