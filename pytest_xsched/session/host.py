"""What runs on a host: ``python -m pytest_xsched.session.host`` measures for another machine.

Its input and output carry messages (`workers.host_frames`) and nothing else: what a program or a
driver prints goes to stderr. The first line says its version. It measures as a session does here:
the clock, the locks, the noise and the drivers are those of this machine. The end of its input ends
it and what it has started.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.errors import XSchedError
from pytest_xsched.monitoring.environment import package_version
from pytest_xsched.runner.live_place import Here
from pytest_xsched.runner.stream_limits import hardware_queues
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.xsched_settings import read_xsched
from pytest_xsched.session.auto_device import auto_device
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers import host_frames
from pytest_xsched.workers.host_frames import Decoder, Message
from pytest_xsched.workers.host_link import PACKAGE
from pytest_xsched.workers.live_proxy import LiveProcess
from pytest_xsched.workers.live_worker import LiveCalls
from pytest_xsched.workers.measurement_data import ARRAYS, pack, to_arrays, to_plain
from pytest_xsched.workers.run_processes import RunProcesses
from pytest_xsched.workers.sent_files import NO_FILES, FilePart, save_part, with_python
from pytest_xsched.workers.worker import error_to_dict

_END_S = 10.0
"""Time for an orderly end; then the kernel ends the workers, which end with their parent."""
_READ_BYTES = 2**20
Parts = Sequence[bytes]


def main() -> int:
    """Answer requests until the input ends."""
    channel = _Channel(*_take_streams())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    host = _Host(channel)
    channel.say_hello()
    threading.Thread(target=channel.read, args=(host.end_now,), daemon=True).start()
    threading.Thread(target=channel.beat, daemon=True).start()
    try:
        for request, parts in channel.requests():
            with channel.working():
                host.answer(request, parts)
    except KeyboardInterrupt:  # the input has ended
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        host.close()
    return 0


def _take_streams() -> tuple[int, int]:
    """Return new numbers of stdin and stdout; who prints from now on prints to stderr."""
    fd_in, fd_out = os.dup(0), os.dup(1)  # which no child inherits
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return fd_in, fd_out


class _Channel:
    """The messages from and to the other machine."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        self._in, self._out = fd_in, fd_out
        self._turn = threading.Lock()
        """Held while a message is written."""
        self._requests: queue.Queue[tuple[Message, list[bytes]] | None] = queue.Queue()
        self._is_working = False

    def say_hello(self) -> None:
        """Write the first line."""
        facts = {
            "version": package_version(PACKAGE),
            "auto_device": auto_device(),
            "hardware_queues": hardware_queues(os.environ),
            "pid": os.getpid(),
        }
        self._write(host_frames.HELLO + host_frames.encode(facts))

    def send(self, message: Message, parts: Parts = ()) -> None:
        """Send a message."""
        self._write(host_frames.encode(message, parts))

    def requests(self) -> Iterator[tuple[Message, list[bytes]]]:
        """Yield requests until the input ends."""
        while (found := self._requests.get()) is not None:
            yield found

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Mark the time in which the end of the input interrupts the main thread."""
        self._is_working = True
        try:
            yield
        finally:
            self._is_working = False

    def read(self, end_now: Callable[[], None]) -> None:
        """Read messages in a thread, until the other machine has closed its end or is lost.

        Args:
            end_now: called if the main thread does not end in time.
        """
        with contextlib.suppress(OSError, ValueError):  # a reset socket, or no message: the end too
            self._read_requests()
        self._requests.put(None)
        main = threading.main_thread()
        if self._is_working and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGINT)
        time.sleep(_END_S)
        end_now()

    def _read_requests(self) -> None:
        decoder = Decoder()
        while select.select([self._in], [], [], host_frames.LOST_S)[0]:
            data = os.read(self._in, _READ_BYTES)
            if not data:
                break
            decoder.feed(data)
            while (found := decoder.next()) is not None:
                if "call" in found[0]:
                    self._requests.put(found)

    def beat(self) -> None:
        """Show the other machine, in a thread, that this process is there while it works."""
        while True:
            time.sleep(host_frames.BEAT_S)
            if self._is_working:
                self.send({"beat": 1})

    def _write(self, data: bytes) -> None:
        with self._turn:
            view = memoryview(data)
            # The other machine may be gone; `read` notices.
            with contextlib.suppress(BrokenPipeError):
                while view:
                    view = view[os.write(self._out, view) :]


class _Host:
    """The functions that the other machine calls, by name."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._pool = DevicePool(Settings())
        self._python = ""
        self._runs: dict[int, RunProcesses] = {}
        self._lives: dict[int, LiveProcess | LiveCalls] = {}
        self._directories: dict[str, TemporaryDirectory] = {}
        self._functions: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "files": self._files,
            "require_installed": self._require_installed,
            "measure": self._measure,
            "record": self._record,
            "live": self._live,
            "live_call": self._live_call,
            "live_close": self._live_close,
            "keep_processes": self._keep_processes,
            "finish": self._finish,
            "where": lambda: ([one.name for one in self._directories.values()], ()),
        }

    def answer(self, request: Message, parts: Parts) -> None:
        """Execute a request, and send what comes of it."""
        more = {"parts": parts} if parts else {}
        try:
            answer, parts = self._functions[request["call"]](**request["values"], **more)
        except XSchedError as error:
            self._channel.send({"error": error_to_dict(error)})
        except Exception:  # a fault of ours, which the other side shows
            self._channel.send({"failed": traceback.format_exc()})
        else:
            self._channel.send({"answer": answer}, parts)

    def close(self) -> None:
        """End everything that was started, and remove everything that was sent."""
        try:
            self._pool.close()
        finally:
            self.remove_files()

    def remove_files(self) -> None:
        """Remove everything that was sent."""
        os.chdir("/")
        for directory in self._directories.values():
            directory.cleanup()

    def end_now(self) -> None:
        """End the process; the kernel ends its workers."""
        self.remove_files()
        os._exit(1)

    def _finish(self) -> tuple[Any, Parts]:
        """End the processes of the last run, which may have something to remark."""
        self._pool.close()
        return None, ()

    def _open(self, python: str, noise: str, lock_timeout_ns: int) -> tuple[Any, Parts]:
        """Take in the settings of the session; `python` is the Python of its machine."""
        self._python = python
        # All but sim in a worker: what the threads of this process do disturbs no measurement.
        self._pool = DevicePool(
            Settings(process="host", noise=noise, lock_timeout_ns=lock_timeout_ns)
        )
        return None, ()

    def _keep_processes(self, outlive: bool) -> tuple[Any, Parts]:
        self._pool.keep_processes(outlive)
        return None, ()

    def _files(self, digest: str, of: Sequence[FilePart], parts: Parts = ()) -> tuple[Any, Parts]:
        """Save parts of files in a private directory."""
        if digest not in self._directories:
            self._directories[digest] = TemporaryDirectory()
        directory = Path(self._directories[digest].name)
        for part, content in zip(of, parts, strict=True):
            save_part(directory, part, content)
        return None, ()

    @contextlib.contextmanager
    def _at(self, digest: str) -> Iterator[None]:
        """Work in the directory of some files, where Python finds modules too."""
        if not digest:
            yield
            return
        directory, before = self._directories[digest].name, os.getcwd()
        os.chdir(directory)
        sys.path.insert(0, directory)
        try:
            yield
        finally:
            sys.path.remove(directory)
            os.chdir(before)

    def _require_installed(self, scenario: Message) -> tuple[Any, Parts]:
        self._pool.require_installed(Scenario.from_dict(scenario))
        return None, ()

    def _measure(
        self,
        run: int,
        duration_ns: int,
        scenario: Message,
        files: str,
        record: bool,
        progress: bool,
    ) -> tuple[Any, Parts]:
        if run not in self._runs:
            self._runs[run] = RunProcesses(duration_ns)
            self._runs[run].tell = lambda remark: self._channel.send({"run": run, "remark": remark})

        def show(elapsed_ns: int, total_ns: int) -> None:
            if progress:
                self._channel.send({"elapsed_ns": elapsed_ns, "total_ns": total_ns})

        with self._at(files):
            measurement = self._pool.measure(
                with_python(Scenario.from_dict(scenario), self._python),
                show,
                self._runs[run],
                waiting=lambda phrase: self._channel.send({"waiting": phrase}),
                record=record,
            )
        arrays = to_arrays(measurement)
        return to_plain(measurement), [pack(arrays[name]) for name in ARRAYS]

    def _record(self, model: str, device: str, files: str) -> tuple[Any, Parts]:
        with self._at(files):
            return self._pool.record_profile(Model.from_json(model), device, NO_FILES).to_dict(), ()

    def _live(
        self, number: int, device: str, policy: str, xsched: Message | None, patience_ns: int
    ) -> tuple[Any, Parts]:
        place = self._pool.live(device, policy, read_xsched(xsched), patience_ns)
        if isinstance(place, Here):
            self._lives[number] = LiveCalls(place.device, policy, xsched=None)
        else:
            assert isinstance(place, LiveProcess)
            self._lives[number] = place
        return place.is_virtual, ()

    def _live_call(
        self, number: int, call: str, of: str, allowed_ns: int, values: Message
    ) -> tuple[Any, Parts]:
        live = self._lives[number]
        if isinstance(live, LiveProcess):
            return live.call(call, of, allowed_ns=allowed_ns, **values), ()
        return getattr(live, call)(**values), ()

    def _live_close(self, number: int) -> tuple[Any, Parts]:
        live = self._lives.pop(number)
        if isinstance(live, LiveProcess):
            live.close()
        else:
            live.close_device()
        return None, ()


if __name__ == "__main__":
    sys.exit(main())
