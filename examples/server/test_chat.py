"""A chat server of your own, which a run starts and ends, and targets for its tokens.

A program that computes as fast as it can runs next to it. On a GPU let the server use it:
`serve.py --device cuda`, and take a model as the best-effort queue.
"""

import socket
import sys
from pathlib import Path

import pytest

from pytest_xsched import command, openai_chat, server

HERE = Path(__file__).parent
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def run(xsched):
    url = f"http://127.0.0.1:{free_port()}"
    port = url.rpartition(":")[2]
    chat = openai_chat(
        f"{url}/v1",
        model="small",
        messages="What is the capital of France?",
        parameters={"max_tokens": 8},
        server=server(
            [sys.executable, HERE / "serve.py", "--port", port],
            ready=f"{url}/health",
            env=ONE_THREAD,
        ),
    )
    batch = command([sys.executable, HERE / "batch.py"], env=ONE_THREAD)
    return xsched.run(
        xsched.queue("chat", chat, priority=10, rate="5/s"),
        xsched.queue("batch", batch, priority=1),
        duration="60s",
        scheduler="native",
    )


def test_the_first_token_comes_soon(run):
    run.chat.first_token.assert_percentile_below(0.9, "500ms")


def test_tokens_follow_quickly(run):
    run.chat.per_token.assert_percentile_below(0.9, "100ms")


def test_the_batch_goes_on(run):
    run.batch.assert_throughput_at_least("1/s")
