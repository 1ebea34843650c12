"""The server of the double of XSched: `xserver POLICY PORT`, as the original is started.

Shims of the double connect to the socket that PREEMPT_DOUBLE_SERVER names. Each gets a line with
its process id as the server sees it, and answers with a line that has its priority. It asks with
"launch" before each launch, and writes "idle" when its work is done. As by HPF, an answer waits
while a process with work has a higher priority. HTTP on PORT answers like the original: GET
/policy, GET /xqueues, with one XQueue for each process, and POST /hint, with a priority. Faults:
with "server-dies" it aborts when a process ends, and with "outside-hint-lost" a hint changes
nothing.
"""

import contextlib
import http.server
import json
import os
import signal
import socket
import struct
import sys
import threading

FAULTS = os.environ.get("PREEMPT_DOUBLE", "").split(",")
PRIORITY_HINT = 1
CHANGED = threading.Condition()
queues = {}
"""By handle; guarded by CHANGED, as all that they are."""


class Queue:
    """The XQueue of a process that is connected."""

    def __init__(self, pid, priority):
        self.pid = pid
        self.priority = priority
        self.is_ready = False

    def is_suspended(self):
        """Check whether one with work has a higher priority."""
        return any(queue.is_ready and queue.priority > self.priority for queue in queues.values())

    def set_ready(self, is_ready):
        """Begin or end its work, and wait until a launch is allowed if it begins."""
        with CHANGED:
            self.is_ready = is_ready
            CHANGED.notify_all()
            if is_ready:
                CHANGED.wait_for(lambda: not self.is_suspended())


def peer_of(connection):
    """Return the process id of the other end."""
    size = struct.calcsize("3i")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return struct.unpack("3i", peer)[0]


def serve(connection):
    """Schedule a process until it closes the connection."""
    pid = peer_of(connection)
    handle = (id(connection) ^ pid << 48) % 2**64  # as the original makes them
    with connection, connection.makefile(encoding="ascii") as lines:
        connection.sendall(f"{pid}\n".encode())
        queue = Queue(pid, int(lines.readline() or 0))
        with CHANGED:
            queues[handle] = queue
        with contextlib.suppress(OSError):  # the process has ended
            for line in lines:
                queue.set_ready(line == "launch\n")
                if queue.is_ready:
                    connection.sendall(b"y")
        with CHANGED:
            del queues[handle]
            CHANGED.notify_all()
    if "server-dies" in FAULTS:
        os.abort()


def accept(listener):
    """Serve each process in a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def hint(text):
    """Change the priority of a queue; return a status of HTTP and the answer."""
    asked = json.loads(text)
    if asked["hint_type"] != PRIORITY_HINT:
        return 400, {"error": "invalid hint type"}
    if not -255 <= asked["priority"] <= 255:
        return 400, {"error": "invalid priority"}
    with CHANGED:
        queue = queues.get(asked["handle"])
        if queue is not None and "outside-hint-lost" not in FAULTS:
            queue.priority = asked["priority"]
            CHANGED.notify_all()
    return 200, {"info": "success"}  # also for an unknown handle


def described():
    """Return all queues as the original describes them."""
    with CHANGED:
        return [
            {
                "handle": handle,
                "pid": queue.pid,
                "ready": queue.is_ready,
                "suspended": queue.is_suspended(),
            }
            for handle, queue in queues.items()
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like the original."""

    def do_GET(self):
        """Answer /policy and /xqueues."""
        if self.path == "/policy":
            self.answer(200, sys.argv[1])
        elif self.path == "/xqueues":
            self.answer(200, {"xqueues": described()})
        else:
            self.answer(404, "")

    def do_POST(self):
        """Answer /hint."""
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(*(hint(text) if self.path == "/hint" else (404, "")))

    def answer(self, status, body):
        """Send a status and a body, as JSON."""
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Write nothing."""


path = os.environ["PREEMPT_DOUBLE_SERVER"]
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
threading.Thread(target=accept, args=(listener,), daemon=True).start()
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
print(f"scheduler created with policy {sys.argv[1]}", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
