"""Trace files: Chrome's JSON, and Perfetto's protobuf by the package `perfetto`.

https://ui.perfetto.dev opens both, and Chrome's about:tracing the first. Each run is a process of
the trace, which begins at 0.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_xsched.base.extras import require_extra
from pytest_xsched.reporting.trace_tracks import Slice, Timeline, Track, run_title, tracks

PERFETTO_SUFFIXES = (".pftrace", ".perfetto-trace")
"""A file whose name ends like this is one of Perfetto's; all others are Chrome's."""


def require_perfetto(name: str) -> None:
    """Check that the package `perfetto` is there, if a trace file of this name needs it.

    Raises:
        MissingExtra: it is not installed.
    """
    if name.endswith(PERFETTO_SUFFIXES):
        require_extra("perfetto", "trace")


def trace_file(name: str, timelines: Sequence[Timeline]) -> bytes:
    """Return the content of a trace file.

    Args:
        name: of the file, whose end says which format it has.
        timelines: of the runs.
    """
    require_perfetto(name)
    runs = list(_runs(timelines))
    if name.endswith(PERFETTO_SUFFIXES):
        return _perfetto(runs)
    return _chrome(runs)


def _runs(timelines: Sequence[Timeline]) -> Iterator[tuple[str, list[Track]]]:
    """Yield title and tracks of each run; the title says how many commands are left out."""
    arrow = 1
    for timeline in timelines:
        made = tracks(timeline, arrow)
        arrow += sum(len(queue["requests"]) for queue in timeline["queues"])
        left_out = timeline["left_out"]
        note = f" ({left_out} commands are left out)" if left_out else ""
        yield run_title(timeline) + note, made


def _chrome(runs: Sequence[tuple[str, list[Track]]]) -> bytes:
    events: list[dict[str, Any]] = []
    for pid, (title, made) in enumerate(runs, 1):
        events.append(_named("process_name", pid, 0, title))
        for tid, track in enumerate(made, 1):
            if track.values is None:
                events.append(_named("thread_name", pid, tid, track.name))
                order = {"name": "thread_sort_index", "ph": "M", "pid": pid, "tid": tid}
                events.append({**order, "args": {"sort_index": tid}})
            for one in track.slices:
                events += _chrome_slice(one, pid, tid)
            place = {"pid": pid, "tid": tid}
            events += [
                {"name": name, "ph": "i", "s": "t", "ts": ns / 1000, **place}
                for ns, name in track.instants
            ]
            events += [
                {"name": track.name, "ph": "C", "ts": ns / 1000, "pid": pid, "args": {"n": value}}
                for ns, value in track.values or ()
            ]
    lines = ",\n".join(json.dumps(event, allow_nan=False) for event in events)
    # A page may hold the text within a script, which "</script>" would end.
    safe = lines.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{safe}\n]}}\n'.encode()


def _named(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _chrome_slice(one: Slice, pid: int, tid: int) -> Iterator[dict[str, Any]]:
    """Yield a slice and its arrows; times are in us, whose third decimal is a ns."""
    place = {"pid": pid, "tid": tid}
    yield {
        "name": one.name,
        "ph": "X",
        "ts": one.start_ns / 1000,
        "dur": (one.end_ns - one.start_ns) / 1000,
        **place,
        "args": one.facts,
    }
    arrow = {"name": "request", "cat": "request", **place}
    if one.begins is not None:
        yield {**arrow, "ph": "s", "id": one.begins, "ts": one.start_ns / 1000}
    if one.ends is not None:
        # The arrow ends at the slice that encloses this moment.
        moment_ns = max(one.start_ns, one.end_ns - 1)
        yield {**arrow, "ph": "f", "bp": "e", "id": one.ends, "ts": moment_ns / 1000}


def _perfetto(runs: Sequence[tuple[str, list[Track]]]) -> bytes:
    pb2: Any = importlib.import_module("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace, event = pb2.Trace(), pb2.TrackEvent
    uuid = 0

    def describe(name: str, parent: int) -> Any:
        nonlocal uuid
        uuid += 1
        packet = trace.packet.add()
        packet.trusted_packet_sequence_id = 1
        described = packet.track_descriptor
        described.uuid, described.name = uuid, name
        if parent:
            described.parent_uuid = parent
        described.child_ordering = pb2.TrackDescriptor.ChildTracksOrdering.EXPLICIT
        described.sibling_order_rank = uuid
        return described

    def add(ns: int, kind: int, track: int) -> Any:
        packet = trace.packet.add()
        packet.timestamp = ns
        packet.trusted_packet_sequence_id = 1
        packet.track_event.type = kind
        packet.track_event.track_uuid = track
        return packet.track_event

    for title, made in runs:
        run = describe(title, 0).uuid
        for track in made:
            described = describe(track.name, run)
            if track.values is not None:
                described.counter.unit_name = "commands"
            here = described.uuid
            for one in track.slices:
                began = add(one.start_ns, event.TYPE_SLICE_BEGIN, here)
                began.name = one.name
                for name, value in one.facts.items():
                    fact = began.debug_annotations.add()
                    fact.name = name
                    if isinstance(value, str):
                        fact.string_value = value
                    else:
                        fact.int_value = value
                if one.begins is not None:
                    began.flow_ids.append(one.begins)
                if one.ends is not None:
                    began.terminating_flow_ids.append(one.ends)
                add(one.end_ns, event.TYPE_SLICE_END, here)
            for ns, name in track.instants:
                add(ns, event.TYPE_INSTANT, here).name = name
            for ns, value in track.values or ():
                add(ns, event.TYPE_COUNTER, here).counter_value = value
    content: bytes = trace.SerializeToString(deterministic=True)
    return content
