"""Files of recorded requests: which format they have, and their times and sizes as arrays.

The public traces that are known by their columns:

- Azure LLM inference 2023, 2024 and 2025 (github.com/Azure/AzurePublicDataset): CSV, TIMESTAMP as a
  date and a time of day, with or without digits after the second and a time zone, ContextTokens,
  GeneratedTokens.
- BurstGPT (github.com/HPMLL/BurstGPT): CSV, Timestamp in seconds, Request tokens, Response tokens.
- Mooncake (github.com/kvcache-ai/Mooncake): JSON lines, timestamp in milliseconds, input_length,
  output_length.
- Alibaba's Qwen-Bailian (github.com/alibaba-edu/qwen-bailian-usagetraces-anon): JSON lines with
  chat_id, timestamp in seconds, input_length, output_length.
- Alibaba's GenAI serving trace (github.com/alibaba/clusterdata, v2026-GenAI): CSV, gmt_create.

A file is read in parts, by numpy, without an object of Python a field.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.time_arrays import nearest_ns
from pytest_xsched.base.units import MAX_NS, one_line
from pytest_xsched.errors import ScenarioError

UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_ROWS = 500_000  # of a part: 100 MB
_CHARACTERS = 64_000_000
_TEXT = "U40"
_TOKENS_MAX = 2**53
_FLOAT_NS = 2**50
"""Beyond it a float is not known to a quarter of a nanosecond."""
_ZONE = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$")

_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a trace that are read.

    Attributes:
        time: when a request arrived.
        unit: of a time that is a number, one of UNITS_NS; "": it is a date and a time of day.
        tokens_in: count of tokens of the request; "": there is no such column.
        tokens_out: of the response.
    """

    time: str
    unit: str
    tokens_in: str = ""
    tokens_out: str = ""

    @property
    def names(self) -> list[str]:
        """The columns that there are, the time first."""
        return [name for name in (self.time, self.tokens_in, self.tokens_out) if name]


_FORMATS = (
    (
        {"TIMESTAMP", "ContextTokens"},
        Columns(time="TIMESTAMP", unit="", tokens_in="ContextTokens", tokens_out="GeneratedTokens"),
    ),
    (
        {"Timestamp", "Request tokens"},
        Columns(
            time="Timestamp", unit="s", tokens_in="Request tokens", tokens_out="Response tokens"
        ),
    ),
    (
        {"timestamp", "input_length", "chat_id"},
        Columns(time="timestamp", unit="s", tokens_in="input_length", tokens_out="output_length"),
    ),
    (
        {"timestamp", "input_length"},
        Columns(time="timestamp", unit="ms", tokens_in="input_length", tokens_out="output_length"),
    ),
    ({"gmt_create", "predict_type"}, Columns(time="gmt_create", unit="")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The requests of a file, in order of time.

    Attributes:
        digest: SHA-256 of the file, in hex.
        columns: that were read.
        times_ns: int64[n], since the first request.
        sizes: int64[n] by name: "tokens_in" and "tokens_out", as far as the file has them.
    """

    digest: str
    columns: Columns
    times_ns: _Numbers
    sizes: dict[str, _Numbers]


def read_trace(path: Path, wanted: Columns, what: str) -> Trace:
    """Read a trace.

    Args:
        path: of a CSV file or one of JSON lines, may be packed by gzip.
        wanted: columns that the user named; "" in it: those of the format of the file.
        what: the file, for messages.

    Raises:
        ScenarioError: the file is no trace, lacks a column, or holds what is no time or no size.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        digest = (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file)
        )
    with _opened(path) as stream:
        blank, first = 0, stream.readline()
        while first and not first.strip():
            blank, first = blank + 1, stream.readline()
        reader: _CsvReader | _JsonReader
        if first.lstrip().startswith("{"):
            reader = _JsonReader(stream, first, wanted, what, blank)
        else:
            reader = _CsvReader(stream, first, wanted, what, blank)
        parts = list(reader.parts())
    if not parts:
        raise ScenarioError(f"{what} holds no request")
    times = np.concatenate([part[0] for part in parts])
    sizes = [np.concatenate([part[i] for part in parts]) for i in range(1, len(parts[0]))]
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, sizes = times[order], [size[order] for size in sizes]
    times -= times[0]
    if times[-1] > MAX_NS:
        raise ScenarioError(f"{what} takes longer than ten years")
    names = [
        name
        for name, column in (
            ("tokens_in", reader.columns.tokens_in),
            ("tokens_out", reader.columns.tokens_out),
        )
        if column
    ]
    return Trace(
        digest=digest,
        columns=reader.columns,
        times_ns=times,
        sizes=dict(zip(names, sizes, strict=True)),
    )


def _digest(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def _opened(path: Path) -> IO[str]:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    binary: Any = gzip.open(path, "rb") if packed else open(path, "rb")  # noqa: SIM115
    return io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")


def _chosen(wanted: Columns, known: Sequence[str], what: str) -> Columns:
    """Return the columns to read: those that the user named, else those of the format."""
    own = next((columns for need, columns in _FORMATS if need <= set(known)), None)
    shown = ", ".join(map(repr, known[:12])) + (", ..." if len(known) > 12 else "")
    if own is None and not wanted.time:
        raise ScenarioError(
            f"{what} has the columns {shown}, which are those of no known trace; name them: "
            'time="...", unit="ms", tokens_in="...", tokens_out="..."'
        )
    time = wanted.time or (own.time if own else "")
    unit = wanted.unit or (own.unit if own and time == own.time else "")
    made = Columns(
        time=time,
        unit=unit,
        tokens_in=wanted.tokens_in or (own.tokens_in if own else ""),
        tokens_out=wanted.tokens_out or (own.tokens_out if own else ""),
    )
    for name in made.names:
        if name not in known:
            raise ScenarioError(f"{what} has no column {name!r}; it has {shown}")
    return made


class _CsvReader:
    """Reads the columns of a CSV file with a header."""

    def __init__(
        self, stream: IO[str], header: str, wanted: Columns, what: str, blank: int
    ) -> None:
        self._done = blank + 1  # lines
        self._stream = stream
        self._what = what
        self._delimiter = max(",\t;", key=header.count)
        found = next(csv.reader([header], delimiter=self._delimiter), [])
        known = [name.strip() for name in found]
        if not any(known):
            raise ScenarioError(f"{what} has no header that names columns")
        self.columns = _chosen(wanted, known, what)
        self._indices = [known.index(name) for name in self.columns.names]

    def parts(self) -> Iterator[list[_Numbers]]:
        done = self._done
        while True:
            lines = list(itertools.islice(self._stream, _ROWS))
            if not lines:
                return
            fields = self._fields(lines, done)
            if len(fields[0]):
                line_of = functools.partial(_line, lines, done)
                yield _converted(fields, self.columns, self._what, line_of)
            done += len(lines)

    def _fields(self, lines: list[str], done: int) -> list[NDArray[Any]]:
        """Return the columns: the time as texts, sizes as numbers, or as texts if one is none."""
        for kind in ("f8", _TEXT):
            kinds = [_TEXT, *[kind] * (len(self._indices) - 1)]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # "input contained no data"
                    table = np.loadtxt(
                        lines,
                        dtype=[(str(i), one) for i, one in enumerate(kinds)],
                        comments=None,
                        delimiter=self._delimiter,
                        quotechar='"',
                        usecols=self._indices,
                        ndmin=1,
                    )
            except ValueError:
                continue
            return [np.ascontiguousarray(table[str(i)]) for i in range(len(self._indices))]
        raise ScenarioError(self._ragged(lines, done))

    def _ragged(self, lines: list[str], done: int) -> str:
        most = max(self._indices)
        for index, line in enumerate(lines):
            row = next(csv.reader([line], delimiter=self._delimiter), [])
            if row and len(row) <= most:
                return (
                    f"{self._what}: line {done + index + 1} has {len(row)} fields, not {most + 1}"
                )
        return f"{self._what} is no CSV file"


class _JsonReader:
    """Reads the fields of JSON lines."""

    def __init__(self, stream: IO[str], first: str, wanted: Columns, what: str, blank: int) -> None:
        self._done = blank  # lines
        self._stream = stream
        self._first = first
        self._what = what
        try:
            data = json.loads(first)
        except ValueError as error:
            raise ScenarioError(f"{what}: line {blank + 1} is not JSON: {error}") from None
        self.columns = _chosen(wanted, list(data), what)
        self._patterns = [
            re.compile(rf'"{re.escape(name)}"\s*:\s*("[^"\n]*"|-?[0-9][0-9.eE+-]*)\s*[,}}]')
            for name in self.columns.names
        ]

    def parts(self) -> Iterator[list[_Numbers]]:
        done, ahead = self._done, self._first
        while text := ahead + self._stream.read(_CHARACTERS) + self._stream.readline():
            ahead = ""
            found = self._flat(text) or self._parsed(text, done)
            if found[0]:
                line_of = functools.partial(_line, text.split("\n"), done)
                yield _converted([_column(one) for one in found], self.columns, self._what, line_of)
            done += text.count("\n")

    def _flat(self, text: str) -> list[list[str]] | None:
        """Return the fields of objects without objects and escapes in them; None: others."""
        count = text.count("\n") + (not text.endswith("\n"))
        if "\\" in text or not count == text.count("{") == text.count("}"):
            return None
        found = [pattern.findall(text) for pattern in self._patterns]
        return found if all(len(column) == count for column in found) else None

    def _parsed(self, text: str, done: int) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in self.columns.names]
        for number, line in enumerate(text.split("\n"), done + 1):
            if not line.strip():
                continue
            try:
                data = json.loads(line, parse_float=str, parse_int=str)
            except ValueError as error:
                raise ScenarioError(f"{self._what}: line {number} is not JSON: {error}") from None
            for name, column in zip(self.columns.names, found, strict=True):
                if not isinstance(data, dict) or not isinstance(data.get(name), str):
                    raise ScenarioError(f"{self._what}: line {number} has no {name!r}")
                column.append(data[name])
        return found


def _line(lines: list[str], done: int, row: int) -> int:
    """Return the number of the line of a row; blank lines are no rows."""
    filled = (number for number, line in enumerate(lines, done + 1) if line.strip())
    return next(itertools.islice(filled, row, None))


def _column(values: list[str]) -> NDArray[Any]:
    """Return the values of a field of JSON: floats where all are, else texts without quotes.

    A float of at most 15 digits holds the number exactly.
    """
    if max(map(len, values)) <= 15:
        try:
            return np.array(list(map(float, values)))
        except ValueError:
            pass
    return np.array([value.strip('"') for value in values], dtype=_TEXT)


def _converted(
    fields: list[NDArray[Any]], columns: Columns, what: str, line_of: Callable[[int], int]
) -> list[_Numbers]:
    """Return times in ns and sizes; name the line of the first value that is none."""
    times = fields[0]
    if times.dtype.kind == "U" and str(times[0]) != str(times[0]).strip():
        times = np.char.strip(times)
    if not columns.unit and (times.dtype.kind == "f" or _is_number(str(times[0]))):
        raise ScenarioError(
            f'{what}: {columns.time} {times[0]!s} has no unit; write unit="s" or unit="ms"'
        )
    read = _numbers if columns.unit else _moments
    found = [read(times, UNITS_NS.get(columns.unit, 1))]
    found += [_sizes(column) for column in fields[1:]]
    for values, name, column, noun in zip(
        found, columns.names, fields, ("time", *["count of tokens"] * 2), strict=False
    ):
        if isinstance(values, int):
            shown = one_line(_text(column[values]))
            raise ScenarioError(f"{what}: line {line_of(values)}: {name} {shown} is no {noun}")
    return [values for values in found if not isinstance(values, int)]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first(texts: NDArray[Any], good: Callable[[str], bool]) -> int:
    """Return the index of the first text that is not good."""
    return next(i for i, text in enumerate(texts) if not good(str(text)))


def _numbers(values: NDArray[Any], unit_ns: int) -> _Numbers | int:
    """Return numbers times a unit in ns; or the index of a value that is none.

    A file has few digits after the point, and a float few digits in all, so the digits of what a
    float prints are those of the file.
    """
    try:
        floats = values.astype(np.float64)
    except ValueError:
        return _first(values, _is_number)
    beyond = ~(np.abs(floats) * float(unit_ns) < 2.0**63)  # also NaN
    if beyond.any():
        return int(np.flatnonzero(beyond)[0])

    def exact(index: int) -> int:
        return round(Fraction(str(values[index])) * unit_ns)

    if (np.abs(floats) * float(unit_ns) < _FLOAT_NS).all():
        return nearest_ns(floats, unit_ns, exact)
    digits = len(str(unit_ns)) - 1
    found = np.empty(len(values), np.int64)
    for index, text in enumerate(map(str, values.tolist())):  # such as seconds since 1970
        whole, _, rest = text.partition(".")
        if whole.isdecimal() and (not rest or (rest.isdecimal() and len(rest) <= digits)):
            found[index] = int(whole) * unit_ns + int(rest.ljust(digits, "0") or "0")
        else:
            found[index] = exact(index)
    return found


def _moments(texts: NDArray[Any], _: int) -> _Numbers | int:
    """Return dates with times of day in ns since 1970, UTC; or the index of a text that is none."""
    zone = _ZONE.search(str(texts[0])[10:])
    suffix = zone[1] if zone else ""
    ahead_ns: int | _Numbers = 0
    if suffix and np.char.endswith(texts, suffix).all():
        ahead_ns, texts = _ahead_ns(suffix), _shortened(texts, len(suffix))
    elif suffix or np.char.endswith(texts, "Z").any() or (np.char.count(texts, ":") > 2).any():
        listed = texts.tolist()
        zones = [_ZONE.search(text[10:]) for text in listed]
        ahead_ns = np.array([_ahead_ns(one[1]) if one else 0 for one in zones], np.int64)
        ends = [-len(one[1]) if one else None for one in zones]
        texts = np.array([text[:end] for text, end in zip(listed, ends, strict=True)])
    try:
        moments = texts.astype("M8[ns]")
    except ValueError:
        return _first(texts, _is_moment)
    if np.isnat(moments).any():
        return int(np.flatnonzero(np.isnat(moments))[0])
    return np.asarray(moments.astype(np.int64) - ahead_ns, np.int64)


def _shortened(texts: NDArray[Any], count: int) -> NDArray[Any]:
    """Return texts without their last characters, all texts of one length at once."""
    lengths = np.char.str_len(texts) - count
    made = np.empty_like(texts)
    for length in np.unique(lengths).tolist():
        chosen = lengths == length
        made[chosen] = texts[chosen].astype(f"U{max(1, length)}")
    return made


def _is_moment(text: str) -> bool:
    try:
        np.datetime64(text, "ns")
    except ValueError:
        return False
    return True


def _ahead_ns(zone: str) -> int:
    """Return how far a time zone is ahead of UTC, ns."""
    if zone == "Z":
        return 0
    minutes = 60 * int(zone[1:3]) + int(zone[-2:])
    return (-minutes if zone[0] == "-" else minutes) * 60 * 10**9


def _sizes(values: NDArray[Any]) -> _Numbers | int:
    """Return whole numbers; or the index of a value that is none."""
    try:
        floats = values.astype(np.float64)
    except ValueError:
        return _first(values, _is_number)
    wrong = ~((floats >= 0) & (floats <= _TOKENS_MAX) & (floats == np.floor(floats)))
    return int(np.flatnonzero(wrong)[0]) if wrong.any() else floats.astype(np.int64)
