"""Inferences over gRPC, by Triton's own client, to a real gRPC server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_xsched import kserve

grpc = pytest.importorskip("grpc", reason="the extra triton is not installed")
service = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")
messages = pytest.importorskip("tritonclient.grpc.service_pb2")

TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.5]}
TEXT = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}


class Inference(service.GRPCInferenceServiceServicer):
    """Answers with the inputs; there is one model, net."""

    def __init__(self):
        self.asked = []

    def ModelInfer(self, request, context):  # noqa: N802
        metadata = dict(context.invocation_metadata())
        self.asked.append((request.model_name, request.model_version, request, metadata))
        if request.model_name != "net":
            details = "" if request.model_name == "silent" else "unknown model"
            context.abort(grpc.StatusCode.NOT_FOUND, details)
        return messages.ModelInferResponse(model_name="net", model_version="1")


@pytest.fixture
def inference():
    server, servicer = grpc.server(ThreadPoolExecutor(4)), Inference()
    service.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    servicer.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


def second(number):
    return [{**TENSOR, "data": [number, 0]}]


def test_tensors_arrive_as_they_are_written(inference, send, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer env:MY_TOKEN"}
    workload = kserve(inference.url, model="net", inputs=[TENSOR, TEXT], headers=headers)
    assert sorted(send(workload, [0, 0.01]).ended) == [0, 1]
    name, version, request, metadata = inference.asked[0]
    assert (name, version) == ("net", "")
    assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [
        ("x", "FP32", [2]),
        ("text", "BYTES", [1]),
    ]
    numbers, text = request.raw_input_contents
    assert numbers == b"\x00\x00\x80\x3f\x00\x00\x20\x40"
    assert text == b"\x05\x00\x00\x00hello"
    assert metadata["authorization"] == "Bearer s3cret"


def test_inputs_by_a_function_and_a_version(inference, send):
    send(kserve(inference.url, model="net", version="3", inputs=second), [0, 0.01])
    assert [asked[1] for asked in inference.asked] == ["3", "3"]
    sent = {asked[2].raw_input_contents[0] for asked in inference.asked}
    assert sent == {bytes(8), b"\x00\x00\x80\x3f" + bytes(4)}


def test_an_error_of_the_server_is_the_reason(inference, send):
    failed = send(kserve(inference.url, model="other", inputs=[TENSOR]), [0]).failed
    assert failed == {0: "gRPC NOT_FOUND: unknown model"}
    failed = send(kserve(inference.url, model="silent", inputs=[TENSOR]), [0, 0]).failed
    assert failed == dict.fromkeys((0, 1), "gRPC NOT_FOUND")


def test_where_no_server_listens(send):
    failed = send(kserve("grpc://127.0.0.1:1", model="net", inputs=[TENSOR]), [0]).failed
    assert failed[0].startswith("gRPC UNAVAILABLE: ")
