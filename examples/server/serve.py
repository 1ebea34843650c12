"""A small inference server, which streams tokens: with PyTorch where it is there, else with numpy.

    python examples/server/serve.py [--port 8000] [--device cuda] [--layers 4] [--width 512]
                                    [--chat FILE:FACTORY] [--classify FILE:FACTORY]

It answers GET /health, POST /classify with the largest of ten numbers, and POST
/v1/chat/completions as OpenAI's API does, in one piece or streamed. One lock stands for one GPU: a
step of one request is computed at a time, so the tokens of many requests come alternately. A
factory is a function as `model(...)` takes it: what it returns computes one step with PyTorch.
"""

from __future__ import annotations

import argparse
import json
import runpy
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def numpy_step(layers: int, width: int):
    """Return a function that computes one step on the CPU."""
    import numpy as np

    weights = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32)
    weights /= width**0.5

    def step(rows: int) -> int:
        x = np.ones((rows, width), np.float32)
        for _ in range(layers):
            x = np.tanh(x @ weights)
        return int(x[-1, :10].argmax())

    return step


def torch_step(layers: int, width: int, device: str):
    """Return a function that computes one step with PyTorch, and waits for its result."""
    import torch

    torch.manual_seed(0)
    dtype = torch.half if device.startswith("cuda") else torch.float32
    block = [torch.nn.Linear(width, width), torch.nn.GELU()]
    net = torch.nn.Sequential(*block * layers).to(device, dtype).eval()

    @torch.no_grad()
    def request(rows: int):
        return net(torch.ones(rows, width, device=device, dtype=dtype))

    return torch_stream(request)


def factory_step(where: str):
    """Return a function that computes one step with what the factory FILE:FACTORY returns."""
    path, _, name = where.rpartition(":")
    request = runpy.run_path(path)[name]()
    return torch_stream(lambda rows: request())


def torch_stream(request):
    """Return a function that does a request on a stream of its own, and waits for its result."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the weights are there
        stream = torch.cuda.Stream()
    else:
        stream = None

    def step(rows: int) -> int:
        with torch.cuda.stream(stream):  # XSched sees no work of the default stream
            return int(request(rows).flatten()[-10:].argmax())

    return step


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a token is sent at once
    chat_step = classify_step = staticmethod(lambda rows: 0)
    lock = threading.Lock()

    def log_message(self, *args):
        pass

    def compute(self, step, rows: int) -> int:
        with self.lock:
            return step(rows)

    def do_GET(self):
        self.answer({"status": "ready"}, 200 if self.path == "/health" else 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self.path == "/classify":
            self.answer({"class": self.compute(self.classify_step, 64)})
        elif self.path == "/v1/chat/completions":
            self.chat(body)
        else:
            self.answer({"error": f"no {self.path} here"}, 404)

    def chat(self, body):
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        count = int(body.get("max_tokens", 16))
        tokens = (self.compute(self.chat_step, 1 if i else max(prompt, 1)) for i in range(count))
        if not body.get("stream"):
            words = " ".join(str(token) for token in tokens)
            choice = {"index": 0, "message": {"role": "assistant", "content": words}}
            self.answer({"choices": [{**choice, "finish_reason": "length"}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for token in tokens:
            piece = {"choices": [{"index": 0, "delta": {"content": f"{token} "}}]}
            self.chunk(f"data: {json.dumps(piece)}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1000


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--device", help="cuda or cpu, for PyTorch; default: numpy")
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--chat", metavar="FILE:FACTORY", help="of the step of a token")
    options.add_argument("--classify", metavar="FILE:FACTORY", help="of a classification")
    given = options.parse_args()
    if given.device:
        step = torch_step(given.layers, given.width, given.device)
    else:
        step = numpy_step(given.layers, given.width)
    chat = factory_step(given.chat) if given.chat else step
    classify = factory_step(given.classify) if given.classify else step
    for one in (chat, classify):
        one(64)  # compiles and allocates
    Handler.chat_step, Handler.classify_step = staticmethod(chat), staticmethod(classify)
    server = Server(("127.0.0.1", given.port), Handler)
    print(f"ready on port {given.port} after {time.process_time():.1f} s", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
