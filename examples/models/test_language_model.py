"""Answers of a language model next to those of another user: each token of them has a target.

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

    def forward(self, x, positions, mask):
        _, tokens, width = x.shape
        split = self.qkv(self.first(x)).view(1, tokens, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        self.keys.index_copy_(2, positions, k)
        self.values.index_copy_(2, positions, v)
        attention = torch.nn.functional.scaled_dot_product_attention
        seen = attention(q, self.keys, self.values, attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(1, tokens, width))
        return x + self.down(torch.nn.functional.gelu(self.up(self.second(x))))


def language_model(blocks, width, length, prompt):
    """Build the two functions of a request: reading a prompt, and making one more token."""
    torch.set_num_threads(1)  # of the processor: each queue has a process of its own there
    torch.manual_seed(0)
    net = torch.nn.ModuleList(Block(width, 8, length) for _ in range(blocks)).eval()
    words, scores = torch.nn.Embedding(1000, width), torch.nn.Linear(width, 1000)
    places = torch.arange(length)
    question = torch.randint(0, 1000, (1, prompt))
    # A step finds here what the one before it left.
    token, position = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    if token.is_cuda:
        net, words, scores = net.half(), words.half(), scores.half()

    def read(ids, positions):
        x = words(ids)
        mask = places <= positions[:, None]  # a token sees those before it and itself
        for block in net:
            x = block(x, positions, mask)
        last = scores(x[:, -1:])
        token.copy_(last.argmax(-1))
        return last

    @torch.no_grad()
    def prefill():
        position.fill_(prompt)
        return read(question, places[:prompt])

    @torch.no_grad()
    def decode():
        last = read(token, position)
        position.add_(1)
        return last

    return prefill, decode


def test_tokens_come_in_time_next_to_another_user(xsched):
    size = (2, 64, 128) if xsched.device_kind == "cpu" else (16, 2048, 2048)
    answer = model(language_model, *size, prompt=size[-1] // 2, steps=16)
    chat = xsched.queue("chat", answer, priority=10, rate="10/s")
    batch = xsched.queue("batch", answer, priority=1)
    run = xsched.run(chat, batch, duration="20s")
    run.chat.first_token.assert_percentile_below(0.9, "200ms")
    run.chat.per_token.assert_percentile_below(0.9, "30ms")
    run.batch.assert_longest_wait_below("5s")
