"""Captured graphs through the binding, on the fake driver: cut, time, run as commands of queues.

`native/tests/test_graph.c` tests the cutter itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys

import numpy as np
import pytest

from pytest_xsched.errors import DeviceError, ScenarioError, XSchedError
from pytest_xsched.native import graph as graph_module
from pytest_xsched.native.binding import Device
from pytest_xsched.native.graph import Capture, Graph
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.scenario.device_models import CpuModel, SimModel

SOURCE = b"__global__ step turn"
SETTINGS = {"priority": 0, "stream_priority": 0, "threshold": 4, "batch_size": 2}


def open_device(name):
    return Device(name, cpu=CpuModel(), sim=SimModel())


class Gpu:
    """A device on the fake driver, and the driver's calls for capturing."""

    def __init__(self, kind, path):
        self.device = open_device(kind)
        self.driver = ctypes.CDLL(path)
        self.cleanup = contextlib.ExitStack()
        Run(self.device, "none").close()
        self.module = ctypes.c_void_p()
        assert self.bind() == 0
        assert self.driver.cuModuleLoadData(ctypes.byref(self.module), SOURCE) == 0
        self.cleanup.callback(self.driver.cuModuleUnload, self.module)
        self.list = self.memory(8 * 100_000, ctypes.c_int64)

    def bind(self):
        """Make the context current for calls of the driver."""
        context = ctypes.c_void_p()
        assert self.driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
        self.cleanup.callback(self.driver.cuDevicePrimaryCtxRelease_v2, 0)
        return self.driver.cuCtxSetCurrent(context)

    def memory(self, size, ctype):
        """Allocate on the fake device, whose memory is that of the host."""
        pointer = ctypes.c_uint64()
        assert self.driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)) == 0
        self.cleanup.callback(self.driver.cuMemFree_v2, pointer)
        return (ctype * (size // ctypes.sizeof(ctype))).from_address(pointer.value)

    def launch(self, stream, name, *values):
        function = ctypes.c_void_p()
        driver = self.driver
        assert driver.cuModuleGetFunction(ctypes.byref(function), self.module, name) == 0
        pointers = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values]
        parameters = (ctypes.c_void_p * len(pointers))(*pointers)
        where = (1, 1, 1, 32, 1, 1, 0, ctypes.c_void_p(stream))
        assert driver.cuLaunchKernel(function, *where, parameters, None) == 0

    def step(self, stream, value):
        """Write a number to the end of the list."""
        address = ctypes.c_uint64(ctypes.addressof(self.list))
        self.launch(stream, b"step", address, ctypes.c_int64(value))

    def turn(self, stream, counter):
        """Clear a counter, and wait for it, as kernels of libraries do in their workspace."""
        address = ctypes.c_uint64(ctypes.addressof(counter))
        clear = (address, ctypes.c_ubyte(0), ctypes.c_size_t(4), ctypes.c_void_p(stream))
        assert self.driver.cuMemsetD8Async(*clear) == 0
        self.launch(stream, b"turn", address)

    def capture(self, record, prepare=None):
        """Capture what `record(stream)` launches; the graph is closed with the device."""
        capture = Capture(self.device)
        self.cleanup.callback(capture.close)
        if prepare is not None:
            prepare(capture.stream)
        capture.begin()
        record(capture.stream)
        graph = Graph(self.device, capture.end())
        self.cleanup.callback(graph.close)
        return graph

    def chain(self, count):
        def record(stream):
            for value in range(count):
                self.step(stream, value)

        return self.capture(record)

    def written(self):
        """What the steps wrote since the last call."""
        count, self.list[0] = self.list[0], 0
        return self.list[1 : 1 + count]

    def close(self):
        self.cleanup.close()
        self.device.close()


@pytest.fixture
def gpu(fake_gpu, fake_cuda):
    driver = ctypes.CDLL(fake_cuda)
    before = driver.xs_fake_alive()  # other tests of this process may keep objects
    made = Gpu(fake_gpu, fake_cuda)
    yield made
    made.close()
    if fake_gpu == "cuda":  # the one that forwards keeps its context
        assert driver.xs_fake_alive() == before


def settings(name="q", **changes):
    return QueueSettings(name=name, **{**SETTINGS, **changes})


def finish(run, duration_ns=20_000_000):
    run.start(warmup_ns=0, duration_ns=duration_ns, drain_ns=1_000_000_000)
    while not run.wait():
        pass


def test_a_graph_has_nodes_names_and_cuts(gpu):
    graph = gpu.chain(5)
    assert (graph.nodes, graph.segments) == (5, 0)
    assert graph.kernels == ("step",) * 5
    assert graph.cuts().dtype == np.int64
    assert graph.cuts().tolist() == [1, 2, 3, 4, 5]


def test_nodes_that_are_no_kernels_have_no_names(gpu):
    counter = gpu.memory(8, ctypes.c_int32)

    def record(stream):
        gpu.step(stream, 1)
        gpu.turn(stream, counter)  # clears memory first
        gpu.step(stream, 2)

    graph = gpu.capture(record)
    assert (graph.nodes, graph.kernels) == (4, ("step", "turn", "step"))
    assert [graph.kernels_before(position) for position in range(5)] == [0, 1, 1, 2, 3]


def test_times_are_those_of_the_segments_in_order(gpu):
    graph = gpu.chain(8)
    graph.cut([1, 2, 8])
    times = graph.run_ns(3)
    assert times.dtype == np.int64 and times.shape == (3, 3)
    # Each kernel of the fake device takes 10 us; a busy machine may launch the next one late.
    assert (times >= [9_999, 9_999, 59_999]).all()
    assert gpu.written() == [*range(8)] * 3
    assert graph.run_ns(0).shape == (0, 3)


def test_another_cut_replaces_the_segments(gpu):
    graph = gpu.chain(4)
    graph.cut(graph.cuts())
    assert graph.segments == 4
    graph.cut(np.array([4]))
    assert graph.segments == 1
    assert graph.run_ns(2).shape == (2, 1)
    assert gpu.written() == [*range(4)] * 2


def test_a_request_of_a_graph_is_its_segments_in_order(gpu):
    graph = gpu.chain(6)
    graph.cut([2, 4, 6])
    run = Run(gpu.device, "hpf")
    queue = run.add_open(settings(), graph, np.array([0, 1_000_000, 2_000_000]))
    finish(run)
    counts = queue.counts()
    assert (counts.requests_completed, counts.completed) == (3, 9)
    assert gpu.written() == [*range(6)] * 3
    with pytest.raises(ScenarioError, match="segment 1 of a captured graph has no checksum"):
        queue.checksum(1)
    run.close()


def test_clients_repeat_a_graph_with_an_automatic_threshold(gpu):
    graph = gpu.chain(6)
    graph.cut([2, 4, 6])
    run = Run(gpu.device, "hpf")
    closed = settings(threshold=0, batch_size=0)
    queue = run.add_closed(closed, graph, concurrency=1, think_ns=0)
    finish(run)
    requests = queue.counts().requests_completed
    assert requests > 0
    assert gpu.written() == [*range(6)] * requests
    run.close()


def test_a_graph_can_be_submitted_again_and_again(gpu):
    graph = gpu.chain(5)
    graph.cut([1, 4, 5])
    run = Run(gpu.device, "hpf")
    queue = run.add_manual(settings())
    run.start(warmup_ns=0, duration_ns=0, drain_ns=1_000_000_000)
    for _ in range(3):
        ticket = queue.submit(graph)
        assert queue.wait(ticket, 5_000_000_000) is not None
    assert queue.counts().completed == 9
    assert gpu.written() == [*range(5)] * 3
    run.close()


def test_a_run_keeps_its_segments(gpu):
    """A graph that a run uses cannot be cut anew, and may be closed before the run."""
    graph = gpu.chain(3)
    graph.cut([1, 3])
    run = Run(gpu.device, "hpf")
    run.add_open(settings(), graph, np.array([0]))
    with pytest.raises(ScenarioError, match="a run still uses the segments of the graph; close it"):
        graph.cut([3])
    graph.close()
    finish(run)
    run.close()
    assert gpu.written() == [0, 1, 2]


def test_two_models_in_one_process_do_not_share_a_workspace(gpu):
    """Captured on streams of their own, they may run at one time; on one stream they would hang."""
    workspaces = {}  # of a library: one for each stream, allocated on first use

    def warm_up(stream):
        workspaces.setdefault(stream, gpu.memory(4, ctypes.c_int))

    def record(stream):
        for _ in range(4):
            gpu.turn(stream, workspaces[stream])

    models = [gpu.capture(record, warm_up) for _ in range(2)]
    assert len(workspaces) == 2
    hangs = gpu.driver.xs_fake_hangs()
    run = Run(gpu.device, "hpf")
    for name, graph in zip("ab", models, strict=True):
        graph.cut(graph.cuts())
        run.add_closed(settings(name), graph, concurrency=1, think_ns=0)
    finish(run)
    run.close()
    assert gpu.driver.xs_fake_hangs() == hangs


def test_a_segment_that_waits_for_an_earlier_node_never_hangs_while_it_is_timed(gpu):
    counter = gpu.memory(4, ctypes.c_int)
    graph = gpu.capture(lambda stream: gpu.turn(stream, counter))
    graph.cut([1, 2])  # alone, the second one would wait for ever
    hangs = gpu.driver.xs_fake_hangs()
    assert graph.run_ns(10).shape == (10, 2)
    assert gpu.driver.xs_fake_hangs() == hangs


def test_wrong_cuts_are_one_sentence(gpu):
    graph = gpu.chain(3)
    run = Run(gpu.device, "hpf")
    with pytest.raises(ScenarioError, match="not been cut, so it has no segments to run"):
        run.add_open(settings(), graph, np.array([0]))
    run.close()
    with pytest.raises(ScenarioError, match="the graph has not been cut"):
        graph.run_ns(1)
    with pytest.raises(ScenarioError, match="the last segment ends after node 2, but the graph"):
        graph.cut([2])
    with pytest.raises(ScenarioError, match="cannot be cut after node 7"):
        graph.cut([7])
    with pytest.raises(ScenarioError, match="0 segments; a graph has 1 to 4096 of them"):
        graph.cut([])


def test_nodes_that_cannot_run_again_are_named(gpu):
    def record(stream):
        gpu.step(stream, 1)
        for kind in (3, 3, 10):
            assert gpu.driver.xs_fake_node(ctypes.c_void_p(stream), kind) == 0

    with pytest.raises(ScenarioError) as error:
        gpu.capture(record)
    assert str(error.value) == (
        "the captured graph has 2 host function nodes and 1 memory allocation node; with such "
        "nodes it cannot run in segments, again and again"
    )


def test_what_cannot_be_captured_carries_the_reason_of_the_driver(gpu):
    capture = Capture(gpu.device)
    gpu.cleanup.callback(capture.close)
    with pytest.raises(ScenarioError, match="the capture has not begun"):
        capture.end()
    capture.begin()
    assert gpu.driver.cuStreamSynchronize(ctypes.c_void_p(capture.stream)) == 900
    with pytest.raises(DeviceError, match="operation failed due to a previous error") as error:
        capture.end()
    assert error.value.code == 901
    with pytest.raises(ScenarioError, match="the captured graph is empty: nothing was launched"):
        gpu.capture(lambda stream: None)


def test_a_capture_may_be_bound_to_multiprocessors(gpu):
    """Masks of hip; the fake driver of cuda has no green contexts."""
    if gpu.device.describe().kind == "cuda":
        with pytest.raises(ScenarioError, match="driver cannot bind a stream to multiprocessors"):
            Capture(gpu.device, units=(0, 1))
        return
    with pytest.raises(ScenarioError, match="bound in whole groups of 2"):
        Capture(gpu.device, units=(0, 1, 2))
    capture = Capture(gpu.device, units=(2, 3))
    capture.begin()
    gpu.step(capture.stream, 7)
    graph = Graph(gpu.device, capture.end())
    graph.cut([1])
    graph.run_ns(1)
    assert gpu.written() == [7]
    graph.close()
    capture.close()


def test_other_devices_have_no_graphs(gpu):
    sentence = "the cpu device has no graphs that could be captured; cuda and hip have"
    cpu = open_device("cpu")
    with pytest.raises(ScenarioError, match=sentence):
        Capture(cpu)
    with pytest.raises(ScenarioError, match=sentence):
        Graph(cpu, 1)
    graph = gpu.chain(2)
    graph.cut([2])
    run = Run(cpu, "hpf")
    with pytest.raises(ScenarioError) as error:
        run.add_open(settings(), graph, np.array([0]))
    assert str(error.value) == (
        "a segment of a captured graph: the cpu device has no graphs; cuda and hip have"
    )
    run.close()
    cpu.close()


def test_closed_is_closed(gpu):
    graph = gpu.chain(2)
    capture = Capture(gpu.device)
    for _ in range(2):
        graph.close()
        capture.close()
    with pytest.raises(XSchedError, match="the graph was closed"):
        graph.cut([2])
    with pytest.raises(XSchedError, match="the capture was closed"):
        capture.begin()


def test_a_driver_without_graphs_says_what_has_them(built, fake_cuda, monkeypatch):
    """An older driver: HIP 5 numbers the types of nodes in another way."""
    old = built("hip_on_cuda.c", flags=("-shared", "-fPIC", "-DXS_OLD_LAYOUT"))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(old))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", "")
    device = open_device("hip")
    with pytest.raises(ScenarioError) as error:
        Capture(device)
    assert str(error.value) == (
        "this driver cannot cut captured graphs, because it has no hipGetDevicePropertiesR0600; "
        "the runtime of ROCm 6 or later has it"
    )
    device.close()


def hang(kind, path):
    """Run a graph that never ends, and print the errors; for a process of its own."""
    graph_module.HANG_NS = 2_000_000
    gpu = Gpu(kind, path)
    counter = gpu.memory(4, ctypes.c_int)
    counter[0] = 1  # and nothing clears it
    address = ctypes.c_uint64(ctypes.addressof(counter))
    graph = gpu.capture(lambda stream: gpu.launch(stream, b"turn", address))
    graph.cut([1])
    for _ in range(2):
        try:
            graph.run_ns(1)
        except DeviceError as error:
            print(error)
    graph.close()
    gpu.device.close()


def test_a_graph_that_hangs_is_an_error_and_the_process_ends(fake_gpu, fake_cuda):
    child = [sys.executable, __file__, fake_gpu, fake_cuda]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines() == [
        "graph.wait: the GPU hangs: the captured graph, cut into 1, did not complete within "
        "0.002 s after its launch",
        "graph.launch: the device hangs since an earlier call",
    ], ended.stderr
    assert ended.returncode == 0


if __name__ == "__main__":
    hang(*sys.argv[1:])
