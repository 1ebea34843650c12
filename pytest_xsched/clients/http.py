"""Requests over HTTP: by aiohttp for HTTP/1.1, by httpx for HTTP/2.

bench/http_clients.py measured which package sends with the least lateness. There are no retries, no
cookies and no proxies.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

from pytest_xsched.clients.engine import causes, describe_error
from pytest_xsched.clients.functions import UserFunction
from pytest_xsched.clients.request import Failed, Request
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import FROM_ENVIRONMENT, MAKERS, Endpoint
from pytest_xsched.scenario.endpoints import is_here


class Secrets:
    """The headers with the values that variables hold, which no message may show."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: dict[str, str] = {}
        self._values: list[str] = []
        for name, value in endpoint.headers:
            match = FROM_ENVIRONMENT.fullmatch(value)
            if match is not None:
                secret = os.environ.get(match["name"])
                if secret is None:
                    raise ScenarioError(
                        f"{MAKERS[endpoint.api]}: header {name} needs the variable "
                        f"{match['name']}, which is not set"
                    )
                if not secret.isprintable() or not secret.isascii():
                    raise ScenarioError(
                        f"{MAKERS[endpoint.api]}: the variable {match['name']} for header {name} "
                        "has characters that no header can have"
                    )
                self._values.append(secret)
                value = match["before"] + secret
            self.headers[name] = value

    def hide(self, text: str) -> str:
        """Return a text without the secrets in it."""
        for secret in self._values:
            if secret:
                text = text.replace(secret, "***")
        return text


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return how a server's certificate is verified; None: there is no TLS.

    Raises:
        ScenarioError: the file is no certificate.
    """
    if not endpoint.url.startswith(("https:", "grpcs:")):
        return None
    try:
        context = ssl.create_default_context(cafile=endpoint.verify or None)
    except (ssl.SSLError, OSError) as error:
        raise ScenarioError(
            f"{MAKERS[endpoint.api]}: verify: {endpoint.verify!r} holds no certificate: {error}"
        ) from None
    if endpoint.verify is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Payloads:
    """The body of each request.

    Args:
        endpoint: says what it is.
        function: the function of the user that returns it; None: it is constant.
    """

    def __init__(self, endpoint: Endpoint, function: UserFunction | None) -> None:
        self._function = function
        self.what = MAKERS[endpoint.api]
        self._constant: bytes | None = endpoint.body.encode() if endpoint.body else None
        if endpoint.body_file:
            try:
                with open(endpoint.body_file, "rb") as file:
                    self._constant = file.read()
            except OSError as error:
                raise ScenarioError(
                    f"{self.what}: {endpoint.body_file}: {error.strerror}"
                ) from None

    def body(self, number: int, sizes: dict[str, int] | None) -> bytes | None:
        """Return the body of a request; None: it has none."""
        if self._function is None:
            return self._constant
        return to_bytes(self.what, self.returned(number, sizes))

    def returned(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return what the user's function returns for a request."""
        assert self._function is not None
        return self._function.of_request(number, sizes)


def to_bytes(what: str, value: Any) -> bytes | None:
    """Return what a function of the user returned as a body.

    Raises:
        Failed: it cannot be one.
    """
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError):
        raise Failed(
            f"{what}: the body is {type(value).__name__}, and no text, bytes or JSON"
        ) from None


class HttpSender:
    """Sends requests by HTTP/1.1.

    Args:
        endpoint: where and what.
        body: the user's function that returns bodies.
        success: the user's function of status and body.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        body: UserFunction | None = None,
        success: UserFunction | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.payloads = Payloads(endpoint, body)
        self._success = success
        self.secrets = Secrets(endpoint)
        self._tls = tls_context(endpoint)
        self._session: Any = None

    async def __aenter__(self) -> HttpSender:
        """Open a pool of connections, which has no limit of its own."""
        import aiohttp

        if self.endpoint.unix_socket:
            connector: Any = aiohttp.UnixConnector(path=self.endpoint.unix_socket, limit=0)
        else:
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=None, ssl=True if self._tls is None else self._tls
            )
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(_begun)
        trace.on_request_headers_sent.append(_begun)
        trace.on_request_redirect.append(self._redirected)
        headers = dict(self.secrets.headers)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the engine has one
            trace_configs=[trace],
            skip_auto_headers=["Accept-Encoding", "Content-Type"],
        )
        self._session._retry_connection = False  # else GET is sent twice where a connection breaks
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._session.close()

    async def _redirected(self, _: Any, __: Any, found: Any) -> None:
        """Check a redirect before it is followed."""
        self.require_here(found.response.url, found.response.headers.get("Location", ""))

    def require_here(self, url: object, location: str) -> None:
        """Raise Failed if a redirect leads to another machine, which would get the headers, too."""
        host = urlsplit(urljoin(str(url), location)).hostname or ""
        if not self.endpoint.remote and not is_here(host):
            raise Failed(f"redirected to {host}, which is not this machine")

    def prepare(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return the body."""
        return self.payloads.body(number, sizes)

    async def send(self, request: Request) -> None:
        """Send a request; see `engine.Sender`."""
        endpoint = self.endpoint
        async with self._session.request(
            endpoint.method,
            endpoint.url,
            data=request.prepared,
            allow_redirects=endpoint.redirects,
            trace_request_ctx=request,
        ) as answer:
            await self.receive(request, answer)

    async def receive(self, request: Request, answer: Any) -> None:
        """Read an answer.

        Raises:
            Failed: it is no success.
        """
        body = await answer.read()
        request.end()
        self.check(answer.status, body)

    def check(self, status: int, body: bytes) -> None:
        """Raise Failed unless an answer counts as success."""
        if self._success is not None:
            if not self._success.call(status, body):
                raise Failed(f"status {status}, which the function success= refused")
        elif status not in (self.endpoint.success or range(200, 300)):
            raise Failed(f"status {status}")

    def describe(self, error: BaseException) -> str:
        """Return why a request failed; see `engine.Sender`."""
        return self.secrets.hide(describe_http(error))


async def _begun(_: Any, context: Any, __: Any) -> None:
    context.trace_request_ctx.begin()


def describe_http(error: BaseException) -> str:
    """Return why a request over HTTP failed, in a few words."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):
            return f"the certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None):
            return f"TLS: {cause.reason}"
        if isinstance(cause, socket.gaierror):
            return "the host is not known"
    name = type(error).__name__
    text = str(error)
    if name == "ServerDisconnectedError":
        return "the server closed the connection without an answer"
    if name == "ClientPayloadError":
        return "the answer was cut off"
    if name == "ClientResponseError":
        return "the answer is not HTTP"
    if name == "RemoteProtocolError":  # of httpx
        is_reset = "StreamReset" in text or "ConnectionTerminated" in text
        return "the stream was reset" if is_reset else "there is no answer in HTTP/2"
    return describe_error(error)


class Http2Sender(HttpSender):
    """Sends requests by HTTP/2: over TLS as negotiated, else by prior knowledge."""

    async def __aenter__(self) -> Http2Sender:
        """Open a pool of connections."""
        import httpx

        endpoint = self.endpoint
        transport = httpx.AsyncHTTPTransport(
            verify=self._tls if self._tls is not None else True,
            http1=False,
            http2=True,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            uds=endpoint.unix_socket or None,
            retries=0,
        )
        self._session = httpx.AsyncClient(
            transport=transport,
            timeout=None,
            trust_env=False,
            headers=self.secrets.headers,
            event_hooks={"response": [self._answered]},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # which takes none
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._session.aclose()

    async def _answered(self, answer: Any) -> None:
        """Check a redirect before it is followed."""
        if self.endpoint.redirects and answer.has_redirect_location:
            self.require_here(answer.url, answer.headers["Location"])

    async def send(self, request: Request) -> None:
        """Send a request; see `engine.Sender`."""
        starts = ("connection.connect_tcp.started", "connection.connect_unix_socket.started")

        async def trace(event: str, _: Any) -> None:
            if event in (*starts, "http2.send_request_headers.started"):
                request.begin()

        answer = await self._session.request(
            self.endpoint.method,
            self.endpoint.url,
            content=request.prepared,
            follow_redirects=self.endpoint.redirects,
            extensions={"trace": trace},
        )
        request.end()
        self.check(answer.status_code, answer.content)
