"""XSched's server: started, found by its clients, stopped in every case; a script stands for it.

The script takes another message queue than the original, so that nothing here meets a real one.
"""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pytest_xsched import DeviceBusy, DeviceError, SchedulerInactive
from pytest_xsched.system import exec_with_parent
from pytest_xsched.workers import xserver as module
from pytest_xsched.workers.xserver import xserver

KEY = 0x58000000 + os.getpid() % 2**24
NAME = f"xserver{os.getpid()}"
"""Of this process, like the key: two workers of pytest-xdist may be here at once."""

STAND_IN = f"""\
#!{sys.executable}
import ctypes, http.server, os, signal, sys, threading, time

policy, port = sys.argv[1], int(sys.argv[2])
print(f"scheduler created with policy {{policy}}", flush=True)
if policy == "SPUP":
    sys.exit("[XSCHED ERRO @ T 1 @ 10:00:00.000001] invalid policy name SPUP")
assert "XSCHED_POLICY" not in os.environ
libc = ctypes.CDLL(None)
def stop(*_):
    if policy != "HANGS":
        libc.msgctl(queue, 0, None)
        os._exit(0)
queue = -1
signal.signal(signal.SIGINT, stop)  # before there is a queue that it would leave
libc.msgctl(libc.msgget({KEY}, 0), 0, None)  # as the original takes the queue of another one
queue = libc.msgget({KEY}, 0o1666)

def end_without_queue():
    while libc.msgrcv(queue, ctypes.create_string_buffer(64), 32, 0, 0) >= 0: pass
    os._exit(2)

threading.Thread(target=end_without_queue, daemon=True).start()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bodies = {{"/policy": b"", "/xqueues": os.environ.get("XQUEUES", "").encode()}}
        self.send_response(200 if self.path in bodies else 404)
        self.end_headers()
        self.wfile.write(bodies.get(self.path, b""))
        if policy == "DIES":
            os._exit(7)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_taken = body == os.environ.get("HINT")
        self.send_response(200 if is_taken else 400)
        self.end_headers()
        self.wfile.write(b"success" if is_taken else b"invalid\\x1b priority")
    def log_message(self, *_): pass

server = http.server.HTTPServer(("127.0.0.1", port), Handler)
if policy != "MUTE":
    server.serve_forever()
time.sleep(1000)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEY", KEY)
    monkeypatch.setattr(module, "NAME", NAME)
    monkeypatch.setattr(module, "_STOP_S", 0.5)
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    monkeypatch.setenv("XSCHED_POLICY", "of pytest's own environment")
    path = tmp_path / NAME
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return str(path)


def start_in_vain(program, policy, **settings):
    with xserver(program, policy, **settings):
        pytest.fail("there is a server")


def message_queue():
    return ctypes.CDLL(None).msgget(KEY, 0) >= 0


def servers(name=NAME):
    """Give those that we started and that have not ended, with all their threads."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        text = status(directory)
        ours = f"Name:\t{name}\n" in text and f"PPid:\t{os.getpid()}\n" in text
        if ours and not ("State:\tZ" in text and "Threads:\t1\n" in text):
            found.append(int(directory.name))
    return found


def status(directory):
    try:
        return (directory / "status").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("policy", ["HPF", "HANGS"])
def test_it_is_there_for_a_while(program, policy):
    with xserver(program, policy) as server:
        assert module._answers(server.port)
        assert server.output() == f"scheduler created with policy {policy}\n"
        assert message_queue()
        (pid,) = servers()
        assert os.getsid(pid) != os.getsid(0)
    assert not servers()
    assert not message_queue()  # also that of one which had to be killed


@pytest.mark.parametrize(
    ("address", "library", "exposed"),
    [
        ("127.0.0.1", True, False),
        ("0.0.0.0", True, False),
        ("0.0.0.0", False, True),  # it cannot be loaded
    ],
)
def test_a_server_that_other_machines_would_reach_is_bound_to_loopback(
    program, monkeypatch, tmp_path, address, library, exposed
):
    path = Path(program)
    path.write_text(path.read_text().replace("127.0.0.1", address))
    if not library:
        monkeypatch.setattr(module, "LOOPBACK", tmp_path / "none.so")
    with xserver(program, "HPF") as server:
        assert server.is_exposed() is exposed


def test_a_path_that_the_loader_would_split_is_not_preloaded(program, monkeypatch, tmp_path):
    path = tmp_path / "a b" / module.LOOPBACK.name
    path.parent.mkdir()
    path.write_bytes(module.LOOPBACK.read_bytes())
    monkeypatch.setattr(module, "LOOPBACK", path)
    with xserver(program, "HPF") as server:
        assert "preload" not in server.output()


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        ('{"xqueues": []}', set()),
        (
            '{"xqueues": [{"pid": 7, "ready": true}, {"pid": 7, "ready": false},'
            ' {"pid": 8, "ready": false}, {"pid": 9, "ready": true}]}',
            {7, 9},
        ),
        ("", None),
        ("[]", None),
        ('{"xqueues": [{"pid": 7}]}', None),
    ],
)
def test_who_has_work(program, monkeypatch, answer, ready):
    monkeypatch.setenv("XQUEUES", answer)
    with xserver(program, "HPF") as server:
        assert server.busy_processes() == ready
    assert server.busy_processes() is None


@pytest.mark.parametrize(
    ("answer", "handles"),
    [
        ('{"xqueues": [{"pid": 7, "handle": 18446744073709551615}, {"pid": 8, "handle": 1}]}', 2),
        ('{"xqueues": [{"pid": 7}]}', 0),
        ("", 0),
    ],
)
def test_the_xqueues_of_a_process(program, monkeypatch, answer, handles):
    monkeypatch.setenv("XQUEUES", answer)
    with xserver(program, "HPF") as server:
        assert server.xqueues_of(7) == (2**64 - 1,)[:handles]
        assert server.xqueues_of(9) == ()


def test_a_hint_as_xcli_sends_it(program, monkeypatch):
    hint = '{"hint_type": 1, "handle": 18446744073709551615, "priority": 3}'
    monkeypatch.setenv("HINT", hint)
    with xserver(program, "HPF") as server:
        assert server.hint_priority(2**64 - 1, 3) == ""
        refused = server.hint_priority(2**64 - 1, 256)
    assert refused.startswith("status 400, 'invalid") and refused.isprintable()
    assert server.hint_priority(1, 3) == "it does not answer within 10 s"


def test_an_error_of_the_run_goes_through(program):
    with pytest.raises(DeviceError, match="the driver said no"), xserver(program, "HPF"):
        raise DeviceError("the driver said no")
    assert not servers()


def test_an_interrupt_ends_it(program):
    with pytest.raises(KeyboardInterrupt), xserver(program, "HPF"):
        raise KeyboardInterrupt
    assert not servers()


def test_one_that_does_not_start_is_inactive(program, tmp_path):
    with pytest.raises(SchedulerInactive) as caught:
        start_in_vain(program, "SPUP")
    assert str(caught.value) == (
        "scheduler inactive: xserver SPUP ended with exit status 1; its last words: "
        "[XSCHED ERRO @ T 1 @ 10:00:00.000001] invalid policy name SPUP"
    )
    missing = str(tmp_path / "none")
    with pytest.raises(SchedulerInactive, match=r"status 126; its last words: .*No such file"):
        start_in_vain(missing, "HPF")


def test_one_that_does_not_answer_is_inactive(program, monkeypatch):
    monkeypatch.setattr(module, "START_S", 1.0)
    with pytest.raises(SchedulerInactive, match="did not answer on port"):
        start_in_vain(program, "MUTE")
    assert not servers()


@pytest.mark.parametrize("clients_fail", [True, False])
def test_one_that_ends_before_its_time_is_the_cause(program, until, clients_fail):
    def run():
        with xserver(program, "DIES"):
            until(lambda: not servers())
            if clients_fail:
                raise DeviceError("the client could not send")

    with pytest.raises(SchedulerInactive, match="xserver DIES ended with exit status 7"):
        run()


def test_another_server_is_left_alone(program, until):
    other = subprocess.Popen([program, "HPF", str(module._free_port())], env={})
    try:
        until(message_queue)
        with pytest.raises(SchedulerInactive, match="runs already, process"):
            start_in_vain(program, "HPF")
        assert other.poll() is None
        assert message_queue()
    finally:
        other.send_signal(signal.SIGINT)
        other.wait()


def test_the_queue_of_a_server_that_came_later_is_left_alone(program, until):
    """Of another pytest with another directory for locks; its clients lost the queue."""
    later = None

    def run():
        nonlocal later
        with xserver(program, "HPF"):
            (first,) = servers()
            later = subprocess.Popen([program, "HPF", str(module._free_port())], env={})
            until(lambda: first not in servers())
            until(message_queue)  # the new one

    try:
        with pytest.raises(SchedulerInactive, match="xserver HPF ended with exit status 2"):
            run()
        assert message_queue()
    finally:
        later.send_signal(signal.SIGINT)
        later.wait()
    assert not message_queue()


def test_a_server_that_was_killed_is_no_other_server(program, until):
    """Also where nothing has reaped it yet."""
    killed = subprocess.Popen([program, "HPF", str(module._free_port())], env={})
    try:
        until(message_queue)
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        assert message_queue()
        assert module._running_server() != killed.pid
    finally:
        killed.wait()
        ctypes.CDLL(None).msgctl(ctypes.CDLL(None).msgget(KEY, 0), 0, None)


def test_two_pytests_take_turns(program):
    with xserver(program, "HPF"), pytest.raises(DeviceBusy, match="the xserver was not free"):
        start_in_vain(program, "HPF", lock_timeout_s=0)


def test_it_does_not_outlive_its_parent(program):
    text = textwrap.dedent(f"""
        import time
        from pytest_xsched.workers import xserver
        xserver.KEY, xserver.NAME = {KEY}, {NAME!r}
        with xserver.xserver({program!r}, "HPF"):
            print("on", flush=True)
            time.sleep(1000)
        """)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"on\n"
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.kill()
        parent.wait()
    (pid,) = children
    deadline_s = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline_s:
        if "State:\tZ" in status(Path(f"/proc/{pid}")):
            break  # nobody reaps it here
        time.sleep(0.02)
    assert time.monotonic() < deadline_s
    ctypes.CDLL(None).msgctl(ctypes.CDLL(None).msgget(KEY, 0), 0, None)


def test_a_leash_gives_variables_to_the_program_alone(tmp_path):
    program = [sys.executable, "-c", "import os; print(os.environ['A'], os.environ['LD_PRELOAD'])"]
    line = exec_with_parent.command_line(program, {"A": "b=c d", "LD_PRELOAD": "/nowhere.so"})
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == "b=c d /nowhere.so\n"
    # Said once, by the loader of the program, and not by that of the leash.
    assert done.stderr.count("/nowhere.so") == 1


def test_a_leash_that_nobody_holds_starts_nothing(tmp_path):
    line = exec_with_parent.command_line([sys.executable, "-c", "print('on')"], parent=1)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the parent process has ended\n"


HOME = os.environ.get("XSCHED_HOME", "")


@pytest.mark.skipif(not HOME, reason="XSCHED_HOME names no XSched")
def test_the_real_one(tmp_path):
    with xserver(f"{HOME}/bin/xserver", "HPF") as server:
        assert module._answers(server.port)
        assert servers("xserver")
    assert not servers("xserver")
