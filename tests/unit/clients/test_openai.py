"""Requests to a real server that speaks OpenAI's API, or KServe's; and clients of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from pytest_xsched import kserve, openai_chat, openai_completions, own_client
from pytest_xsched.errors import ScenarioError

pytest.importorskip("aiohttp", reason="the extra http is not installed")

SIZES = [{"tokens_in": 3, "tokens_out": 7}, {"tokens_in": 1, "tokens_out": 2}]
TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}


def question(number, tokens_in):
    return f"question {number} of {tokens_in}"


def tensors(number):
    return [{**TENSOR, "data": [number, 0.5]}]


def bodies(server):
    return [json.loads(body) for _, _, _, body in server.requests]


@pytest.mark.parametrize("make", [openai_chat, openai_completions])
def test_each_piece_of_a_stream_is_a_token(server, send, make):
    asks = {"messages" if make is openai_chat else "prompt": "hi"}
    window = send(make(server.url, model="m", **asks), [0, 0.01])
    assert sorted(window.ended) == [0, 1]
    for number in (0, 1):
        tokens = window.milestones[number, "token"]
        assert len(tokens) == 3, "the first piece of a chat has no text"
        # A busy machine reads two pieces at once.
        assert window.begun[number] < tokens[0] <= tokens[1] <= tokens[2] <= window.ended[number]
    path = "/v1/chat/completions" if make is openai_chat else "/v1/completions"
    assert {request[1] for request in server.requests} == {path}


def test_messages_and_parameters_of_a_chat(server, send):
    shared = {"temperature": 0}
    send(openai_chat(f"{server.url}/v1", model="m", messages="hi", parameters=shared), [0])
    send(openai_chat(server.url, model="m", messages=question), [0], sizes=SIZES)
    send(openai_chat(server.url, model="m"), [0], sizes=SIZES)
    first, second, third = bodies(server)
    message = [{"role": "user", "content": "hi"}]
    assert first == {"model": "m", "stream": True, "messages": message, "temperature": 0}
    assert second["messages"] == [{"role": "user", "content": "question 0 of 3"}]
    assert second["max_tokens"] == 7
    assert third["messages"] == [{"role": "user", "content": "0 word word"}]


def test_no_two_prompts_that_are_made_for_sizes_begin_alike(server, send):
    """A server that has the begin of a prompt in its cache would not compute it."""
    send(openai_completions(server.url, model="m"), [0, 0.01, 0.02], sizes=[SIZES[0]] * 3)
    prompts = [body["prompt"].split() for body in bodies(server)]
    assert sorted(prompts) == [[str(number), "word", "word"] for number in range(3)]


def test_a_chat_without_messages_and_sizes_fails(server, send):
    window = send(openai_chat(server.url, model="m"), [0])
    assert window.failed == {0: "there are no messages, and the load has no sizes"}


def test_an_answer_in_one_piece_has_no_tokens(server, send):
    window = send(openai_chat(server.url, model="m", messages="hi", stream=False), [0])
    assert list(window.ended) == [0]
    assert not window.milestones


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("unknown", "status 404"),
        ("stops", r"the stream ended without [DONE]"),
        ("breaks", "the stream has an error: out of memory"),
    ],
)
def test_a_stream_that_breaks_is_a_failure(server, send, model, reason):
    assert send(openai_chat(server.url, model=model, messages="hi"), [0]).failed == {0: reason}


def test_kserve_over_http(server, send):
    assert list(send(kserve(server.url, model="net", inputs=[TENSOR]), [0]).ended) == [0]
    second = kserve(server.url, model="net", version="2", inputs=tensors, in_flight=1)  # in order
    assert list(send(second, [0, 0]).ended)
    paths = [request[1] for request in server.requests]
    assert paths == ["/v2/models/net/infer", *(["/v2/models/net/versions/2/infer"] * 2)]
    assert bodies(server)[0] == {"inputs": [TENSOR]}
    assert [body["inputs"][0]["data"] for body in bodies(server)[1:]] == [[0, 0.5], [1, 0.5]]
    failed = send(kserve(server.url, model="unknown", inputs=[TENSOR]), [0]).failed
    assert failed == {0: "status 400: unknown model"}


async def waits(number):
    await asyncio.sleep(0.05)


async def sized(number, tokens_out):
    if (number, tokens_out) not in ((0, 7), (1, 2)):
        raise ValueError(f"{number} has {tokens_out}")


async def raises(number):
    raise ValueError(f"no answer to {number}")


async def loses_its_connection(number):
    raise ConnectionResetError


@contextlib.asynccontextmanager
async def connected():
    connection = []

    async def ask(number):
        connection.append(number)
        if connection != list(range(number + 1)):
            raise ValueError(connection)

    yield ask


@contextlib.asynccontextmanager
async def all_four():
    begun, are_all = set(), asyncio.Event()

    async def ask(number):
        begun.add(number)
        if len(begun) == 4:
            are_all.set()
        await are_all.wait()

    yield ask


def not_async(number=0):
    return 1


def test_an_own_client_has_many_requests_in_flight(send):
    window = send(own_client(all_four), [0, 0.01, 0.02, 0.03])
    assert sorted(window.ended) == [0, 1, 2, 3]
    assert max(window.begun.values()) < min(window.ended.values())


def test_an_own_client_gets_the_sizes_that_it_has_parameters_for(send):
    assert not send(own_client(sized), [0, 0.01], sizes=SIZES).failed


def test_an_own_client_may_open_a_connection_once(send):
    assert not send(own_client(connected), [0, 0.01, 0.02]).failed


async def skips(number):
    pytest.skip("no data")


def test_an_own_client_that_skips_has_failed(send):
    window = send(own_client(skips), [0, 0.01])
    assert set(window.failed) == {0, 1}
    assert window.failed[1].startswith("Skipped: no data (test_openai.py:")


def test_an_own_client_that_raises_has_failed(send):
    window = send(own_client(raises), [0, 0.01])
    assert window.failed[1].startswith("ValueError: no answer to 1 (test_openai.py:")
    assert send(own_client(loses_its_connection), [0]).failed == {0: "connection reset"}


def test_an_own_client_is_a_coroutine_function(send):
    with pytest.raises(ScenarioError, match=r"own_client\(not_async\): it returned 1; write an"):
        send(own_client(not_async), [0])


def test_the_time_out_holds_for_an_own_client(send):
    window = send(own_client(waits, timeout="10ms"), [0])
    assert window.failed == {0: "no whole answer within 0.01 s"}
