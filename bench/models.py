"""The models of `gpu_models.py` and `record_profiles.py`: factories for `model(...)`, for PyTorch.

Each builds a model with random weights and returns a callable that does one request.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import nn

WIDTH, HEADS = 2048, 16


def resnet50() -> Callable[[], torch.Tensor]:
    """Inference of torchvision's ResNet-50: fp16, batch 1, channels last."""
    net = torchvision.models.resnet50().eval().half().cuda().to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 224, 224, device="cuda", dtype=torch.half)
    image = image.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def request() -> torch.Tensor:
        return net(image)

    return request


def transformer(layers: int = 12) -> Callable[[], torch.Tensor]:
    """Inference of a stack of encoder layers on 16 texts of 512 tokens, fp16."""
    stack = nn.Sequential(
        *(
            nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, batch_first=True, norm_first=True, activation="gelu"
            )
            for _ in range(layers)
        )
    )
    stack = stack.eval().half().cuda()
    tokens = torch.randn(16, 512, WIDTH, device="cuda", dtype=torch.half)

    @torch.inference_mode()
    def request() -> torch.Tensor:
        return stack(tokens)

    return request


def products(count: int = 10, n: int = 8192) -> Callable[[], torch.Tensor]:
    """A chain of fp16 products of two n x n matrices: the longest kernels that libraries have."""
    factor = torch.randn(n, n, device="cuda", dtype=torch.half) / n**0.5

    @torch.inference_mode()
    def request() -> torch.Tensor:
        result = factor
        for _ in range(count):
            result = factor @ result
        return result

    return request


class DecoderLayer(nn.Module):
    """A layer of a language model with a static cache of keys and values."""

    def __init__(self, cached: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("keys", torch.randn(1, HEADS, cached, WIDTH // HEADS))
        self.register_buffer("values", torch.randn(1, HEADS, cached, WIDTH // HEADS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = self.attend(self.before(x)).view(1, 1, 3, HEADS, WIDTH // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        self.keys[:, :, :1] = key
        self.values[:, :, :1] = value
        attended = nn.functional.scaled_dot_product_attention(query, self.keys, self.values)
        x = x + self.out(attended.transpose(1, 2).reshape(1, 1, WIDTH))
        return x + self.down(nn.functional.gelu(self.up(self.after(x))))


def decode_step(layers: int = 16, cached: int = 1024) -> Callable[[], torch.Tensor]:
    """One step of decoding with a language model: one token, fp16, a static cache."""
    stack = nn.Sequential(*(DecoderLayer(cached) for _ in range(layers))).eval().half().cuda()
    token = torch.randn(1, 1, WIDTH, device="cuda", dtype=torch.half)

    @torch.inference_mode()
    def request() -> torch.Tensor:
        return stack(token)

    return request


class AnswerLayer(DecoderLayer):
    """The same for several tokens, whose places in the cache are a tensor."""

    def forward(self, x: torch.Tensor, at: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        split = self.attend(self.before(x)).view(1, x.shape[1], 3, HEADS, WIDTH // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        self.keys.index_copy_(2, at, key)
        self.values.index_copy_(2, at, value)
        attend = nn.functional.scaled_dot_product_attention
        attended = attend(query, self.keys, self.values, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).reshape(1, x.shape[1], WIDTH))
        return x + self.down(nn.functional.gelu(self.up(self.after(x))))


def answer(
    layers: int = 16, cached: int = 1024, prompt: int = 512
) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Prefill and decode step of a language model, for `steps`: fp16, a static cache."""
    stack = nn.ModuleList(AnswerLayer(cached) for _ in range(layers)).eval().half().cuda()
    text = torch.randn(1, prompt, WIDTH, device="cuda", dtype=torch.half)
    places = torch.arange(cached, device="cuda")
    token = torch.zeros(1, 1, WIDTH, device="cuda", dtype=torch.half)
    position = torch.zeros(1, device="cuda", dtype=torch.long)

    def read(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        mask = places <= at[:, None]
        for layer in stack:
            x = layer(x, at, mask)
        token.copy_(nn.functional.layer_norm(x[:, -1:], (WIDTH,)))
        return token.clone()

    @torch.inference_mode()
    def prefill() -> torch.Tensor:
        position.fill_(prompt)
        return read(text, places[:prompt])

    @torch.inference_mode()
    def decode() -> torch.Tensor:
        last = read(token, position)
        position.add_(1)
        return last

    return prefill, decode


def training_step(batch: int = 64, rate: float = 1e-4) -> Callable[[], torch.Tensor]:
    """One step of training ResNet-50 with autocast and SGD; it returns the loss."""
    net = torchvision.models.resnet50().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    images = torch.randn(batch, 3, 224, 224, device="cuda")
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device="cuda")

    def request() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return request
