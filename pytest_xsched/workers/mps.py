"""Run NVIDIA's MPS control daemon for the time of a run, and ask it for its clients.

Clients find a daemon by the directory of its pipe, so one in a directory of its own touches no
other. Still it is not started where another one runs: clients of both would share the GPU, and no
figure would be that of MPS. `mps_keeper` ends the daemon, also where this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from pytest_xsched.base.constants import visible_devices
from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.base.terminal_text import printable
from pytest_xsched.errors import SchedulerInactive
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.system import mps_keeper
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.system.process_tree import kill_marked
from pytest_xsched.workers.worker_process import last_words

PIPE, LOG = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
FAMILY = "CUDA_MPS_"
"""How the variables begin that a client or the daemon reads."""
DEFAULT_PIPE = "/tmp/nvidia-mps"
NO_DAEMON = "/proc/no-mps"
"""A directory that is not there and cannot be made: without a daemon there, MPS is not used."""
CONTROL = "nvidia-cuda-mps-control"
MARK = "PYTEST_XSCHED_MPS"
"""A variable of the daemon and its servers, by which other sessions know it as one of a run."""

_FOLDERS = ("/usr/bin", "/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/opt/bin")
_PATH_MAX = 80
"""Length of a directory with room for the name of a socket: the kernel takes 107 characters."""
_START_S = mps_keeper.START_S + 2.0
_STOP_S = 3 * mps_keeper.QUIT_S + 2.0
_ANSWER_S = 5.0
_POLL_S = 0.05
_SAID_BYTES = 2**20
_ID = re.compile(r"^\s*(\d+)\b", re.MULTILINE)


class MpsDaemon:
    """A running control daemon.

    Attributes:
        program: path of nvidia-cuda-mps-control, which asks the daemon.
        pipe: directory by which clients find the daemon.
        settings: of the clients.
    """

    def __init__(self, program: str, pipe: str, settings: MPS, keeper: _Keeper | None) -> None:
        self.program = program
        self.pipe = pipe
        self.settings = settings
        self._keeper = keeper

    def variables(self, queue: str | None) -> dict[str, str]:
        """Return the environment variables of the client with a queue; None: with none."""
        return {PIPE: self.pipe, **self.settings.variables(queue)}

    def clients(self) -> dict[int, frozenset[int]]:
        """Return the processes that are clients, by the server that they have.

        Raises:
            SchedulerInactive: the daemon has ended, or does not answer.
        """
        servers = _ID.findall(self._ask("get_server_list"))
        return {
            int(server): frozenset(map(int, _ID.findall(self._ask(f"get_client_list {server}"))))
            for server in servers
        }

    def require_alive(self) -> None:
        """Raise SchedulerInactive if the daemon has ended."""
        if self._keeper is not None and self._keeper.has_ended():
            raise SchedulerInactive(f"scheduler inactive: {self._keeper.end_sentence()}")

    def _ask(self, request: str) -> str:
        self.require_alive()
        try:
            answer = subprocess.run(
                [self.program],
                input=f"{request}\n",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ANSWER_S,
                env={**os.environ, PIPE: self.pipe},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SchedulerInactive(
                f"scheduler inactive: MPS: {self.program} does not answer {request!r}: {error}"
            ) from None
        if answer.returncode != 0:
            raise SchedulerInactive(
                f"scheduler inactive: MPS: no control daemon answers at {PIPE}={self.pipe}"
                f"{last_words(answer.stdout + answer.stderr)}"
            )
        return answer.stdout


class _Keeper(ManagedProcess):
    """The process that keeps the daemon; see `mps_keeper`."""

    def __init__(self, output: IO[bytes]) -> None:
        super().__init__(_START_S)
        self.is_ready = False
        self._output = output

    def receive(self, messages: Sequence[str]) -> None:
        """Note that the daemon runs."""
        self.is_ready = self.is_ready or "ready" in messages

    def end_sentence(self) -> str:
        """Return how it ended, after it has."""
        self.stop(0)
        said = os.pread(self._output.fileno(), _SAID_BYTES, 0).decode(errors="replace")
        how = describe_exit(self.exit_status)
        return f"{CONTROL} -d {how}{last_words(printable(said))}"


@contextlib.contextmanager
def mps_daemon(settings: MPS, device: str = "cuda") -> Iterator[MpsDaemon]:
    """Run a control daemon for the time of a `with`, or use the one that runs.

    Args:
        settings: of the clients, and whose daemon they have.
        device: of the clients.

    Raises:
        SchedulerInactive: the program is missing, another daemon runs, or this one does not start
            or answer.
    """
    program = require_mps(settings)
    if settings.daemon == "running":
        yield _running(program, settings)
        return
    with (
        TemporaryDirectory(parent=_short_folder()) as directory,
        tempfile.TemporaryFile() as output,
    ):
        mark = f"{MARK}={directory}"
        keeper = _Keeper(output)
        try:
            keeper.start(
                mps_keeper.command_line(program, directory, keeper.messages_fd),
                environment=_environment(directory, device),
                output=output,
                inherits=(keeper.messages_fd,),
                has_stdin=True,
            )
            keeper.listen_until(_POLL_S, lambda: keeper.is_ready)
            daemon = MpsDaemon(program, directory, settings, keeper)
            daemon.require_alive()
            if not keeper.is_ready:
                raise SchedulerInactive(
                    f"scheduler inactive: {CONTROL} -d did not start within {_START_S:g} s"
                )
            yield daemon
        finally:
            keeper.stop(_STOP_S)
            kill_marked(mark)


def require_mps(settings: MPS) -> str:
    """Return the path of the program that starts and asks the daemon, if MPS can be used.

    Args:
        settings: whose daemon the clients have.

    Raises:
        SchedulerInactive: the program is missing, another daemon runs, or the one that is to be
            shared does not answer.
    """
    program = find_control()
    if settings.daemon == "running":
        _running(program, settings).clients()
    elif others := running_daemons():
        names = ", ".join(map(str, others))
        raise SchedulerInactive(
            f"scheduler inactive: an MPS control daemon runs already, process {names}; end it "
            f'(echo quit | {CONTROL}), or share it: MPS(daemon="running")'
        )
    return program


def _running(program: str, settings: MPS) -> MpsDaemon:
    """Return the daemon that runs already."""
    return MpsDaemon(program, os.environ.get(PIPE) or DEFAULT_PIPE, settings, None)


def find_control() -> str:
    """Return the path of the program that starts and asks the daemon.

    Raises:
        SchedulerInactive: it is not installed.
    """
    beside = os.path.dirname(os.path.realpath(shutil.which("nvidia-smi") or ""))
    folders = [*filter(None, [beside]), *_FOLDERS]
    path = shutil.which(CONTROL) or shutil.which(CONTROL, path=os.pathsep.join(folders))
    if path is None:
        raise SchedulerInactive(
            f"scheduler inactive: MPS needs {CONTROL}, which is neither on PATH nor in "
            f"{', '.join(folders)}; it comes with NVIDIA's driver (package nvidia-compute-utils)"
        )
    return os.path.abspath(path)


def running_daemons(proc: Path = Path("/proc")) -> list[int]:
    """Return the ids of control daemons that are not of a run of pytest-xsched."""
    found = []
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # Asked again at the end: a daemon that has ended meanwhile has no environment.
            if _is_daemon(directory) and not _is_marked(directory) and _is_daemon(directory):
                found.append(int(directory.name))
    return sorted(found)


def _is_daemon(directory: Path) -> bool:
    words = (directory / "cmdline").read_bytes().split(b"\0")
    names = {os.path.basename(word) for word in words[:2]}
    return CONTROL.encode() in names and bool({b"-d", b"-f"} & set(words))


def _is_marked(directory: Path) -> bool:
    """Return whether a run of pytest-xsched started a process, as far as this user may see it."""
    try:
        environment = (directory / "environ").read_bytes()
    except PermissionError:
        return False
    return b"\0" + MARK.encode() + b"=" in b"\0" + environment


def without_mps(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables of MPS."""
    return {name: value for name, value in environment.items() if not name.startswith(FAMILY)}


def _environment(directory: str, device: str = "cuda") -> dict[str, str]:
    """Return the environment of the daemon.

    Its servers number the GPUs that they see, and clients number those. So the daemon sees all, and
    clients choose; only where the user names GPUs by UUID both see the same ones.
    """
    environment = without_mps(os.environ)
    visible = environment.pop("CUDA_VISIBLE_DEVICES", "")
    if visible and all(name.strip().startswith(("GPU-", "MIG-")) for name in visible.split(",")):
        environment["CUDA_VISIBLE_DEVICES"] = visible
    environment |= visible_devices(device)
    return {**environment, PIPE: directory, LOG: directory, MARK: directory}


def _short_folder() -> str | None:
    """Return where the directory lies: the system's for such, unless that name is too long."""
    return "/tmp" if len(tempfile.gettempdir()) > _PATH_MAX - 40 else None
