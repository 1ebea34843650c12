"""Requests over HTTP/2, many at once on one connection, to a real server."""

from __future__ import annotations

import asyncio
import threading
from typing import ClassVar

import pytest

from pytest_xsched import endpoint

pytest.importorskip("httpx", reason="the extra http is not installed")
connection = pytest.importorskip("h2.connection")
config = pytest.importorskip("h2.config")
events = pytest.importorskip("h2.events")


class Multiplexed(asyncio.Protocol):
    """Answers each request after 50 ms, with its path as the status, and with a cookie."""

    connections = 0
    cookies: ClassVar = []

    def connection_made(self, transport):
        Multiplexed.connections += 1
        self.transport = transport
        self.h2 = connection.H2Connection(
            config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())

    def data_received(self, data):
        for event in self.h2.receive_data(data):
            if isinstance(event, events.RequestReceived):
                headers = dict(event.headers)
                Multiplexed.cookies.append(headers.get("cookie"))
                status = headers[":path"].strip("/")
                loop = asyncio.get_running_loop()
                loop.call_later(0.05, self.answer, event.stream_id, status)
        self.transport.write(self.h2.data_to_send())

    def answer(self, stream, status):
        self.h2.send_headers(stream, [(":status", status), ("set-cookie", "a=b")])
        self.h2.send_data(stream, b"fine", end_stream=True)
        self.transport.write(self.h2.data_to_send())


@pytest.fixture
def url():
    loop, closing, found = None, None, threading.Event()
    address = []

    async def serve():
        nonlocal loop, closing
        loop, closing = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(Multiplexed, "127.0.0.1", 0)
        address.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        found.set()
        await closing.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    found.wait()
    Multiplexed.connections = 0
    Multiplexed.cookies.clear()
    yield address[0]
    loop.call_soon_threadsafe(closing.set)
    thread.join(10)


def test_requests_share_a_connection(url, send):
    times = [0, 0.01, 0.02, 0.03]
    window = send(endpoint(f"{url}/200", http2=True), times)
    assert sorted(window.ended) == [0, 1, 2, 3]
    assert min(window.latency.values()) >= 0.05
    assert Multiplexed.connections == 1


def test_cookies_are_not_sent_back(url, send):
    send(endpoint(f"{url}/200", http2=True), [0, 0.1])
    assert Multiplexed.cookies == [None, None]


def test_a_status_is_a_failure(url, send):
    assert send(endpoint(f"{url}/503", http2=True), [0]).failed == {0: "status 503"}


def test_a_server_without_http_2_is_a_failure(new_http_server, send):
    failed = send(endpoint(f"{new_http_server().url}/ok", http2=True, timeout="2s"), [0]).failed
    assert failed == {0: "there is no answer in HTTP/2"}
