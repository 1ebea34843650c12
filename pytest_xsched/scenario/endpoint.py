"""Requests to a server as a workload: address, content, and what counts as success, as data.

A load process of ours sends the requests; see `pytest_xsched.clients`. No secret is kept here: a
header names the variable that holds it.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pytest_xsched.base.constants import TOKEN
from pytest_xsched.base.units import MAX_NS, one_line
from pytest_xsched.base.validation import (
    check_flag,
    checked_fields,
    integer,
    one_of,
    set_integer,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.servers import Server, read_server

APIS = ("http", "chat", "completions", "kserve", "client")
"""What a request is: any of HTTP, OpenAI's two, KServe's inference, or a function of the user."""
_MADE_BY = ("endpoint", "openai_chat", "openai_completions", "kserve", "own_client")
MAKERS = dict(zip(APIS, _MADE_BY, strict=True))
"""The function that makes each of them."""
LOAD_MODULE = "pytest_xsched.clients.load"
ENDPOINT_VARIABLE = "PYTEST_XSCHED_ENDPOINT"
"""The variable with the JSON of the endpoint to which `LOAD_MODULE` sends requests."""

IN_FLIGHT = 1000
IN_FLIGHT_MAX = 10_000
TEXT_MAX = 100_000
"""Characters of the JSON of an endpoint. Linux limits a variable to 128 KiB."""

_LABEL_MAX = 60
SCHEMES = {"kserve": ("http", "https", "grpc", "grpcs")}
_METHOD = re.compile("[A-Z]{1,20}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
FUNCTION = re.compile(r"(?:[^\s:]+\.py|(?!\d)\w+(?:\.(?!\d)\w+)*):(?!\d)\w+(?:\.(?!\d)\w+)*")
_SECRET = re.compile(
    r"auth(?!ors?$)|cookie|token(?!s)|secret|passw|pwd|(api|subscription)[-_]?key|credential"
    r"|signature|^sig$|^key$",
    re.IGNORECASE,
)
_USER = re.compile(r"([A-Za-z0-9+.-]*:?//)?[^/?#]*@")
FROM_ENVIRONMENT = re.compile(r"(?P<before>(?:[A-Za-z]+ )?)env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
"""A value of a header that a variable holds: "env:TOKEN" or "Bearer env:TOKEN"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, or a function of the user, that does the requests of a queue.

    Args:
        api: one of `APIS`.
        url: address of the server; "" of a client.
        function: "package.module:name" or "path/file.py:name" of a client; "" else.
        method: of HTTP.
        headers: pairs of name and value; "env:NAME" in a value stands for a variable.
        body: text of each request; of the other APIs the JSON object that all requests share.
        body_file: path of a file with the body.
        body_function: function that returns the body of a request; of "chat" its messages, of
            "completions" its prompt, of "kserve" its inputs.
        success: statuses that count as success; (): 200 to 299.
        success_function: function of status and body that decides.
        http2: whether HTTP/2 is spoken.
        verify: path of a file with certificates to trust; "": those of the system; None: any.
        unix_socket: path of the socket to which the server listens; "": TCP.
        timeout_ns: longest time of a request.
        in_flight: the most requests at once.
        redirects: whether redirects are followed.
        remote: whether the server may be on another machine.
        server: that the run starts; None: it runs already.
    """

    api: str = "http"
    url: str = ""
    function: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    body_file: str = ""
    body_function: str = ""
    success: tuple[int, ...] = ()
    success_function: str = ""
    http2: bool = False
    verify: str | None = ""
    unix_socket: str = ""
    timeout_ns: int = 60 * 10**9
    in_flight: int = IN_FLIGHT
    redirects: bool = False
    remote: bool = False
    server: Server | None = None

    @property
    def milestones(self) -> tuple[str, ...]:
        """Names of the milestones that its requests have in any case, also where none gets there.

        Those of a function of the user are known when they are reached.
        """
        if self.api not in ("chat", "completions"):
            return ()
        return (TOKEN,) if json.loads(self.body)["stream"] else ()

    def __post_init__(self) -> None:
        one_of("endpoint: api", self.api, APIS)
        what = MAKERS[self.api]
        for name in ("url", "function", "method", "body", "body_file", "body_function"):
            _check_text(f"{what}: {name}", getattr(self, name))
        for name in ("success_function", "unix_socket"):
            _check_text(f"{what}: {name}", getattr(self, name))
        if self.verify is not None:
            _check_text(f"{what}: verify", self.verify)
        for name in ("function", "body_function", "success_function"):
            if getattr(self, name) and not FUNCTION.fullmatch(getattr(self, name)):
                raise ScenarioError(f"{what}: {getattr(self, name)!r} names no function")
        if (self.api == "client") != (self.url == "") or (self.api == "client") != bool(
            self.function
        ):
            raise ScenarioError(f"{what}: url {self.url!r} and function {self.function!r}")
        if self.url:
            check_url(what, self.url, SCHEMES.get(self.api, ("http", "https")))
        if not _METHOD.fullmatch(self.method):
            raise ScenarioError(
                f'{what}: method {self.method!r} is none of HTTP; write "GET" or "POST"'
            )
        object.__setattr__(self, "headers", _checked_headers(what, self.headers))
        object.__setattr__(self, "success", _checked_statuses(what, self.success))
        set_integer(self, "timeout_ns", what, 1_000_000, MAX_NS)
        set_integer(self, "in_flight", what, 1, IN_FLIGHT_MAX)
        for name in ("http2", "redirects", "remote"):
            check_flag(f"{what}: {name}", getattr(self, name))
        if self.server is not None and not isinstance(self.server, Server):
            raise ScenarioError(
                f"{what}: server {one_line(self.server)} is no server; write "
                'server([...], ready="http://127.0.0.1:8000/health")'
            )
        if len(text := self.to_json()) > TEXT_MAX:
            raise ScenarioError(
                f"{what}: {len(text)} characters of body and headers are above {TEXT_MAX}; write "
                'the body into a file, body=Path("body.json"), or return it from a function'
            )

    @property
    def label(self) -> str:
        """Name in reports."""
        parts = [self.url or self.function]
        if self.api in ("chat", "completions"):
            parts[0] = parts[0].removesuffix("/chat/completions").removesuffix("/completions")
            parts.append(f"model={json.loads(self.body)['model']!r}")
        elif self.api == "kserve":
            base, path = self.url.split("/v2/models/")
            parts = [base, f"model={path.split('/')[0]!r}"]
        line = ", ".join(parts)
        if len(line) > _LABEL_MAX:
            line = f"{line[: _LABEL_MAX - 3]}..."
        return f"{MAKERS[self.api]}({line})"

    @property
    def host(self) -> str:
        """Return host and port of the server, for messages."""
        return f"unix socket {self.unix_socket}" if self.unix_socket else urlsplit(self.url).netloc

    @property
    def address(self) -> tuple[str, int] | str | None:
        """Host and port of the server, or the path of its socket; None: only a client knows."""
        if self.unix_socket:
            return self.unix_socket
        parts = urlsplit(self.url)
        if parts.hostname is None:
            return None
        return parts.hostname, parts.port or (443 if parts.scheme in ("https", "grpcs") else 80)

    def to_json(self) -> str:
        """Return the endpoint as JSON text; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Endpoint:
        """Return the endpoint that `to_json` wrote."""
        return read_endpoint(json.loads(text))


def load_program(endpoint: Endpoint) -> Program:
    """Return the program that sends the requests, in a process of its own."""
    variables = ((ENDPOINT_VARIABLE, replace(endpoint, server=None).to_json()),)
    return Program(argv=(sys.executable, "-m", LOAD_MODULE), env=variables)


def read_endpoint(data: Any) -> Endpoint:
    """Return an endpoint from its JSON."""
    values = checked_fields(Endpoint, data, "endpoint")
    for name in ("headers", "success"):
        if not isinstance(values[name], (list, tuple)):
            raise ScenarioError(f"endpoint: {name} {values[name]!r} is not a list")
    values["headers"] = tuple(
        tuple(pair) if isinstance(pair, (list, tuple)) else pair for pair in values["headers"]
    )
    if values["server"] is not None:
        values["server"] = read_server(values["server"])
    return Endpoint(**values)


# ---- checks


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or "\0" in value:
        raise ScenarioError(f"{what} {one_line(value)} is not a text without NUL")


def check_url(what: str, url: str, schemes: tuple[str, ...]) -> None:
    """Raise ScenarioError unless a URL is one, without a secret; no message shows a secret."""
    if _USER.match(url):
        raise ScenarioError(
            f"{what}: a URL with a password would be in the report; write "
            'headers={"Authorization": "Basic env:NAME"}, and put user:password in base64 into '
            "the variable NAME"
        )
    query = url.partition("#")[0].partition("?")[2]
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if _SECRET.search(name):
            raise ScenarioError(
                f"{what}: {name} in the URL would be in the report; write it as a header with "
                '"env:NAME", where the variable NAME holds it'
            )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ScenarioError(f"{what}: {url!r} is no URL: {error}") from None
    if parts.scheme not in schemes or not host or re.search(r"[\s\x00-\x1f]", url):
        bare = url if re.fullmatch(r"[\w.-]+(:\d+)?(/\S*)?", url) else "127.0.0.1:8000/"
        raise ScenarioError(
            f'{what}: {url!r} is no URL; write {what}("{schemes[0]}://{bare}"); known are '
            f"{', '.join(schemes)}"
        )


def _checked_headers(what: str, headers: object) -> tuple[tuple[str, str], ...]:
    pairs = []
    for pair in headers if isinstance(headers, (tuple, list)) else ():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ScenarioError(f"{what}: {one_line(pair)} in headers is not name and value")
        name, value = pair
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise ScenarioError(f"{what}: {one_line(name)} cannot name a header")
        if not isinstance(value, str):
            raise ScenarioError(f"{what}: header {name} is {type(value).__name__}, and no text")
        if FROM_ENVIRONMENT.fullmatch(value) is None:
            if _SECRET.search(name) or re.match(r"(?i)(bearer|basic) ", value):
                raise ScenarioError(
                    f"{what}: the value of header {name} would be in the report; write "
                    f'headers={{"{name}": "Bearer env:NAME"}} or "env:NAME", where the variable '
                    "NAME holds it"
                )
            if not value.isprintable():
                raise ScenarioError(f"{what}: the value of header {name} has control characters")
        pairs.append((name, value))
    return tuple(pairs)


def _checked_statuses(what: str, given: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(integer(f"{what}: success", status, 100, 599) for status in given)
