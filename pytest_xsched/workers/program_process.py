"""A program of the user as a party of a run: started, told when to begin, read, ended.

It has the methods of `child.Worker`, by which `separate` accompanies both. What it says is in the
docstring of `requests`; where it says nothing, only its processes can be looked at.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import GPUS
from pytest_xsched.client import ARRIVALS, REPORT, START, THINK_NS
from pytest_xsched.errors import WorkerCrashed
from pytest_xsched.monitoring.environment import MappedLibrary, mapped_libraries
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system import exec_with_parent
from pytest_xsched.system.process_group import await_end, has_ended, kill_group, signal_group
from pytest_xsched.workers.program_samples import Share, counts_of, make_samples
from pytest_xsched.workers.worker import LEFT, READY
from pytest_xsched.workers.worker_process import OUTPUT_BYTES, how_it_ended, last_words
from pytest_xsched.xsched.preload import Seen, Setting, drivers_of, look, require_active
from pytest_xsched.xsched.server_poll import Cover, Looks

_PATIENCE_S = 1.0
"""Between the polite word to a program and the other one."""


class Party:
    """One program, from its start to its end.

    Args:
        directory: for its output and its arrivals.
        scenario: of the run.
        index: of its queue.
        setting: how XSched is under it; None: it is not.
        allowed_s: until it is to be ready.
    """

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        index: int,
        *,
        setting: Setting | None,
        allowed_s: float,
    ) -> None:
        self.scenario = scenario
        self.spec = scenario.queues[index]
        program = self.spec.workload.program
        assert program is not None
        self._program = program
        self._setting = setting
        self._output_path = directory / "output.txt"
        self._in_time = True
        self._dismissed = False
        self._start_ns: int | None = None
        self._told = b""
        self._begun_ns: list[int] = []
        self._ended_ns: list[int] = []
        self._seen: dict[int, Seen] = {}
        self._arrivals_ns = _arrivals(scenario, index)
        self.said: set[str] = set()
        self.allowed_s = allowed_s
        self.allow(allowed_s)
        self._report_fd, theirs = os.pipe()
        their_start, self._start_fd = os.pipe()
        try:
            variables = self._variables(directory, theirs, their_start)
            inherited = dict(os.environ) if setting is None else _without(setting)
            with open(self._output_path, "wb") as output:
                self._process = subprocess.Popen(
                    exec_with_parent.command_line(list(program.argv), variables),
                    env=inherited,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(theirs, their_start),
                    start_new_session=True,  # and so its processes can be found, and ended
                )
        except BaseException:
            os.close(self._report_fd)
            os.close(self._start_fd)
            raise
        finally:
            os.close(theirs)
            os.close(their_start)

    def _variables(self, directory: Path, report_fd: int, start_fd: int) -> dict[str, str]:
        variables = dict(self._program.env) if self._setting is None else self._setting.variables
        if not self._program.reports:
            return dict(variables)
        protocol = {REPORT: str(report_fd), START: str(start_fd)}
        if self._arrivals_ns is not None:
            path = directory / "arrivals.txt"
            np.savetxt(path, self._arrivals_ns, fmt="%d")
            protocol[ARRIVALS] = str(path)
        elif isinstance(self.spec.arrivals, Closed):
            protocol[THINK_NS] = str(self.spec.arrivals.think_ns)
        return {**variables, **protocol}

    # ---- what `separate` calls

    def allow(self, more_s: float) -> None:
        """Let its time begin anew."""
        self._deadline_s = time.monotonic() + more_s

    def works(self) -> bool:
        """Whether it has not ended; if it has, all that it said was read."""
        if not has_ended(self._process):
            return True
        while select.select([self._report_fd], [], [], 0)[0] and self._read():
            pass
        self._see_whether_done()
        return False

    def is_late(self) -> bool:
        """Whether its time is over."""
        self._in_time = time.monotonic() <= self._deadline_s
        return not self._in_time

    def listen(self, timeout_s: float) -> None:
        """Take in what it says, or wait."""
        if select.select([self._report_fd], [], [], timeout_s)[0] and not self._read():
            time.sleep(timeout_s)  # closed on purpose or by its end
        if not self._program.reports and READY not in self.said and self._has_begun():
            self.said.add(READY)
        self._see_whether_done()

    def start(self, start_clock_ns: int) -> None:
        """Tell it the moment of the start."""
        self._start_ns = start_clock_ns
        self.allow(self.allowed_s)
        end_ns = start_clock_ns + self.scenario.warmup_ns + self.scenario.duration_ns
        with contextlib.suppress(BrokenPipeError):
            os.write(self._start_fd, f"{start_clock_ns} {end_ns}\n".encode())

    def dismiss(self) -> None:
        """Say that nothing is to come: it may end, and is to if it has not done all."""
        if self._dismissed:
            return
        self._dismissed = True
        self._look()
        os.close(self._start_fd)
        if not self._is_done():
            signal_group(self._process, signal.SIGTERM)

    def end(self) -> None:
        """See to it that its processes are gone."""
        self.dismiss()
        if not await_end(self._process, _PATIENCE_S):
            self._in_time = False
        kill_group(self._process)
        if self._report_fd >= 0:
            os.close(self._report_fd)
            self._report_fd = -1

    def share(self, created: str | None, looks: Looks | None = None) -> Share:
        """Give what it contributed, when it has ended.

        Args:
            created: where XSched tells of XQueues, but in its own output.
            looks: at XSched's server, while it ran; None: there is none.

        Raises:
            SchedulerInactive: XSched was to be under it and was not.
            WorkerCrashed: it ended before the run did.
        """
        output = self._output()
        if LEFT in self.said or "cannot be preloaded" in output:
            self._require_active(output, created)
        self._require_whole(output)
        samples = self._samples()
        return Share(
            counts=counts_of(self.spec.priority, samples),
            samples=samples,
            remark=self._remark(output),
            output=output,
            libraries=self._libraries(),
            cover=None if looks is None or self._setting is None else self._cover(looks),
        )

    def is_absent(self, on_gpu: Collection[int]) -> bool:
        """Tell whether none of its processes is among those of the run on a GPU; see `noise`."""
        return bool(on_gpu) and self._process.pid not in on_gpu

    # ---- inside

    def _require_active(self, output: str, created: str | None) -> None:
        xsched = self.scenario.xsched
        if self._setting is None or xsched is None:
            return
        said = {"global": created, "local": output, "app": None}[xsched.scheduler]
        seen = list(self._seen.values())
        kind = self.scenario.device_kind
        require_active(self._setting, kind, self.spec.name, output, seen, said)

    def _require_whole(self, output: str) -> None:
        if LEFT in self.said:
            return
        status = self._process.returncode
        when = "before the run did" if READY in self.said else "before it was ready"
        how = f"{how_it_ended(status)} {when}"
        if not self._in_time:
            silent = ", which it says by its first request" if self._program.reports else ""
            how = f"was not ready in time{silent}"
        raise WorkerCrashed(
            f"the program of queue {self.spec.name!r} {how}{last_words(output)}", returncode=status
        )

    def _cover(self, looks: Looks) -> Cover:
        assert self._start_ns is not None
        start, end = (self._start_ns + at for at in self._window_ns)
        requests = None
        if self._program.reports:
            begun = np.asarray(self._begun_ns, np.int64)
            ended = np.full_like(begun, end)  # of one that goes on
            ended[: len(self._ended_ns)] = self._ended_ns[: len(begun)]
            requests = np.column_stack((begun, ended))
        return looks.of(self._process.pid, (start, end), requests)

    def _remark(self, output: str) -> str:
        status = self._process.returncode
        if not self._is_done() or (status == 0 and self._in_time):
            return ""
        how = how_it_ended(status) if self._in_time else "did not end and was killed"
        return (
            f"the program of queue {self.spec.name!r} {how}, after its last request"
            f"{last_words(output)}"
        )

    def _read(self) -> bool:
        news = os.read(self._report_fd, 65536)
        *lines, self._told = (self._told + news).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self.said.add(READY)
                self._look()
            elif word == "begin" and rest.isdecimal():
                self._begun_ns.append(int(rest))
            elif word == "end" and rest.isdecimal():
                self._ended_ns.append(int(rest))
            elif word == "done":
                self.said.add("done")
        return bool(news)

    def _has_begun(self) -> bool:
        """Tell whether a program that says nothing has opened its device, where it needs one."""
        kind = self.scenario.device_kind
        if kind not in GPUS:
            return True
        self._look()
        return any(drivers_of(seen, kind) for seen in self._seen.values())

    def _look(self) -> None:
        if not has_ended(self._process):
            self._seen |= {seen.pid: seen for seen in look(self._process.pid)}

    def _libraries(self) -> tuple[MappedLibrary, ...]:
        paths = {path for seen in self._seen.values() for path in seen.files}
        mapped = mapped_libraries("\n".join(f"0 r 0 0 0 {path}" for path in sorted(paths)))
        return tuple(MappedLibrary(path=path, bytes=_size(path)) for path in mapped)

    def _is_done(self) -> bool:
        all_ended = self._arrivals_ns is not None and len(self._ended_ns) == len(self._arrivals_ns)
        return "done" in self.said or all_ended

    def _see_whether_done(self) -> None:
        if self._start_ns is None or LEFT in self.said:
            return
        now_ns = time.monotonic_ns() - self._start_ns
        window_ns = self.scenario.warmup_ns + self.scenario.duration_ns
        over_ns = window_ns + (self.scenario.drain_ns if self._program.reports else 0)
        if self._is_done() or now_ns >= over_ns:
            self._look()
            self.said.add(LEFT)

    def _output(self) -> str:
        with open(self._output_path, "rb") as file:
            file.seek(max(0, os.path.getsize(file.name) - OUTPUT_BYTES))
            return file.read().decode(errors="replace")

    def _samples(self) -> NDArray[np.void]:
        assert self._start_ns is not None
        begun = np.asarray(self._begun_ns, np.int64) - self._start_ns
        ended = np.asarray(self._ended_ns[: len(begun)], np.int64) - self._start_ns
        scheduled = begun if self._arrivals_ns is None else self._arrivals_ns
        return make_samples(
            scheduled, begun, ended, window_ns=self._window_ns, over_ns=self._over_ns
        )

    @property
    def _window_ns(self) -> tuple[int, int]:
        return self.scenario.warmup_ns, self.scenario.warmup_ns + self.scenario.duration_ns

    @property
    def _over_ns(self) -> int:
        return self._window_ns[1] + self.scenario.drain_ns


def _arrivals(scenario: Scenario, index: int) -> NDArray[np.int64] | None:
    spec = scenario.queues[index]
    if isinstance(spec.arrivals, Closed):
        return None
    return arrival_times(
        spec.arrivals,
        warmup_ns=scenario.warmup_ns,
        duration_ns=scenario.duration_ns,
        seed=scenario.seed,
        name=spec.name,
    )


def _without(setting: Setting) -> dict[str, str]:
    """Give what the program inherits: its environment without what the leash sets."""
    return {k: v for k, v in setting.environment.items() if k not in setting.variables}


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
