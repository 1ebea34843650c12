"""Requests for inference to servers with KServe's API, version 2, over HTTP or gRPC."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from pytest_xsched.clients.engine import describe_error
from pytest_xsched.clients.functions import UserFunction
from pytest_xsched.clients.http import HttpSender, Payloads, Secrets
from pytest_xsched.clients.request import Failed, Request
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import Endpoint


class KServeSender(HttpSender):
    """Sends inferences as JSON over HTTP.

    Args:
        endpoint: its body is the JSON object that all requests share.
        inputs: the user's function that returns the inputs of a request.
    """

    def __init__(self, endpoint: Endpoint, inputs: UserFunction | None = None) -> None:
        super().__init__(endpoint, inputs)
        self._shared = json.loads(endpoint.body) if endpoint.body else {}
        self._has_function = inputs is not None

    def prepare(self, number: int, sizes: dict[str, int] | None) -> bytes | None:
        """Return the JSON of a request."""
        if not self._has_function:
            return self.payloads.body(number, sizes)
        inputs = self.payloads.returned(number, sizes)
        return json.dumps({**self._shared, "inputs": inputs}).encode()

    def check(self, status: int, body: bytes) -> None:
        """Raise Failed unless there are outputs."""
        if status != 200:
            raise Failed(f"status {status}{_error(body)}")
        if b'"outputs"' not in body:
            raise Failed("the answer has no outputs")


def _error(body: bytes) -> str:
    """Return the error in an answer, ": unknown model", or ''."""
    try:
        return f": {json.loads(body)['error']}"
    except (ValueError, KeyError, TypeError):
        return ""


class GrpcSender:
    """Sends inferences over gRPC, by Triton's own client.

    Args:
        endpoint: its body is the JSON object that all requests share.
        inputs: the user's function that returns the inputs of a request.
    """

    def __init__(self, endpoint: Endpoint, inputs: UserFunction | None = None) -> None:
        self.endpoint = endpoint
        self._secrets = Secrets(endpoint)
        named = ((name.lower(), value) for name, value in self._secrets.headers.items())
        self._metadata = {name: value for name, value in named if name != "content-type"}
        parts = urlsplit(endpoint.url)
        self._address, self._is_secure = parts.netloc, parts.scheme == "grpcs"
        words = parts.path.split("/")  # "", v2, models, NAME, [versions, VERSION,] infer
        self._model, self._version = words[3], words[5] if len(words) > 5 else ""
        self._payloads = Payloads(endpoint, inputs)
        self._function = inputs
        self._client: Any = None
        self._constant: Any = None
        if inputs is None:
            self._constant = _tensors(json.loads(endpoint.body)["inputs"])

    async def __aenter__(self) -> GrpcSender:
        """Open a channel."""
        import tritonclient.grpc.aio as grpc

        if self._is_secure and self.endpoint.verify is None:
            raise ScenarioError("kserve: gRPC has no verify=False; name the certificate")
        self._client = grpc.InferenceServerClient(
            self._address, ssl=self._is_secure, root_certificates=self.endpoint.verify or None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self._client.close()

    def prepare(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return the tensors of a request."""
        if self._function is None:
            return self._constant
        return _tensors(self._payloads.returned(number, sizes))

    async def send(self, request: Request) -> None:
        """Send a request; see `engine.Sender`."""
        request.begin()
        await self._client.infer(
            self._model,
            request.prepared,
            model_version=self._version,
            headers=self._metadata or None,
        )
        request.end()

    def describe(self, error: BaseException) -> str:
        """Return why a request failed; see `engine.Sender`."""
        message = getattr(error, "message", None)
        if not callable(message):
            return self._secrets.hide(describe_error(error))
        status = str(error.status() or "").removeprefix("StatusCode.")  # type: ignore[attr-defined]
        lines = str(message() or "").splitlines()
        return self._secrets.hide(f"gRPC {status}: {lines[0]}" if lines else f"gRPC {status}")


def _tensors(inputs: Any) -> list[Any]:
    """Return inputs as objects of Triton's client."""
    import numpy as np
    from tritonclient.grpc import InferInput
    from tritonclient.utils import triton_to_np_dtype

    tensors = []
    for one in inputs:
        dtype = triton_to_np_dtype(one["datatype"])
        if dtype is None:
            raise ScenarioError(f"kserve: the datatype {one['datatype']!r} is not known")
        if one["datatype"] == "BYTES":
            data = np.array([str(text).encode() for text in np.ravel(one["data"])], np.object_)
        else:
            data = np.array(one["data"], dtype)
        tensor = InferInput(one["name"], list(one["shape"]), one["datatype"])
        tensor.set_data_from_numpy(data.reshape(one["shape"]))
        tensors.append(tensor)
    return tensors
