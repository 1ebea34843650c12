"""The server of the double of XSched: `xserver POLICY PORT`, as the original is started.

Shims of the double connect to the socket that PREEMPT_DOUBLE_SERVER names. Each gets the line
"go PID" with its process id as the server sees it, and may launch. HTTP on PORT answers like the
original: /policy, and /xqueues with the processes that are connected. With the fault "server-dies"
it aborts when one of them ends.
"""

import http.server
import json
import os
import signal
import socket
import struct
import sys
import threading

connected = set()


def serve(connection):
    """Let a process launch, and know it until it closes the connection."""
    size = struct.calcsize("3i")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid = struct.unpack("3i", peer)[0]
    connected.add(pid)
    with connection:
        connection.sendall(f"go {pid}\n".encode())
        connection.recv(1)  # returns at the end of the connection
    connected.discard(pid)
    if "server-dies" in os.environ.get("PREEMPT_DOUBLE", "").split(","):
        os.abort()


def accept(listener):
    """Serve each process in a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like the original."""

    def do_GET(self):
        """Answer /policy and /xqueues."""
        queues = [{"pid": pid, "ready": True} for pid in sorted(connected)]
        bodies = {"/policy": sys.argv[1], "/xqueues": json.dumps({"xqueues": queues})}
        self.send_response(200 if self.path in bodies else 404)
        self.end_headers()
        self.wfile.write(bodies.get(self.path, "").encode())

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
