"""Which HTTP client is the base of `endpoint`: lateness and latency in open loop, on one core.

A server of a few lines on one core answers at once. The client under test sends on the other core,
request i at START + i / rate, as many at once as it takes. A request is sent when its first byte is
passed to the socket. Install aiohttp, httpx[http2] and uvloop; the script leaves out what is not
installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from measure import alternate, table

from pytest_xsched.clients.engine import SPIN_NS
from pytest_xsched.clients.timer import Timer

RATES = (500, 2000, 5000)
BODY = b'{"prompt": "What is the time?"}'
TEXT = b'{"text": "x"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT)
Send: TypeAlias = Callable[[int], Awaitable[None]]


# ---- the servers


class Plain(asyncio.Protocol):
    """HTTP/1.1: each POST of a known length gets the same answer."""

    def connection_made(self, transport: Any) -> None:
        """Keep the connection."""
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end].lower()
            length = head.find(b"content-length:")
            size = 0 if length < 0 else int(head[length + 15 :].split(b"\r\n", 1)[0])
            if len(self.data) < end + 4 + size:
                return
            self.data = self.data[end + 4 + size :]
            self.transport.write(ANSWER)


class Multiplexed(asyncio.Protocol):
    """HTTP/2 without TLS, by h2."""

    def connection_made(self, transport: Any) -> None:
        """Send the settings."""
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.transport = transport
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        from h2.events import DataReceived, StreamEnded

        for event in self.h2.receive_data(data):
            if isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, StreamEnded):
                headers = [(":status", "200"), ("content-length", str(len(TEXT)))]
                self.h2.send_headers(event.stream_id, headers)
                self.h2.send_data(event.stream_id, TEXT, end_stream=True)
        self.transport.write(self.h2.data_to_send())


async def serve_grpc(ports: Any) -> None:
    """Answer inferences over gRPC."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    class Inference(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            return service_pb2.ModelInferResponse(model_name=request.model_name)

    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(), server)
    ports.put(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


def serve(kind: type[asyncio.Protocol] | None, core: int, ports: Any) -> None:
    """Serve on a free port, until this process is ended; None: gRPC."""
    os.sched_setaffinity(0, {core})

    async def run() -> None:
        if kind is None:
            await serve_grpc(ports)
            return
        loop = asyncio.get_running_loop()
        server = await loop.create_server(kind, "127.0.0.1", 0, backlog=4096)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    if kind is not None and find_spec("uvloop"):  # so that the server is not what limits the client
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


# ---- the clients


@contextlib.asynccontextmanager
async def by_aiohttp(url: str) -> AsyncIterator[Send]:
    """Send by aiohttp."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def send(_: int) -> None:
            async with session.post(url, data=BODY, allow_redirects=False) as answer:
                await answer.read()
                assert answer.status == 200

        yield send


@contextlib.asynccontextmanager
async def by_httpx(url: str, *, http2: bool = False) -> AsyncIterator[Send]:
    """Send by httpx."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    versions = {"http1": not http2, "http2": http2}
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False, **versions) as client:

        async def send(_: int) -> None:
            answer = await client.post(url, content=BODY)
            assert answer.status_code == 200

        yield send


def by_httpx2(url: str) -> contextlib.AbstractAsyncContextManager[Send]:
    """Send by httpx with HTTP/2."""
    return by_httpx(url, http2=True)


@contextlib.asynccontextmanager
async def by_httpcore(url: str, *, http2: bool = False) -> AsyncIterator[Send]:
    """Send by httpcore, on which httpx is built."""
    import httpcore

    pool = httpcore.AsyncConnectionPool(
        max_connections=None, max_keepalive_connections=None, http1=not http2, http2=http2
    )
    target = httpcore.URL(url)
    headers = [(b"host", target.host), (b"content-length", str(len(BODY)).encode())]
    async with pool:

        async def send(_: int) -> None:
            answer = await pool.request("POST", target, headers=headers, content=BODY)
            assert answer.status == 200

        yield send


def by_httpcore2(url: str) -> contextlib.AbstractAsyncContextManager[Send]:
    """Send by httpcore with HTTP/2."""
    return by_httpcore(url, http2=True)


@contextlib.asynccontextmanager
async def by_triton(url: str) -> AsyncIterator[Send]:
    """Send an inference by Triton's client for gRPC."""
    import tritonclient.grpc.aio as triton

    tensor = triton.InferInput("x", [8], "FP32")
    tensor.set_data_from_numpy(np.zeros(8, np.float32))
    client = triton.InferenceServerClient(url.removeprefix("http://").rstrip("/"))

    async def send(_: int) -> None:
        await client.infer("net", [tensor])

    yield send
    await client.close()


CLIENTS: dict[str, tuple[Any, type[asyncio.Protocol] | None, str]] = {
    "aiohttp": (by_aiohttp, Plain, "aiohttp"),
    "httpx": (by_httpx, Plain, "httpx"),
    "httpcore": (by_httpcore, Plain, "httpcore"),
    "httpx, HTTP/2": (by_httpx2, Multiplexed, "h2"),
    "httpcore, HTTP/2": (by_httpcore2, Multiplexed, "h2"),
    "tritonclient, gRPC": (by_triton, None, "tritonclient"),
}


async def load(client: Any, url: str, rate: int, seconds: float) -> list[float]:
    """Return what was done in a second, four times in ms, processor time in us, and failures."""
    loop = asyncio.get_running_loop()
    count = int(rate * seconds)
    begun, ended = np.zeros(count, np.int64), np.zeros(count, np.int64)
    over = loop.create_future()
    async with client(url) as send:
        await asyncio.gather(*(send(0) for _ in range(8)))
        start_ns = time.monotonic_ns() + 100_000_000
        due_ns = (start_ns + np.arange(count) * (1_000_000_000 / rate)).astype(np.int64).tolist()
        running: set[asyncio.Task[None]] = set()
        following = 0

        async def one(number: int) -> None:
            begun[number] = time.monotonic_ns()
            with contextlib.suppress(Exception):  # what has no end is counted as failed
                await send(number)
                ended[number] = time.monotonic_ns()

        def finished(task: asyncio.Task[None]) -> None:
            running.discard(task)
            if following == count and not running and not over.done():
                over.set_result(None)

        def dispatch() -> None:
            nonlocal following
            while following < count:
                now_ns = time.monotonic_ns()
                if due_ns[following] > now_ns + SPIN_NS:
                    timer.set(due_ns[following] - SPIN_NS)
                    return
                while time.monotonic_ns() < due_ns[following]:
                    pass
                task = loop.create_task(one(following))
                running.add(task)
                task.add_done_callback(finished)
                following += 1
                if due_ns[following - 1] < now_ns - 10_000_000_000:
                    break  # hopeless
                # One a turn of the loop, so that answers are read between two requests.
                timer.set(max(1, due_ns[following] - SPIN_NS) if following < count else 1)
                return

        timer = Timer(loop, dispatch)
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_s = cpu()
        timer.set(start_ns - SPIN_NS)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(over, seconds + 5)
        cpu_s = cpu() - cpu_s
        gc.enable()
        timer.close()
        for task in list(running):
            task.cancel()
    late = begun - np.array(due_ns)
    done = ended > 0
    latency = (ended - np.array(due_ns))[done]
    span_s = (ended.max() - start_ns) / 1e9
    late_ms = [float(np.percentile(late[begun > 0], q)) / 1e6 for q in (50, 99)]
    latency_ms = [float(np.percentile(latency, q)) / 1e6 for q in (50, 99)]
    cpu_us = cpu_s / done.sum() * 1e6
    return [done.sum() / span_s, *late_ms, *latency_ms, cpu_us, count - done.sum()]


def cpu() -> float:
    """Return the processor time of this process, in s."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, rate: int, seconds: float, loop: str, results: Any) -> None:
    """Measure a client in this process, which ends afterwards."""
    client, kind, _ = CLIENTS[name]
    cores = sorted(os.sched_getaffinity(0))
    ports: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(kind, cores[-1], ports), daemon=False)
    server.start()
    os.sched_setaffinity(0, {cores[0]})
    try:
        work = load(client, f"http://127.0.0.1:{ports.get()}/", rate, seconds)
        if loop == "uvloop":
            import uvloop

            results.put(uvloop.run(work))
        else:
            results.put(asyncio.run(work))
    finally:
        server.terminate()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS))
    parser.add_argument("--loops", nargs="+", default=["asyncio", "uvloop"])
    parser.add_argument("--rates", nargs="+", type=int, default=list(RATES))
    asked = parser.parse_args()
    rows = []
    spawn = multiprocessing.get_context("spawn")
    arms = [
        f"{name} | {loop}"
        for name in asked.clients
        if find_spec(CLIENTS[name][2])
        for loop in asked.loops
        if loop == "asyncio" or find_spec("uvloop")
    ]
    for rate in asked.rates:
        found: dict[str, list[list[float]]] = {arm: [] for arm in arms}
        for arm in alternate(asked.repetitions, arms):
            name, loop = arm.split(" | ")
            results: Any = spawn.Queue()
            process = spawn.Process(target=measure, args=(name, rate, asked.seconds, loop, results))
            process.start()
            found[arm].append(results.get(timeout=120))
            process.join()
        for arm, parts in found.items():
            best = np.median(np.array(parts), axis=0)
            rows.append(
                [
                    arm,
                    f"{rate}/s",
                    f"{best[0]:.0f}/s",
                    *(f"{v:.2f}" for v in best[1:5]),
                    f"{best[5]:.0f}",
                    f"{best[6]:.0f}",
                ]
            )
    header = ["client | loop", "asked", "done", "late P50", "late P99", "P50", "P99", "CPU us"]
    table([*header, "failed"], rows)


if __name__ == "__main__":
    main()
