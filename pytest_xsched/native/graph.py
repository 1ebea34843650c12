"""Captured graphs of a GPU as commands: read one, cut it into segments, time them, run them.

A graph is that of the driver: a `CUgraph` or a `hipGraph_t`. `Run.add_open` and `Run.add_closed`
take a `Graph` instead of commands; a request is then all its segments, in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import ScenarioError, XSchedError
from pytest_xsched.native.binding import SLICE_NS, Device, call, ffi, lib, unit_mask

HANG_NS = 20_000_000_000
"""If a request is not complete this long after its launch, the device counts as hanging."""


class Graph:
    """A captured graph, read so that its segments can be commands.

    A segment never runs alone or out of order, because a kernel of a library may wait for a
    counter that an earlier node clears.

    Args:
        device: A device of kind ``cuda`` or ``hip``. Close the graph before the device.
        pointer: The driver's handle of the graph, which the caller keeps until `close`.

    Raises:
        ScenarioError: The device or its driver has no graphs. Or the graph is empty, or has nodes
            that cannot run in segments (host functions, memory allocations, events, ...).
        DeviceError: The driver refuses a call.
    """

    def __init__(self, device: Device, pointer: int) -> None:
        out = ffi.new("struct xs_graph **")
        call(lib.xs_graph_open, device.pointer, ffi.cast("void *", pointer), out)
        self._native = out[0]
        self._device = device
        self.nodes: int = int(self._info().nodes)
        self.kernels: tuple[str, ...] = tuple(
            ffi.string(lib.xs_graph_kernel(self._native, i)).decode(errors="replace")
            for i in range(self._info().kernels)
        )
        """Names of the kernels, in order; "" where the driver does not tell."""

    def _info(self) -> Any:
        info = ffi.new("struct xs_graph_info *")
        lib.xs_graph_describe(self._pointer, info)
        return info

    @property
    def segments(self) -> int:
        """Number of segments; 0 before `cut`."""
        return int(self._info().segments)

    def cuts(self) -> NDArray[np.int64]:
        """Return the positions where the graph may be cut: int64[n], ascending.

        A position is the number of nodes before the cut; the last one is `nodes`. Elsewhere a cut
        would make nodes wait for each other that may run at the same time.
        """
        count = self._info().cuts
        positions = (lib.xs_graph_cut_at(self._pointer, i) for i in range(count))
        return np.fromiter(positions, np.int64, count)

    def kernels_before(self, position: int) -> int:
        """Return how many of `kernels` the nodes before a position have.

        Args:
            position: Number of the nodes, in [0, nodes].
        """
        return int(lib.xs_graph_kernels_before(self._pointer, position))

    def cut(self, ends: Sequence[int]) -> None:
        """Cut the graph into segments, which replace earlier ones.

        Args:
            ends: Where each segment ends: positions of `cuts`, ascending, the last one `nodes`.

        Raises:
            ScenarioError: A position is wrong, or a run still uses the earlier segments.
            DeviceError: The driver refuses a call. The graph then has no segments.
        """
        array = ffi.new("uint32_t[]", [int(end) for end in ends])
        call(lib.xs_graph_cut, self._pointer, array, len(array))

    def run_ns(self, repeats: int) -> NDArray[np.int64]:
        """Run whole requests, one after the other, and time their segments.

        Args:
            repeats: Number of requests.

        Returns:
            int64[repeats, segments]: the time of each segment on the device, in ns.

        Raises:
            ScenarioError: The graph has not been cut.
            DeviceError: The driver refuses a call, or the device hangs. After that, the process
                cannot use the device any more.
        """
        times = np.zeros((repeats, self.segments), np.int64)
        row = ffi.new("int64_t[]", max(self.segments, 1))
        for i in range(repeats):
            call(lib.xs_graph_launch, self._pointer)
            while call(lib.xs_graph_wait, self._pointer, SLICE_NS, HANG_NS, row) == lib.XS_EAGAIN:
                pass
            times[i] = list(row)[: times.shape[1]]
        return times

    def commands_array(self) -> Any:
        """Return the segments as native commands, which are valid as long as the graph."""
        if self.segments == 0:
            raise ScenarioError("the graph has not been cut, so it has no segments to run")
        array = ffi.new("struct xs_command[]", self.segments)
        for n, slot in enumerate(array):
            slot.kind, slot.n, slot.batch, slot.graph = lib.XS_SEGMENT, n, 1, self._pointer
        return array

    def close(self) -> None:
        """Free the segments. What a run uses lives until that is closed. Does nothing twice."""
        if self._native != ffi.NULL and self._device.pointer != ffi.NULL:
            lib.xs_graph_close(self._native)
        self._native = ffi.NULL

    @property
    def _pointer(self) -> Any:
        if self._native == ffi.NULL:
            raise XSchedError("the graph was closed")
        return self._native


class GraphRequest:
    """A request that is several graphs, one after the other, or one graph several times.

    Args:
        parts: The graphs in their order, and how often each is launched. All of one device.
    """

    def __init__(self, parts: Sequence[tuple[Graph, int]]) -> None:
        self.parts = tuple(parts)

    @property
    def segments(self) -> int:
        """Number of commands: segments of all launches; 0 before the graphs were cut."""
        return sum(times * graph.segments for graph, times in self.parts)

    def commands_array(self) -> Any:
        """Return the segments of all launches as native commands."""
        arrays = [(graph.commands_array(), times) for graph, times in self.parts]
        slots = [slot for array, times in arrays for _ in range(times) for slot in array]
        return ffi.new("struct xs_command[]", slots)

    def launch_ends(self) -> list[int]:
        """Return the number of commands after which each launch of a graph is complete."""
        sizes = [graph.segments for graph, times in self.parts for _ in range(times)]
        return list(itertools.accumulate(sizes))

    def run_ns(self, repeats: int, most: int | None = None) -> list[NDArray[np.int64]]:
        """Run requests, one after the other, and time their segments.

        Args:
            repeats: Number of requests.
            most: How often a request launches a graph at most; None: as often as it does.

        Returns:
            For each of `parts`, int64[launches, segments]: the time of each segment on the device,
            in ns, in all requests.

        Raises:
            ScenarioError: A graph has not been cut.
            DeviceError: The driver refuses a call, or the device hangs.
        """
        rows: list[list[NDArray[np.int64]]] = [[] for _ in self.parts]
        for _ in range(repeats):
            for i, (graph, times) in enumerate(self.parts):
                rows[i].append(graph.run_ns(times if most is None else min(times, most)))
        return [np.concatenate(of) for of in rows]


class Capture:
    """Captures graphs of what is launched on a stream of its own.

    Kernels of libraries have a workspace for each stream. Two graphs that were captured on one
    stream share it, and hang or compute wrong results when they run at the same time. So the graphs
    of one capture must belong to one queue.

    Args:
        device: A device of kind ``cuda`` or ``hip``. Close the capture before the device.
        units: Multiprocessors to which its stream is bound; empty: all. Kernels keep the context
            in which they were captured.

    Raises:
        ScenarioError: The device or its driver has no graphs, or `units` are wrong.
        DeviceError: The driver refuses a call.
    """

    def __init__(self, device: Device, units: tuple[int, ...] = ()) -> None:
        out = ffi.new("struct xs_capture **")
        words = unit_mask(units)
        call(lib.xs_capture_open, device.pointer, words, len(words), out)
        self._native = out[0]
        self._device = device

    @property
    def stream(self) -> int:
        """The driver's handle of the stream: a `CUstream` or a `hipStream_t`."""
        return int(ffi.cast("uintptr_t", lib.xs_capture_stream(self._pointer)))

    def begin(self) -> None:
        """Record what this thread launches on the stream, instead of executing it.

        Raises:
            ScenarioError: The capture has begun before and has not ended.
            DeviceError: The driver refuses the call.
        """
        call(lib.xs_capture_begin, self._pointer)

    def end(self) -> int:
        """Stop recording, and return the handle of the graph, which lives until `close`.

        Raises:
            ScenarioError: The capture has not begun.
            DeviceError: Something was done that cannot be captured. There is no graph of it.
        """
        graph = ffi.new("void **")
        call(lib.xs_capture_end, self._pointer, graph)
        return int(ffi.cast("uintptr_t", graph[0]))

    def close(self) -> None:
        """Wait for the stream, and free it and the graphs. Does nothing the second time."""
        if self._native != ffi.NULL and self._device.pointer != ffi.NULL:
            lib.xs_capture_close(self._native)
        self._native = ffi.NULL

    @property
    def _pointer(self) -> Any:
        if self._native == ffi.NULL:
            raise XSchedError("the capture was closed")
        return self._native
