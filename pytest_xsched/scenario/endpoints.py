"""Requests to servers as workloads: `endpoint`, OpenAI's two APIs, KServe's, and own clients.

`endpoint.Endpoint` is what they make, as data.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import check_flag
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import (
    FUNCTION,
    IN_FLIGHT,
    MAKERS,
    SCHEMES,
    Endpoint,
    check_url,
)
from pytest_xsched.scenario.models import factory_name
from pytest_xsched.scenario.servers import Server
from pytest_xsched.scenario.workload import Workload

Body: TypeAlias = "str | bytes | dict[str, Any] | list[Any] | Path | Callable[..., Any] | None"
Success: TypeAlias = "int | Iterable[int] | Callable[..., Any] | str | None"
Messages: TypeAlias = "str | list[dict[str, Any]] | Callable[..., Any] | None"
Verify: TypeAlias = "bool | str | os.PathLike[str]"

TIMEOUT = "60s"


@names_the_rest
def endpoint(
    url: str,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: Body = None,
    success: Success = None,
    http2: bool = False,
    verify: Verify = True,
    unix_socket: str | os.PathLike[str] | None = None,
    timeout: DurationLike = TIMEOUT,
    in_flight: int = IN_FLIGHT,
    redirects: bool = False,
    remote: bool = False,
    server: Server | None = None,
) -> Workload:
    """Make a workload of HTTP requests to a server that runs on this machine.

    A load process of ours sends them, each when it is due: a slow answer delays no other request.
    A request ends with the last byte of its answer. One that fails counts as slower than every
    limit, and is never sent again.

    Args:
        url: ``"http://127.0.0.1:8000/predict"``.
        method: default: POST where there is a body, else GET.
        headers: names and values. A secret is written as ``"env:NAME"`` or ``"Bearer env:NAME"``,
            where the variable NAME of pytest's environment holds it: it gets into no report.
        body: of each request: a text, bytes, or a dict or list, which is sent as JSON; a Path: the
            content of that file; a function at the top level of a file, or its name,
            ``"package.module:name"``: what it returns for the number of the request. No number
            comes twice in a process of pytest, so that a server with a cache computes each one.
        success: a status that counts as success, several, or a function of status (int) and body
            (bytes) that returns whether it does. Default: 200 to 299.
        http2: speak HTTP/2, without TLS by prior knowledge.
        verify: a file with the certificate of the server, or of who signed it; True: those that
            the system trusts; False: any.
        unix_socket: the path of the socket to which the server listens, instead of the port.
        timeout: longest time of a request from when it is sent; a slower one has failed.
        in_flight: the most requests at once, in [1, 10000]. One that is due while there are as many
            is sent later. Its latency still counts from when it was due, and the report says how
            many there were.
        redirects: follow them; else they are failures.
        remote: send to another machine, too. The run still describes this one.
        server: that the run starts and ends, of `server`; default: it runs already.

    Raises:
        ScenarioError: a value is wrong; or, in a run, the first request does not succeed.
        MissingExtra: in a run, the package that sends is not installed.
    """
    made = make_endpoint(
        "http",
        url,
        body=body,
        method=method,
        headers=headers,
        success=success,
        http2=http2,
        verify=verify,
        unix_socket=unix_socket,
        timeout=timeout,
        in_flight=in_flight,
        redirects=redirects,
        remote=remote,
        server=server,
    )
    return _workload(made)


@names_the_rest
def openai_chat(
    url: str,
    *,
    model: str,
    messages: Messages = None,
    stream: bool = True,
    parameters: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    verify: Verify = True,
    unix_socket: str | os.PathLike[str] | None = None,
    timeout: DurationLike = TIMEOUT,
    in_flight: int = IN_FLIGHT,
    remote: bool = False,
    server: Server | None = None,
) -> Workload:
    """Make a workload of chat requests to a server with OpenAI's API, such as vLLM.

    Each piece of a streamed answer is a milestone, `token`. So the queue has the latencies
    `first_token`, `per_token` and `between_tokens`.

    Args:
        url: the base, ``"http://127.0.0.1:8000/v1"``.
        model: its name in the server.
        messages: a text, which is one message of the user; a list of messages; a function at the
            top level of a file, or its name, ``"package.module:name"``: what it returns for the
            number of the request. Default, for a load with sizes: as many words as the request has
            tokens of input.
        stream: whether the answer comes in pieces.
        parameters: others of the API, ``{"max_tokens": 64, "temperature": 0}``. `max_tokens` is by
            default the size of the output, where the load has sizes.
        headers: as of `endpoint`.
        verify: as of `endpoint`.
        unix_socket: as of `endpoint`.
        timeout: as of `endpoint`; of the whole answer.
        in_flight: as of `endpoint`.
        remote: as of `endpoint`.
        server: as of `endpoint`.

    Raises:
        ScenarioError: as of `endpoint`.
        MissingExtra: as of `endpoint`.
    """
    if isinstance(messages, str) and not FUNCTION.fullmatch(messages):
        messages = [{"role": "user", "content": messages}]
    return _openai(
        "chat",
        url,
        "messages",
        messages,
        {"model": model, "stream": stream, **_parameters("openai_chat", parameters, "messages")},
        headers=headers,
        verify=verify,
        unix_socket=unix_socket,
        timeout=timeout,
        in_flight=in_flight,
        remote=remote,
        server=server,
    )


@names_the_rest
def openai_completions(
    url: str,
    *,
    model: str,
    prompt: str | Callable[..., Any] | None = None,
    stream: bool = True,
    parameters: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    verify: Verify = True,
    unix_socket: str | os.PathLike[str] | None = None,
    timeout: DurationLike = TIMEOUT,
    in_flight: int = IN_FLIGHT,
    remote: bool = False,
    server: Server | None = None,
) -> Workload:
    """Make a workload of text completions by a server with OpenAI's API, such as vLLM.

    Args:
        url: as of `openai_chat`.
        model: as of `openai_chat`.
        prompt: a text; a function at the top level of a file, or its name; default: as of
            `openai_chat`.
        stream: as of `openai_chat`.
        parameters: as of `openai_chat`.
        headers: as of `endpoint`.
        verify: as of `endpoint`.
        unix_socket: as of `endpoint`.
        timeout: as of `openai_chat`.
        in_flight: as of `endpoint`.
        remote: as of `endpoint`.
        server: as of `endpoint`.

    Raises:
        ScenarioError: as of `endpoint`.
        MissingExtra: as of `endpoint`.
    """
    return _openai(
        "completions",
        url,
        "prompt",
        prompt,
        {
            "model": model,
            "stream": stream,
            **_parameters("openai_completions", parameters, "prompt"),
        },
        headers=headers,
        verify=verify,
        unix_socket=unix_socket,
        timeout=timeout,
        in_flight=in_flight,
        remote=remote,
        server=server,
    )


@names_the_rest
def kserve(
    url: str,
    *,
    model: str,
    inputs: list[dict[str, Any]] | Callable[..., Any] | str,
    version: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    verify: Verify = True,
    timeout: DurationLike = TIMEOUT,
    in_flight: int = IN_FLIGHT,
    remote: bool = False,
    server: Server | None = None,
) -> Workload:
    """Make a workload of inferences by a server with KServe's API, version 2, such as Triton.

    Args:
        url: ``"http://127.0.0.1:8000"``, or ``"grpc://127.0.0.1:8001"`` for gRPC, which needs
            ``pip install 'pytest-xsched[triton]'``; with TLS https or grpcs.
        model: its name in the server.
        inputs: a list of dicts with `name`, `shape`, `datatype` and `data`, as the API has them; a
            function at the top level of a file, or its name: what it returns for the number of the
            request.
        version: of the model; None: the server chooses.
        parameters: others of the API, such as ``{"outputs": [{"name": "y"}]}``; not for gRPC.
        headers: as of `endpoint`.
        verify: as of `endpoint`.
        timeout: as of `endpoint`.
        in_flight: as of `endpoint`.
        remote: as of `endpoint`.
        server: as of `endpoint`.

    Raises:
        ScenarioError: as of `endpoint`.
        MissingExtra: as of `endpoint`.
    """
    for name, text in (("model", model), ("version", version)):
        if text is not None and (not isinstance(text, str) or not re.fullmatch(r"[^\s/?#]+", text)):
            raise ScenarioError(f"kserve: {name} {one_line(text)} names none")
    more = _parameters("kserve", parameters, "inputs")
    if isinstance(url, str) and url.startswith("grpc") and more:
        raise ScenarioError(f"kserve: parameters {one_line(parameters)} are for http, not for gRPC")
    is_function = callable(inputs) or isinstance(inputs, str)
    if not is_function:
        more["inputs"] = _checked_inputs(inputs)
    path = f"/v2/models/{model}{'' if version is None else f'/versions/{version}'}/infer"
    made = make_endpoint(
        "kserve",
        f"{url.rstrip('/')}{path}" if isinstance(url, str) else url,
        body=inputs if is_function else None,
        parameters=more,
        headers=headers,
        verify=verify,
        timeout=timeout,
        in_flight=in_flight,
        remote=remote,
        server=server,
    )
    return _workload(made)


def own_client(
    function: Callable[..., Any] | str,
    *,
    timeout: DurationLike = TIMEOUT,
    in_flight: int = IN_FLIGHT,
    server: Server | None = None,
) -> Workload:
    """Make a workload of a coroutine function of your own, for servers that speak something else.

    A load process of ours awaits ``function(number)`` for each request when it is due, many at a
    time. A request that raises has failed. The function may call `pytest_xsched.client.milestone`.

    Args:
        function: ``async def`` at the top level of a file, or its name, ``"package.module:name"``,
            ``"path/file.py:name"``. It gets the number of the request; and where it has parameters
            `tokens_in` and `tokens_out`, the sizes that the load has. To open a connection once,
            pass a function decorated by `contextlib.asynccontextmanager` that yields the coroutine
            function.
        timeout: as of `endpoint`.
        in_flight: as of `endpoint`.
        server: as of `endpoint`.

    Raises:
        ScenarioError: a value is wrong; or, in a run, there is no such function, it is no coroutine
            function, or the first request fails.
    """
    return _workload(make_client(function, timeout=timeout, in_flight=in_flight, server=server))


def _workload(made: Endpoint) -> Workload:
    return Workload(commands=(), label=made.label, endpoint=made)


def _parameters(what: str, given: object, content: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ScenarioError(f"{what}: parameters {one_line(given)} are no mapping")
    for name in (content, *(("model", "stream") if what != "kserve" else ())):
        if name in given:
            raise ScenarioError(
                f"{what}: {name} in parameters would be taken instead of the argument {name}=; "
                f"write {name}={one_line(given[name])} there"
            )
    return dict(given)


def _openai(
    api: str, url: str, name: str, prompt: Any, body: dict[str, Any], **more: Any
) -> Workload:
    what = MAKERS[api]
    if not isinstance(body["model"], str) or not body["model"]:
        raise ScenarioError(f"{what}: model {one_line(body['model'])} names none")
    check_flag(f"{what}: stream", body["stream"])
    if callable(prompt) or (isinstance(prompt, str) and FUNCTION.fullmatch(prompt)):
        more["body"] = prompt
    elif prompt is not None:
        body[name] = prompt
    return _workload(make_endpoint(api, _of_api(api, url), parameters=body, **more))


def _of_api(api: str, url: object) -> Any:
    """Return the address of an API of OpenAI under a base."""
    if not isinstance(url, str):
        return url
    path = "/chat/completions" if api == "chat" else "/completions"
    base = url.rstrip("/").removesuffix(path)
    return f"{base}{path}" if urlsplit(base).path else f"{base}/v1{path}"


def _checked_inputs(inputs: object) -> list[Any]:
    needed = {"name", "shape", "datatype", "data"}
    if not isinstance(inputs, list) or not inputs:
        raise ScenarioError(f"kserve: inputs {one_line(inputs)} are no list of dicts")
    for one in inputs:
        if not isinstance(one, Mapping) or not needed <= set(one):
            raise ScenarioError(
                f"kserve: input {one_line(one)} lacks one of {', '.join(sorted(needed))}"
            )
    return inputs


# ---- from the arguments of a user


def make_endpoint(
    api: str,
    url: str,
    *,
    body: Body = None,
    parameters: Mapping[str, Any] | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    success: Success = None,
    verify: bool | str | os.PathLike[str] = True,
    unix_socket: str | os.PathLike[str] | None = None,
    timeout: DurationLike = TIMEOUT,
    remote: bool = False,
    **more: Any,
) -> Endpoint:
    """Return an endpoint from the arguments of the functions in `workload`.

    Args:
        api: one of `APIS`, and not "client".
        url: address of the requests.
        body: of each request; with `parameters` only a function.
        parameters: of other APIs than "http": the JSON object that all requests share.
        method: None: POST where there is a body, else GET.
        headers: as of `endpoint`.
        success: as of `endpoint`.
        verify: as of `endpoint`.
        unix_socket: as of `endpoint`.
        timeout: as of `endpoint`.
        remote: as of `endpoint`.
        more: fields of `Endpoint` as they are.
    """
    what = MAKERS[api]
    if not isinstance(url, str):
        raise ScenarioError(
            f'{what}: {one_line(url)} is no URL; write {what}("http://127.0.0.1:8000/...")'
        )
    check_flag(f"{what}: remote", remote)
    check_url(what, url, SCHEMES.get(api, ("http", "https")))
    if not remote and unix_socket is None:
        _require_here(what, url)
    given = dict(headers or {}) if isinstance(headers, (Mapping, type(None))) else headers
    if not isinstance(given, dict):
        raise ScenarioError(
            f"{what}: headers of type {type(headers).__name__} are no mapping of names to values; "
            'write headers={"Authorization": "Bearer env:NAME"}'
        )
    fields_of_body, is_json = _body(what, body)
    if parameters is not None:
        fields_of_body["body"] = _json(what, dict(parameters))
        is_json = True
    if is_json and not any(str(name).lower() == "content-type" for name in given):
        given["Content-Type"] = "application/json"
    timeout_ns = parse_duration(timeout, what=f"{what}: timeout", units=("s", "ms"))
    return Endpoint(
        api=api,
        url=url,
        method=("POST" if any(fields_of_body.values()) else "GET") if method is None else method,
        headers=tuple(given.items()),
        verify=_verified(what, verify),
        unix_socket="" if unix_socket is None else _path(what, "unix_socket", unix_socket),
        timeout_ns=timeout_ns,
        remote=remote,
        **fields_of_body,
        **_success(what, success),
        **more,
    )


def make_client(
    function: Callable[..., Any] | str,
    *,
    timeout: DurationLike = TIMEOUT,
    in_flight: int,
    server: Server | None = None,
) -> Endpoint:
    """Return an endpoint from the arguments of `own_client`."""
    if isinstance(function, str) and ":" not in function:
        raise ScenarioError(
            f'own_client: {function!r} names no function; write own_client("module:function") or '
            'own_client("path/file.py:function")'
        )
    timeout_ns = parse_duration(timeout, what="own_client: timeout", units=("s", "ms"))
    named = factory_name("own_client", function)
    return Endpoint(
        api="client", function=named, timeout_ns=timeout_ns, in_flight=in_flight, server=server
    )


def _body(what: str, body: Body) -> tuple[dict[str, Any], bool]:
    """Return the fields of a body, and whether it is JSON by its type."""
    if body is None or body == "" or body == b"":
        return {}, False
    if isinstance(body, (dict, list)):
        return {"body": _json(what, body)}, True
    if isinstance(body, bytes):
        try:
            return {"body": body.decode()}, False
        except UnicodeDecodeError:
            raise ScenarioError(
                f"{what}: the body is no UTF-8; write it into a file, and body=Path(...)"
            ) from None
    if isinstance(body, os.PathLike):
        path = _path(what, "body", body)
        if not os.path.isfile(path):
            raise ScenarioError(f"{what}: there is no file {path!r} in {os.getcwd()}")
        return {"body_file": path}, path.endswith(".json")
    if isinstance(body, str) and not FUNCTION.fullmatch(body):
        return {"body": body}, False
    if not isinstance(body, str) and not callable(body):
        raise ScenarioError(
            f"{what}: {one_line(body)} is none of a text, bytes, a dict, a list, a Path and a "
            "function of the number of the request"
        )
    return {"body_function": factory_name(what, body)}, False


def _success(what: str, success: Success) -> dict[str, Any]:
    if success is None:
        return {}
    if isinstance(success, int) and not isinstance(success, bool):
        return {"success": (success,)}
    if isinstance(success, str) or callable(success):
        return {"success_function": factory_name(what, success)}
    if isinstance(success, Iterable):
        return {"success": tuple(success)}
    raise ScenarioError(
        f"{what}: success {one_line(success)} is neither a status, as in 200, nor a function of "
        "status and body"
    )


def _verified(what: str, verify: object) -> str | None:
    if isinstance(verify, bool):
        return "" if verify else None
    path = _path(what, "verify", verify)
    if not os.path.exists(path):
        raise ScenarioError(
            f"{what}: verify: there is no file {path!r} in {os.getcwd()}; name the file with the "
            "certificate of the server, or of who signed it"
        )
    return path


def _path(what: str, name: str, given: object) -> str:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise ScenarioError(f"{what}: {name} {one_line(given)} is not a path")
    return expand_path(str(os.fspath(given)), f"{what}: {name}")


def _json(what: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{what}: {one_line(value)} is not JSON: {error}") from None


# ---- this machine


def _require_here(what: str, url: str) -> None:
    """Raise ScenarioError unless the server is on this machine."""
    host = urlsplit(url).hostname or ""
    if not is_here(host):
        raise ScenarioError(
            f"{what}: {host} is not this machine, whose GPU, clock and noise are measured; start "
            "the server here, or write remote=True to time another machine's answers"
        )


def is_here(host: str) -> bool:
    """Check whether a name or an address of a host is one of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return _is_own(str(ip_address(host)))
    except ValueError:
        pass
    if host == socket.gethostname():
        return True
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_own(str(address)) for address in found)


def _is_own(address: str) -> bool:
    """Check whether this machine has an address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if ip_address(address.partition("%")[0]).is_unspecified:
            return True
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True
