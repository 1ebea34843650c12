"""Endpoints as data: as Python text and as JSON, and a sentence for each wrong value."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from pytest_xsched import (
    QueueSpec,
    Scenario,
    constant,
    endpoint,
    kserve,
    openai_chat,
    openai_completions,
    own_client,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import Endpoint
from pytest_xsched.scenario.endpoints import is_here
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.workload import read_workload

HERE = "http://127.0.0.1:8000"
TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}


def body_of(number):
    return b""


async def asks(number):
    pass


WORKLOADS = [
    endpoint(HERE),
    endpoint(f"{HERE}/a?b=c", body={"a": [1]}, success=(200, 204), timeout="2s", in_flight=3),
    endpoint(f"{HERE}/a", body="text", method="PUT", headers={"Authorization": "Bearer env:T"}),
    endpoint(f"{HERE}/a", body=b"name:name", verify=False, http2=True, redirects=True),
    endpoint(f"{HERE}/a", body=body_of, success=body_of, unix_socket="/tmp/x"),
    endpoint(f"{HERE}/a", body=Path(__file__), verify=__file__),
    endpoint("http://example.invalid/", remote=True),
    openai_chat(HERE, model="m", messages="hi"),
    openai_chat(f"{HERE}/v1/", model="m", messages=body_of, stream=False),
    openai_chat(HERE, model="m", parameters={"max_tokens": 4}, headers={"X-A": "b"}),
    openai_completions(f"{HERE}/other/completions", model="m", prompt="hi"),
    kserve(HERE, model="net", inputs=[TENSOR]),
    kserve("grpc://127.0.0.1:8001", model="net", version="2", inputs=body_of),
    kserve(HERE, model="net", inputs=[TENSOR], parameters={"outputs": [{"name": "y"}]}),
    own_client(asks, timeout="1s"),
    own_client("package.module:ask", in_flight=1),
    endpoint(f"{HERE}/users/@me?at=a@b"),
]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one.label)
def test_the_python_text_and_the_json_make_it_again(workload):
    text = python_text(workload)
    names = {**globals(), "Path": Path}
    assert eval(text, names) == workload, text
    made = workload.endpoint
    assert Endpoint.from_json(made.to_json()) == made


def test_a_scenario_with_an_endpoint_goes_through_json():
    queues = ({"name": "web", "workload": WORKLOADS[1]},)
    made = Scenario(
        queues=tuple(QueueSpec(arrivals=constant("1/s"), **queue) for queue in queues),
        **{"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 0, "seed": 0},
        **{"device": "cpu", "scheduler": "native", "policy": "none"},
    )
    assert Scenario.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_json_of_earlier_versions_has_no_endpoint():
    data = {"commands": [], "label": "x", "model": None}
    data["program"] = {"argv": ["x"], "env": [], "preload": None, "reports": True}
    assert read_workload(data).endpoint is None


def test_labels_are_short():
    labels = [workload.label for workload in WORKLOADS]
    assert labels[1] == f"endpoint({HERE}/a?b=c)"
    assert labels[7] == f"openai_chat({HERE}/v1, model='m')"
    assert labels[12] == "kserve(grpc://127.0.0.1:8001, model='net')"
    assert labels[15] == "own_client(package.module:ask)"


def test_defaults():
    assert WORKLOADS[0].endpoint.method == "GET"
    assert WORKLOADS[1].endpoint.method == "POST"
    assert WORKLOADS[1].endpoint.headers == (("Content-Type", "application/json"),)
    assert WORKLOADS[2].endpoint.headers == (("Authorization", "Bearer env:T"),)
    assert WORKLOADS[7].endpoint.url == f"{HERE}/v1/chat/completions"
    assert WORKLOADS[8].endpoint.url == f"{HERE}/v1/chat/completions"
    assert WORKLOADS[10].endpoint.url == f"{HERE}/other/completions"
    assert WORKLOADS[11].endpoint.url == f"{HERE}/v2/models/net/infer"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: endpoint(5), "5 is no URL; write endpoint"),
        (lambda: endpoint("localhost:80/x"), r'no URL; write endpoint\("http://localhost:80/x"\)'),
        (lambda: endpoint("ftp://localhost/"), "known are http, https"),
        (lambda: endpoint("http://localhost:x/"), "is no URL: Port"),
        (lambda: endpoint("http://me:pw@localhost/"), "a URL with a password would be in the rep"),
        (lambda: endpoint("http://me:pw@localhost:x/"), "a URL with a password would be in the"),
        (lambda: endpoint("me:pw@localhost:80"), "a URL with a password would be in the report"),
        (lambda: endpoint(f"{HERE}/?api_key=pw"), "api_key in the URL would be in the report"),
        (lambda: endpoint("localhost:80/?api_key=pw"), "api_key in the URL would be in the report"),
        (lambda: endpoint("http://example.invalid/"), "example.invalid is not this machine, "),
        (lambda: endpoint("http://192.0.2.1/"), "192.0.2.1 is not this machine, .* remote=True"),
        (lambda: endpoint(HERE, headers={"Authorization": "pw"}), "header Authorization would be"),
        (lambda: endpoint(HERE, headers={"X": "Bearer pw"}), "header X would be in the report"),
        (lambda: endpoint(HERE, headers={"X-Api-Key": "pw"}), "header X-Api-Key would be in the"),
        (lambda: endpoint(HERE, headers={"a b": "c"}), "'a b' cannot name a header"),
        (lambda: endpoint(HERE, headers={"a": "b\r\nc: d"}), "header a has control characters"),
        (lambda: endpoint(HERE, headers=[("Authorization", "pw")]), "are no mapping of names to v"),
        (lambda: endpoint(HERE, headers={"Authorization": b"pw"}), "is bytes, and no text"),
        (lambda: endpoint(HERE, method="get"), 'is none of HTTP; write "GET"'),
        (lambda: endpoint(HERE, body=Path("no.json")), r"there is no file 'no\.json' in /"),
        (lambda: endpoint(HERE, body={"a": object()}), "is not JSON"),
        (lambda: endpoint(HERE, body=b"\xff"), "the body is no UTF-8; write it into a file"),
        (lambda: endpoint(HERE, body="x" * 200_000), r"write the body into a file, body=Path"),
        (lambda: endpoint(HERE, body=lambda n: b""), "write a def at the top level of the file$"),
        (
            lambda: endpoint(HERE, body=3),
            "^endpoint: 3 is none of a text, bytes, a dict, a list, a",
        ),
        (lambda: endpoint(HERE, success=3.5), "success 3.5 is neither a status"),
        (lambda: endpoint(HERE, success=42), r"success 42 is outside \[100, 599\]"),
        (lambda: endpoint(HERE, verify="no.pem"), r"verify: there is no file 'no\.pem'"),
        (lambda: endpoint(HERE, timeout=5), "write"),
        (lambda: endpoint(HERE, in_flight=0), r"in_flight 0 is outside \[1, 10000\]"),
        (lambda: endpoint(HERE, http2=1), "http2 1 is not True or False"),
        (lambda: endpoint(HERE, "POST"), r"endpoint\(\): 'POST' has no name; write one before it"),
        (lambda: openai_chat(HERE, model=""), "openai_chat: model '' names none"),
        (lambda: openai_chat(HERE, model="m", parameters=3), "parameters 3 are no mapping"),
        (
            lambda: openai_chat(HERE, model="m", parameters={"stream": False}),
            "openai_chat: stream in parameters would be taken .* argument stream=; write stream=F",
        ),
        (
            lambda: kserve(HERE, model="m", inputs=[TENSOR], parameters={"inputs": []}),
            "kserve: inputs in parameters would be taken instead of the argument inputs=",
        ),
        (lambda: kserve(HERE, model="a/b", inputs=[TENSOR]), "model 'a/b' names none"),
        (lambda: kserve(HERE, model="m", inputs=[]), r"inputs \[\] are no list of dicts"),
        (lambda: kserve(HERE, model="m", inputs=[{"name": "x"}]), "lacks one of data, datatype"),
        (
            lambda: kserve("grpc://localhost", model="m", inputs=[TENSOR], parameters={"a": 1}),
            "are for http, not for gRPC",
        ),
        (lambda: own_client("ask"), r"'ask' names no function; write own_client\(\"module:"),
        (lambda: own_client(3), "own_client: 3 is not a function; write a def at the top level"),
    ],
)
def test_a_wrong_value_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError, match=sentence) as error:
        make()
    assert "\n" not in str(error.value)
    assert "pw" not in str(error.value)  # of a secret


def test_this_machine():
    for name in ("localhost", "a.localhost", "127.0.0.1", "127.8.9.1", "::1", "0.0.0.0"):
        assert is_here(name), name
    assert is_here(socket.gethostname())
    for name in ("192.0.2.1", "2001:db8::1", "example.invalid"):
        assert not is_here(name), name


@pytest.mark.parametrize(
    ("workload", "names"),
    [
        (openai_chat(f"{HERE}/v1", model="m", messages="Hi"), ("token",)),
        (openai_chat(f"{HERE}/v1", model="m", messages="Hi", stream=False), ()),
        (endpoint(HERE), ()),
    ],
)
def test_a_stream_has_tokens_also_if_none_comes(workload, names):
    """A server that fails every request then has latencies above every limit, and not none."""
    assert workload.milestone_names == names


@pytest.mark.parametrize("name", ["sig", "pwd", "access_token", "auth", "Subscription-Key"])
def test_a_secret_of_the_url_would_be_in_the_report(name):
    with pytest.raises(ScenarioError, match=f"{name} in the URL would be in the report"):
        endpoint(f"{HERE}/?{name}=pw")
    with pytest.raises(ScenarioError, match=f"header {name} would be in the report"):
        endpoint(HERE, headers={name: "pw"})


def test_what_only_looks_like_a_secret_is_none():
    endpoint(f"{HERE}/?max_tokens=5&author=x&significant=1", headers={"X-Max-Tokens": "5"})
    with pytest.raises(ScenarioError, match="header Authorization would be in the report"):
        endpoint(HERE, headers={"Authorization": "pw"})
