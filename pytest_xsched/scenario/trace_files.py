"""A load that a file of recorded requests describes: a reference to the file, and what is taken.

A scenario holds the path and the SHA-256 of the file, not its times. The file is read when the load
is made, also in the process of a worker, and must then still be the same.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import (
    MAX_NS,
    DurationLike,
    one_line,
    parse_duration,
    spell_duration,
)
from pytest_xsched.base.validation import set_integer, set_number
from pytest_xsched.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_xsched.scenario.trace_formats import Trace

UNITS = ("s", "ms", "us", "ns")
DIGITS_MIN = 8
"""The fewest digits of a SHA-256 that distinguish files."""


@dataclass(frozen=True, kw_only=True)
class TraceFile:
    """Requests as a file records them. Made by `trace_file`.

    Args:
        path: of the file, absolute.
        sha256: of the file, in hex, or its first digits; "": not known yet.
        time: column of the times; "" here and below: that of the format of the file.
        unit: of times that are numbers, one of UNITS; "": they are moments.
        tokens_in: column of the tokens of a request; "": there is none.
        tokens_out: column of the tokens of a response.
        begin_ns: when the part begins that is taken, since the first request of the file.
        duration_ns: its length; None: to the end of the file.
        offset_ns: when its first request arrives, since the start of the measured window.
        speed: how many times as fast as they were recorded.
    """

    path: str = field(compare=False)
    sha256: str = ""
    time: str = ""
    unit: str = ""
    tokens_in: str = ""
    tokens_out: str = ""
    begin_ns: int = 0
    duration_ns: int | None = None
    offset_ns: int = 0
    speed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("path", "sha256", "time", "unit", "tokens_in", "tokens_out"):
            if not isinstance(getattr(self, name), str):
                value = one_line(getattr(self, name))
                raise ScenarioError(f"trace_file: {name} {value} is not a text")
        if self.unit and self.unit not in UNITS:
            raise ScenarioError(
                f"trace_file: unit {self.unit!r} is unknown; known: {', '.join(UNITS)}"
            )
        if self.sha256 and not re.fullmatch(f"[0-9a-f]{{{DIGITS_MIN},64}}", self.sha256):
            raise ScenarioError(
                f"trace_file: sha256 {one_line(self.sha256)} is not {DIGITS_MIN} to 64 hex digits"
            )
        set_integer(self, "begin_ns", "trace_file", 0, MAX_NS)
        set_integer(self, "offset_ns", "trace_file", 0, MAX_NS)
        if self.duration_ns is not None:
            set_integer(self, "duration_ns", "trace_file", 1, MAX_NS)
        set_number(self, "speed", "trace_file", 0, 1e6)
        trace = self._trace
        if not trace.digest.startswith(self.sha256):
            raise ScenarioError(
                f"{self._what} is another file than before: its SHA-256 begins with "
                f"{trace.digest[:12]}, not {self.sha256[:12]}"
            )
        columns = trace.columns
        for name in ("time", "unit", "tokens_in", "tokens_out"):
            object.__setattr__(self, name, getattr(columns, name))
        object.__setattr__(self, "sha256", trace.digest)
        if len(self.times_ns) == 0:
            end = spell_duration(int(trace.times_ns[-1]))
            until = (
                "" if self.duration_ns is None else f" within {spell_duration(self.duration_ns)}"
            )
            raise ScenarioError(
                f"{self._what} has no request from {spell_duration(self.begin_ns)} on{until}; its "
                f"last request comes after {end}"
            )
        if self.times_ns[-1] > MAX_NS:
            raise ScenarioError(f"{self._what}: speed {self.speed} makes it longer than ten years")

    @property
    def _what(self) -> str:
        return f"trace_file: {self.path!r}"

    @property
    def rate_hz(self) -> None:
        """A trace has times, not a rate."""
        return None

    @functools.cached_property
    def _trace(self) -> Trace:
        try:
            facts = os.stat(self.path)
        except OSError:
            key = (0, 0)  # `_read` says why
        else:
            key = (facts.st_size, facts.st_mtime_ns)
        return _read(self.path, key, self.time, self.unit, self.tokens_in, self.tokens_out)

    @functools.cached_property
    def _taken(self) -> slice:
        """Which requests of the file are taken."""
        import numpy as np

        times = self._trace.times_ns
        end_ns = MAX_NS + 1 if self.duration_ns is None else self.begin_ns + self.duration_ns
        first, last = np.searchsorted(times, [self.begin_ns, end_ns]).tolist()
        return slice(first, last)

    @functools.cached_property
    def times_ns(self) -> NDArray[np.int64]:
        """When requests arrive: int64[n], ns since the start of the measured window, ascending."""
        import numpy as np

        times = self._trace.times_ns[self._taken]
        since = times - times[:1]
        if self.speed != 1:
            # More than `MAX_NS` is refused, and would not fit.
            since = np.minimum(np.rint(since / self.speed), 2 * MAX_NS).astype(np.int64)
        return np.asarray(since + self.offset_ns, np.int64)

    @property
    def length_ns(self) -> int:
        """Time until the last request, in whole seconds, ns: no request comes at its end."""
        return (int(self.times_ns[-1]) // 10**9 + 1) * 10**9

    def sizes(self) -> dict[str, NDArray[np.int64]]:
        """Return int64[n] by name, ``"tokens_in"`` and ``"tokens_out"``, as the file has them."""
        return {name: size[self._taken] for name, size in self._trace.sizes.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@functools.lru_cache(maxsize=8)
def _read(
    path: str, facts: tuple[int, int], time: str, unit: str, tokens_in: str, tokens_out: str
) -> Trace:
    from pytest_xsched.scenario.trace_formats import Columns, read_trace

    what = f"trace_file: {path!r}"
    wanted = Columns(time=time, unit=unit, tokens_in=tokens_in, tokens_out=tokens_out)
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise ScenarioError(f"{what} is not a file")
        return read_trace(Path(path), wanted, what)
    except FileNotFoundError:
        name = os.path.basename(path)
        raise ScenarioError(
            f"{what}: there is no such file; Path(__file__).with_name({name!r}) is one next to the "
            "test"
        ) from None
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise ScenarioError(f"{what} cannot be read: {why}") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{what} is not text: byte {error.start} is no UTF-8") from None


@names_the_rest
def trace_file(
    path: str | os.PathLike[str],
    *,
    begin: DurationLike = "0s",
    duration: DurationLike | None = None,
    offset: DurationLike = "0s",
    speed: float = 1.0,
    time: str = "",
    unit: str = "",
    tokens_in: str = "",
    tokens_out: str = "",
    sha256: str = "",
) -> TraceFile:
    """Send requests as a trace records them: those of Azure, BurstGPT, Mooncake or Alibaba, or own.

    The format is recognised by the columns. The first request that is taken arrives at time 0.
    Sizes of requests, in tokens, are passed to the clients. A run without a duration takes the
    length of the trace; a shorter run takes as much as fits, and says so.

    Args:
        path: of a CSV file with a header, or of JSON lines; either may be packed by gzip.
        begin: take the part from here on, since the first request of the trace...
        duration: ...and of this length; None: all that follows.
        offset: when the first request that is taken arrives.
        speed: 2 sends the requests twice as fast.
        time: column of the times, for a format of your own.
        unit: of times that are numbers: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
        tokens_in: column of the tokens in a request.
        tokens_out: column of the tokens in a response.
        sha256: of the file, or its first digits: another file of this name is then refused.

    Raises:
        ScenarioError: the file is no such trace, or no request of it is taken.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ScenarioError(f"trace_file: {one_line(path)} is not a path")
    return TraceFile(
        path=os.path.abspath(expand_path(os.fspath(path), "trace_file")),
        sha256=sha256.lower() if isinstance(sha256, str) else sha256,
        time=time,
        unit=unit,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        begin_ns=parse_duration(begin, what="begin of trace_file", allow_zero=True),
        duration_ns=None
        if duration is None
        else parse_duration(duration, what="duration of trace_file"),
        offset_ns=parse_duration(offset, what="offset of trace_file", allow_zero=True),
        speed=speed,
    )
