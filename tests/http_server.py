"""A real HTTP server for tests, whose path says how it behaves: /ok, /status/429, /endless, ..."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time


class Server:
    """HTTP/1.1 on a free port of loopback, or on a unix socket, in a thread of its own."""

    def __init__(self, path=None, tls=None):
        self.requests = []  # (method, path, headers, body)
        self.connections = 0
        self._writers, self._answered = [], []
        self.stall_until = 0.0  # of time.monotonic(): until then no request is answered
        self.stall_requests = 0  # nor before there were as many requests
        self._path, self._tls = path, tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait()

    async def _run(self):
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._dead = asyncio.Event()
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        else:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1000
            )
            self.port = self._server.sockets[0].getsockname()[1]
            self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"
        self._ready.set()
        await self._closing.wait()
        self._server.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader, writer):
        method, path, _ = (await reader.readuntil(b"\r\n")).decode().split(" ")
        headers = {}
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((method, path, headers, body))
        while len(self.requests) < self.stall_requests:
            await asyncio.sleep(0.001)
        if (left_s := self.stall_until - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        word, _, value = path.strip("/").partition("/")
        does = getattr(self, f"do_{word.partition('?')[0] or 'ok'}", None)
        if does is None:
            await self.do_ok(writer, value, status=400)
            return False
        return await does(writer, value)

    async def do_ok(self, writer, value, *, status=200, body=b"fine"):
        head = f"HTTP/1.1 {status} Some\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return True

    async def do_after(self, writer, value):
        await asyncio.sleep(float(value))
        return await self.do_ok(writer, value)

    async def do_dies(self, writer, value):
        """The server ends with the request that has this number as its body.

        Those before it are answered and those after it are not, in whatever order they come: a
        client that was late sends several at once.
        """
        last, number = int(value), int(self.requests[-1][3])
        if number < last:
            return await self.do_ok(writer, value)
        if number == last:
            while not self._has_all_before(last):
                await asyncio.sleep(0.001)
            for listening in self._server.sockets:
                self._loop.remove_reader(listening.fileno())
            await asyncio.sleep(0.01)  # a connection that was accepted must be served by then
            self._server.close()
            for one in self._writers:
                one.transport.abort()
            self._dead.set()
        await self._dead.wait()
        return False

    def _has_all_before(self, last):
        """Check whether all requests from 0 up to a number came; a warm-up has negative ones."""
        numbers = [int(body) for _, path, _, body in self.requests if path == f"/dies/{last}"]
        return sum(0 <= number < last for number in numbers) == last

    async def do_status(self, writer, value):
        return await self.do_ok(writer, value, status=int(value))

    async def do_elsewhere(self, writer, value):
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n")
        return True

    async def do_away(self, writer, value):
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"
        )
        return True

    async def do_reset(self, writer, value):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()
        return False

    async def do_once(self, writer, value):
        """The second request on a connection gets no answer."""
        if writer in self._answered:
            return False
        self._answered.append(writer)
        return await self.do_ok(writer, value)

    async def do_hangup(self, writer, value):
        return False

    async def do_endless(self, writer, value):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"4\r\nmore\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def do_loris(self, writer, value):
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)
        return True

    async def do_noise(self, writer, value):
        writer.write(b"\x00\xff no HTTP\r\n\r\n")
        return False

    async def do_v1(self, writer, value):
        """OpenAI's API: three words in a stream, 20 ms apart, or one JSON."""
        asked = json.loads(self.requests[-1][3])
        is_chat = "chat" in value
        words = ["one", " two", " three"]
        if asked["model"] == "unknown":
            return await self.do_ok(writer, value, status=404, body=b'{"error": "unknown"}')
        if not asked["stream"]:
            return await self.do_ok(writer, value, body=json.dumps({"choices": []}).encode())
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        events = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}] if is_chat else []
        events += [
            {"choices": [{"delta": {"content": word}} if is_chat else {"text": word}]}
            for word in words
        ]
        if asked["model"] == "breaks":
            events.append({"error": {"message": "out of memory"}})
        for event in events:
            text = f"data: {json.dumps(event)}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(text), text))
            await writer.drain()
            await asyncio.sleep(0.02)
        if asked["model"] != "stops":
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        writer.write(b"0\r\n\r\n")
        return True

    async def do_v2(self, writer, value):
        """KServe's API: the inputs come back as outputs."""
        asked = json.loads(self.requests[-1][3])
        if value.startswith("models/unknown/"):
            body = b'{"error": "unknown model"}'
            return await self.do_ok(writer, value, status=400, body=body)
        body = json.dumps({"outputs": asked["inputs"]}).encode()
        return await self.do_ok(writer, value, body=body)
