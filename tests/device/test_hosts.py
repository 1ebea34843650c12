"""Other machines: a host reached by ssh, or in a root of its own, measures as this machine does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pytest_xsched
from pytest_xsched import HostError, ScenarioError, Session, WorkerCrashed, command, spin
from pytest_xsched.errors import SchedulerInactive
from pytest_xsched.session.host_machine import HostMachine
from pytest_xsched.session.settings import Settings, hosts_of
from pytest_xsched.workers import host_frames
from pytest_xsched.workers.host_link import HostLink
from pytest_xsched.workers.sent_files import find_files

PROGRAM = """
import os
from pathlib import Path
from pytest_xsched.client import requests
print("pid", os.getpid(), "in", os.getcwd(), Path("data/note.txt").read_text(), flush=True)
for number in requests():
    pass
"""
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Gives a directory whose path is short."""
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def sshd(folder):
    """Starts a server of ssh with keys of its own on a port of its own; gives a launcher."""
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("sshd or ssh is not installed (Debian: openssh-server, openssh-client)")
    for name in ("host_key", "key"):
        file = str(folder / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    log = open(folder / "sshd.log", "w+b")  # noqa: SIM115 - the server writes it
    running = subprocess.Popen([server, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    options = ["-F", "none", "-i", str(folder / "key"), "-p", str(port), "-o", "BatchMode=yes"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    launcher = ["ssh", *options, "-o", "LogLevel=ERROR", "127.0.0.1"]
    try:
        for _ in range(50):
            said = subprocess.run([*launcher, "true"], capture_output=True, text=True)
            if said.returncode == 0 or running.poll() is not None:
                break
            time.sleep(0.1)
        if said.returncode != 0:
            why = (folder / "sshd.log").read_text().strip() or said.stderr.strip()
            pytest.skip(f"no ssh to this machine: {why.splitlines()[-1]}")
        yield launcher
    finally:
        running.kill()
        running.wait()
        log.close()


@pytest.fixture(scope="module")
def session(sshd):
    """A session with the host gpu7, which is this machine through ssh."""
    made = Session(Settings(device="sim", hosts={"gpu7": (*sshd, sys.executable)}))
    yield made
    made.close()


@pytest.fixture
def link(session):
    """The connection to gpu7; gives a function, because it is another one after a loss."""
    return lambda: session.machines.get("gpu7")._connected()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Find the processes that a process has started, and those that these have started."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found += [int(name), *children(int(name))]
    return found


def await_end(pids):
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if is_running(pid)]


def measured(session, host, *, policy="hpf"):
    high = session.queue("high", spin("1ms"), priority=9, rate="50/s")
    low = session.queue("low", spin("5ms", layers=4))
    return session.run(high, low, policy=policy, duration="20s", host=host)


def plain(run):
    """What a run shows, but for where it was measured."""
    run.high.assert_p99_below("20ms")
    record = run.to_dict()
    assert record.pop("host") == run.host
    del record["fingerprint"]
    # Each assertion of a session has less of its error budget than the one before.
    record["verdicts"] = [(one["status"], one["value"], one["n"]) for one in record["verdicts"]]
    return record


def test_virtual_time_passes_there_as_here(session):
    """Samples, records, evidence and verdicts are equal to the last byte, in all windows."""
    here, there = measured(session, None), measured(session, "gpu7")
    assert plain(here) == plain(there)
    assert here.measure_on() and there.measure_on() and here.windows == there.windows == 2
    assert plain(here) == plain(there)
    for name in ("high", "low"):
        np.testing.assert_array_equal(here[name].samples, there[name].samples)
    assert there.host == "gpu7" and there.to_dict()["host"] == "gpu7"
    assert there.fingerprint.kernel == os.uname().release


def test_a_comparison_has_the_same_figures_there(session):
    def compared(host):
        high = session.queue("high", spin("1ms"), priority=9, rate="20/s")
        low = session.queue("low", spin("5ms", layers=4))
        comparison = session.compare(
            high, low, schedulers=["native", "builtin"], episodes=6, duration="15s", host=host
        )
        comparison.high.assert_p99_improved(by=2)
        return comparison.to_dict()

    here, there = compared(None), compared("gpu7")
    assert here["queues"] == there["queues"]
    assert [one["status"] for one in there["verdicts"]] == ["PASS"]
    assert {run["host"] for arm in there["arms"].values() for run in arm} == {"gpu7"}


def test_live_queues_have_the_same_times_there(session):
    def played():
        with contextlib.closing(session.live()) as queues:
            first, second = queues(priority=1), queues(priority=2)
            tickets = [first.submit(spin("3ms", layers=3)), second.submit(spin("1ms"))]
            queues.sleep("2ms")
            second.suspend()
            tickets += [second.submit(spin("1ms"))]
            queues.sleep("20ms")
            assert not tickets[2].done and second.state == "suspended"
            second.resume()
            second.wait()
            shown = [ticket.latency for ticket in tickets], first.counts, queues.now
            queues.clear()
            return shown, queues.now

    here = played()
    session.machines.current = "gpu7"
    try:
        assert played() == here
    finally:
        session.machines.current = None


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Writes a program and a file that it reads, in the working directory; gives both names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note.txt").write_text("a note")
    Path("serve.py").write_text(textwrap.dedent(PROGRAM))
    return ["serve.py", "data"]


def serving(session, files, *words, duration="300ms"):
    queue = session.queue("p", command([sys.executable, *words]), rate="50/s")
    settings = {"scheduler": "native", "duration": duration, "host": "gpu7", "files": files}
    return session.run(queue, **settings)


@pytest.fixture
def on_cpu(session):
    session.read_overrides = lambda: {"device": "cpu"}
    yield session
    session.read_overrides = dict


def test_a_program_and_its_files_are_sent_and_removed(on_cpu, program, link):
    """It runs in a private directory, under the Python there, and is judged here."""
    run = serving(on_cpu, program, "serve.py")
    assert run.p.n == 15 and run.p.counts.requests_completed >= 15
    (directory,) = link().call("where")[0]
    assert Path(directory, "data", "note.txt").read_text() == "a note"
    assert directory != os.getcwd()
    Path("crash.py").write_text("import os\nprint('the reason', flush=True)\nos.abort()\n")
    with pytest.raises(WorkerCrashed) as caught:
        serving(on_cpu, ["crash.py"], "crash.py")
    assert str(caught.value).startswith(
        "host 'gpu7': the program of queue 'p' was ended by SIGABRT"
    )
    assert str(caught.value).endswith("it was ready; its last words: the reason")
    assert caught.value.returncode == -signal.SIGABRT
    found = link().call("where")[0]
    assert found[0] == directory and len(found) == 2
    on_cpu.machines.close()
    assert not any(map(os.path.exists, found))


def processes_of(link):
    """Give the process of a host and, once it has one, those that it has started."""
    pid = link.facts["pid"]
    deadline = time.monotonic() + 60
    while not (started := children(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid, *started]


def during(what):
    """Do something in a thread, and wait for its end at the end."""
    thread = threading.Thread(target=what)
    thread.start()
    return contextlib.closing(_Joined(thread))


class _Joined:
    def __init__(self, thread):
        self.close = thread.join


def test_a_cut_connection_is_one_error_and_ends_what_runs_there(on_cpu, program, link):
    seen = []

    def cut():
        seen.extend(processes_of(connection))
        connection.send_signal(signal.SIGKILL)  # the ssh on this side

    connection = link()
    with during(cut), pytest.raises(HostError) as caught:
        serving(on_cpu, program, "serve.py", duration="60s")
    assert str(caught.value).startswith("host 'gpu7' was lost while it measured: ssh ")
    assert "was ended by SIGKILL" in str(caught.value)
    assert len(seen) >= 2 and await_end(seen) == []
    assert link() is not connection  # the next run connects again


def test_ctrl_c_reaches_it(on_cpu, program, link):
    seen = []

    def interrupt():
        seen.extend(processes_of(connection))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    connection = link()
    with during(interrupt), pytest.raises(KeyboardInterrupt):
        serving(on_cpu, program, "serve.py", duration="60s")
    assert len(seen) >= 2 and await_end(seen) == []


def test_a_host_that_is_killed_is_one_error(session, link):
    connection = link()
    os.kill(connection.facts["pid"], signal.SIGKILL)
    with pytest.raises(HostError, match=r"was lost while it measured: .* exit status 255"):
        measured(session, "gpu7")
    assert measured(session, "gpu7").host == "gpu7"


# ---- without ssh


@pytest.fixture
def hosts():
    """Makes a session whose hosts have the launchers given, by name; closes it."""
    made = []

    def make(**launchers):
        lines = [f"{name} = {launcher}" for name, launcher in launchers.items()]
        made.append(Session(Settings(device="sim", hosts=hosts_of(lines))))
        return made[-1]

    yield make
    for session in made:
        session.close()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_launcher_that_is_not_there(hosts):
    session = hosts(away="/not/there python3")
    for _ in range(2):
        with pytest.raises(HostError, match="'away': /not/there cannot be started: No such file"):
            measured(session, "away")


def test_a_launcher_that_fails_is_tried_once(hosts, tmp_path):
    launcher = script(
        tmp_path / "fails", f"echo x >> {tmp_path}/tries; echo 'no route' >&2; exit 3"
    )
    session = hosts(away=launcher)
    for _ in range(2):
        with pytest.raises(HostError) as caught:
            measured(session, "away")
    assert str(caught.value) == (
        f"host 'away' was not reached: {launcher} python3 -m pytest_xsched.session.host ended "
        "with exit status 3; its last words: no route"
    )
    assert (tmp_path / "tries").read_text() == "x\n"


def test_a_python_without_the_package(hosts):
    session = hosts(bare=f"env -i {sys.executable} -I -S")
    with pytest.raises(HostError) as caught:
        measured(session, "bare")
    assert "was not reached" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"version": "0.0.1"}, "host 'old' has pytest-xsched 0.0.1, and here it is .*: both must"),
        (None, "its Python has no pytest-xsched .*; install pytest-xsched==.* there, for the Pyth"),
    ],
)
def test_another_version_is_one_sentence(hosts, tmp_path, line, sentence):
    if line is None:
        text = "echo \"/usr/bin/python3: No module named 'pytest_xsched'\" >&2; exit 1"
    else:
        hello = (host_frames.HELLO + host_frames.encode(line)).decode().strip()
        text = f"echo 'Welcome to old!'; echo '{hello}'; cat > {tmp_path}/heard"
    with pytest.raises(HostError, match=sentence):
        measured(hosts(old=script(tmp_path / "old", text)), "old")


def test_what_is_printed_there_does_not_break_the_messages(hosts, tmp_path):
    """A login prints a greeting before, and a library prints to stdout all the time."""
    site = tmp_path / "sitecustomize.py"
    site.write_text(
        "import os, sys, threading, time\nprint('Welcome!', flush=True)\n"
        "def noise():\n"
        "    while True:\n        os.write(1, b'noise\\n')\n        time.sleep(0.001)\n"
        "def later():\n    time.sleep(0.5)\n    noise()\n"
        "threading.Thread(target=later, daemon=True).start()\n"
    )
    path = f"{tmp_path}:{Path(pytest_xsched.__file__).parents[1]}"
    session = hosts(loud=f"env PYTHONPATH={path} {sys.executable}")
    here, there = measured(session, None), measured(session, "loud")
    time.sleep(0.6)
    there.measure_on()
    here.measure_on()
    assert plain(here) == plain(there)


def test_a_silent_connection_is_lost(hosts, monkeypatch):
    monkeypatch.setattr(host_frames, "LOST_S", 0.3)
    session = hosts(stopped=f"env {sys.executable}")
    link = session.machines.get("stopped")._connected()
    os.kill(link.facts["pid"], signal.SIGSTOP)
    monkeypatch.setattr("pytest_xsched.workers.host_link.END_S", 0.1)
    with pytest.raises(HostError, match=r"was lost while it measured: .* said nothing for 0\.3 s"):
        measured(session, "stopped")
    assert await_end([link.facts["pid"]]) == []


REMARKS = """
import os
from pytest_xsched.monitoring.environment import package_version
from pytest_xsched.workers.host_frames import HELLO, Decoder, encode

os.write(1, HELLO + encode({"version": package_version("pytest-xsched")}))
decoder = Decoder()
while data := os.read(0, 2**16):
    decoder.feed(data)
    while found := decoder.next():
        call = found[0].get("call", "beat")
        if call not in ("open", "beat"):
            os.write(1, encode({"run": int(os.environ["RUN"]), "remark": f"before {call}"}))
        os.write(1, encode({"answer": True}))
"""


def test_a_remark_is_heard_in_each_call(hosts, tmp_path, monkeypatch):
    """Programs that wait for a window that does not come end later, in the time of other calls."""
    monkeypatch.chdir(tmp_path)
    Path("sent").write_text("1")
    (tmp_path / "remarks.py").write_text(REMARKS)
    machine = hosts(
        gpu7=script(tmp_path / "starts", f"exec {sys.executable} {tmp_path}/remarks.py")
    ).machines.get("gpu7")
    heard = []
    run = machine.begin(10**9, find_files(["sent"]))
    run.tell = heard.append
    monkeypatch.setenv("RUN", str(run.number))
    machine._send(machine._connected(), run.files, run.digest)
    live = machine.live("sim", "hpf", None, 10**9)
    live.call("now")
    live.close()
    calls = ("files", "live", "live_call", "live_close")
    assert heard == [f"before {call}" for call in calls]


@pytest.mark.parametrize("last", [b"", b"this is no message\n"])
def test_a_host_ends_whatever_ends_its_input(last):
    """A launcher may give it a socket, whose end is an error where something was not read."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", host_frames.MODULE]
    with its, ours, subprocess.Popen(command, stdin=its, stdout=its) as host:
        its.close()
        ours.settimeout(60)
        try:
            if last:
                ours.sendall(last)
            else:
                assert ours.recv(len(host_frames.HELLO)) == host_frames.HELLO
                ours.close()
            assert host.wait(60) == 0
        finally:
            host.kill()


def test_a_session_that_waits_for_no_lock_reaches_a_host():
    launchers = {"gpu7": ("env", sys.executable)}
    session = Session(Settings(device="sim", lock_timeout_ns=0, hosts=launchers))
    with contextlib.closing(session):
        assert measured(session, "gpu7").host == "gpu7"


def test_a_fork_has_connections_of_its_own(hosts):
    session = hosts(gpu7=f"env {sys.executable}")
    pid = session.machines.get("gpu7")._connected().facts["pid"]
    child = os.fork()
    if child == 0:
        other = session.machines.get("gpu7")._connected().facts["pid"]
        os._exit(0 if other != pid else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert session.machines.get("gpu7")._connected().facts["pid"] == pid
    assert measured(session, "gpu7").host == "gpu7"


ROOT = """
set -e
root="$1"; shift
for dir in $ROOT_DIRS; do
    mkdir -p "$root$dir"
    mount --rbind "$dir" "$root$dir"
done
mkdir -p "$root/tmp" "$root/proc"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
exec chroot "$root" "$@"
"""


def test_a_root_of_its_own_with_its_own_processes(folder, hosts, monkeypatch):
    """A container without an engine: other mounts, another root, another /tmp."""
    needed = {"/usr", "/lib", "/lib64", "/bin", "/dev", sys.base_prefix, sys.prefix, *sys.path}
    needed.add(os.path.realpath(os.path.dirname(pytest_xsched.__file__)))
    dirs = sorted({os.path.realpath(one) for one in needed if os.path.isdir(one)} | needed)
    dirs = [one for one in dirs if os.path.isdir(one)]
    outer = [one for one in dirs if not any(one != o and one.startswith(f"{o}/") for o in dirs)]
    monkeypatch.setenv("ROOT_DIRS", " ".join(outer))
    start = folder / "in_root"
    start.write_text(ROOT)
    launcher = f"unshare -r -m -p -f sh {start} {folder}/root"
    tried = subprocess.run([*launcher.split(), "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no root of its own here: {tried.stderr.strip()}")
    session = hosts(box=f"{launcher} {sys.executable}")
    here, there = measured(session, None), measured(session, "box")
    assert plain(here) == plain(there)
    link = session.machines.get("box")._connected()
    assert link.facts["pid"] == 1


def test_a_gpu_that_is_not_there_skips_the_test(hosts):
    session = hosts(gpu7=f"env {sys.executable}")
    session.read_overrides = lambda: {"device": "cuda:99", "host": "gpu7"}
    with pytest.raises(pytest.skip.Exception, match=r"^no cuda:99 device: host 'gpu7': "):
        session.run(session.queue("q", spin("1ms")), duration="1s")
    with pytest.raises(pytest.skip.Exception, match=r"^no cuda:99 device: host 'gpu7': "):
        session.live()


def test_a_gpu_there_is_measured_in_a_worker_and_has_live_queues(hosts, fake_gpu):
    """The driver is the one that the environment there names."""
    session = hosts(gpu7=f"env {sys.executable}")
    session.read_overrides = lambda: {"device": fake_gpu, "host": "gpu7"}
    queue = session.queue("q", spin("1ms"), rate="50/s")
    run = session.run(queue, scheduler="native", duration="300ms")
    assert run.q.n == 15 and run.fingerprint.devices[0].kind == fake_gpu
    with contextlib.closing(session.live()) as queues:
        first = queues(priority=1)
        first.submit(spin("1ms")).wait()
        assert first.counts.completed == 1 and queues.is_elsewhere and not queues.is_virtual
        assert queues.now < "60s"


def test_an_arm_whose_xsched_is_not_there_is_refused_before_any_is_measured(
    hosts, fake_gpu, monkeypatch
):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    session = hosts(gpu7=f"env {sys.executable}")
    session.read_overrides = lambda: {"device": fake_gpu, "host": "gpu7"}
    monkeypatch.setattr(HostMachine, "measure", lambda *args, **more: pytest.fail("measured"))
    queue = session.queue("q", spin("1ms"), rate="50/s")
    with pytest.raises(SchedulerInactive, match=r"host 'gpu7': .*no XSched is named"):
        session.compare(queue, schedulers=["native", "xsched"], episodes=1, duration="300ms")


def test_files_that_cannot_be_sent(hosts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = hosts(gpu7=f"env {sys.executable}")
    queue = session.queue("q", spin("1ms"))
    Path("a").mkdir()
    Path("a/x").write_text("1")
    outside = tmp_path.parent / "x"
    outside.write_text("2")
    for files, sentence in [
        ("serve.py", r"files 'serve.py' are not a list of paths; write files=\[\"serve.py\"\]"),
        (["missing.py"], "files: there is no file 'missing.py' in "),
        ([3], "files: 3 is not a path"),
    ]:
        with pytest.raises(ScenarioError, match=sentence):
            session.run(queue, duration="1s", files=files)
    Path("x").write_text("1")
    with pytest.raises(ScenarioError, match="would both be 'x' on a host; rename one"):
        session.run(queue, duration="1s", files=["x", outside])
    with pytest.raises(ScenarioError, match=r"host: host 'gpu8' is unknown; known: gpu7, here; "):
        session.run(queue, duration="1s", host="gpu8")


def test_a_link_says_who_has_a_terminal(tmp_path):
    hello = (host_frames.HELLO + host_frames.encode({"version": "1"})).decode().strip()
    launcher = script(tmp_path / "tty", f"printf '%s\\r\\n' '{hello}'; cat > /dev/null")
    with pytest.raises(HostError, match=r"gives it a terminal, .*; leave out -t"):
        HostLink("box", [str(launcher)], timeout_s=20)


def test_nothing_is_left_where_pytest_is_killed(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from pytest_xsched import Session, spin
        from pytest_xsched.session.settings import Settings
        session = Session(Settings(device="cpu", hosts={"gpu7": ("env", sys.executable)}))
        print(session.machines.get("gpu7")._connected().facts["pid"], flush=True)
        session.run(session.queue("q", spin("1ms"), rate="50/s"), duration="60s", host="gpu7")
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=tmp_path
    ) as killed:
        assert killed.stdout is not None
        pid = int(killed.stdout.readline())
        deadline = time.monotonic() + 60
        while not (workers := children(pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.kill()
    assert workers and await_end([pid, *workers]) == []
