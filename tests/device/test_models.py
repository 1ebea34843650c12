"""Models as commands: captured, cut, scheduled, checked and kept, on a driver made for tests.

The framework is one of these tests' own. Like PyTorch it has a workspace for each stream, whose
counter a request clears and a later kernel waits for.
"""

from __future__ import annotations

import ctypes
import json

import pytest

from pytest_xsched import ScenarioError, Session, WorkerCrashed, at, graph, model, spin
from pytest_xsched.models.captured import CapturedModels
from pytest_xsched.native.binding import Device
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.session.settings import Settings

FRAMEWORK = '''
"""A framework on the fake driver: kernels `step` append to a list, `turn` waits for a counter."""

import ctypes
import os
from ctypes import byref, c_int, c_longlong, c_ubyte, c_uint64, c_void_p


lib = ctypes.CDLL(os.environ["XS_TEST_CUDA_DRIVER"])
WORKSPACES = {}
MADE = []


def call(name, *arguments):
    code = getattr(lib, name)(*arguments)
    if code != 0:
        raise RuntimeError(f"{name} failed: error {code}\\nand more lines")


def ready():
    context = c_void_p()
    call("cuInit", 0)
    call("cuDevicePrimaryCtxRetain", byref(context), 0)
    call("cuCtxSetCurrent", context)
    module = c_void_p()
    call("cuModuleLoadData", byref(module), b"__global__ step turn")
    MADE.append(module)
    return module


def alloc(bytes):
    pointer = c_uint64()
    call("cuMemAlloc_v2", byref(pointer), ctypes.c_size_t(bytes))
    MADE.append(pointer)
    return pointer.value


def launch(module, name, stream, *parameters):
    function = c_void_p()
    call("cuModuleGetFunction", byref(function), module, name.encode())
    pointers = (c_void_p * len(parameters))(
        *(ctypes.cast(byref(p), c_void_p) for p in parameters)
    )
    call("cuLaunchKernel", function, 1, 1, 1, 32, 1, 1, 0, c_void_p(stream), pointers, None)


def clear(pointer, bytes, stream):
    call("cuMemsetD8Async", c_uint64(pointer), c_ubyte(0), ctypes.c_size_t(bytes), c_void_p(stream))


def workspace(stream):
    if stream not in WORKSPACES:
        WORKSPACES[stream] = alloc(8)
    return WORKSPACES[stream]


def note(text):
    with open("built.txt", "a") as file:
        file.write(f"{text} {os.getpid()}\\n")


def chain(count=8, times=1, name=""):
    """A request clears its list, appends 1 to count, and takes a turn at a counter of a library."""
    note(f"chain{name}")
    module, pointer = ready(), alloc(8 * (count + 2))

    def request(stream):
        clear(pointer, 8 * (count + 2), stream)
        counter = workspace(stream)
        clear(counter, 4, stream)
        for value in range(1, count + 1):
            launch(module, "step", stream, c_uint64(pointer), c_longlong(value))
        launch(module, "turn", stream, c_uint64(counter))

    request.list = (c_longlong * (count + 2)).from_address(pointer)
    return request


def empty():
    return lambda stream: None


def fails():
    ready()
    def request(stream):
        call("cuNoSuchCall")
    return request


def syncs():
    module, pointer = ready(), alloc(800)
    def request(stream):
        launch(module, "step", stream, c_uint64(pointer), c_longlong(1))
        call("cuStreamSynchronize", c_void_p(stream))
        clear(pointer, 8, stream)
    return request


def host(type=3):
    inner = chain(2)
    def request(stream):
        inner(stream)
        lib.xs_fake_node(c_void_p(stream), c_int(type))
    return request


def allocates():
    return host(10)
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory of the user, which is pytest's: `nets.py` is the framework."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FRAMEWORK)
    return tmp_path


@pytest.fixture
def gpu(fake_gpu, place):
    """A session on the fake driver, cuda or hip, in worker processes."""
    session = Session(Settings(device=fake_gpu))
    yield session
    session.close()


@pytest.fixture
def inside(fake_gpu, place):
    """The same within this process."""
    session = Session(Settings(device=fake_gpu, process="inside"))
    yield session
    session.close()


def chain(count=8, **more):
    return graph("nets.py:chain", count, **more)


def built(place):
    path = place / "built.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def measure(session, *queues, **more):
    return session.run(*queues, **{"duration": "300ms", "warmup": "0s", **more})


@pytest.mark.parametrize("scheduler", ["native", "priority", "builtin"])
def test_a_model_runs_next_to_kernels_under_every_scheduler(gpu, scheduler):
    high = gpu.queue("high", chain(commands=4), priority=10, rate="100/s")
    low = gpu.queue("low", spin("100us"), priority=1)
    run = measure(gpu, high, low, scheduler=scheduler)
    run.require()
    assert run.high.n == 30
    counts = run.high.counts
    assert counts.launched == counts.completed == 4 * counts.requests_completed == 4 * 30


@pytest.mark.parametrize(
    ("commands", "scheduler", "segments"),
    [
        ("auto", "native", 1),  # as people run it
        ("auto", "priority", 1),
        (1, "builtin", 1),
        (11, "builtin", 11),
        (99, "builtin", 11),  # two memsets, eight steps, one turn
        (3, "native", 3),  # the like-for-like baseline
        ("10us", "native", None),
        ("1s", "builtin", 1),
    ],
)
def test_how_a_graph_is_cut(gpu, commands, scheduler, segments):
    run = measure(gpu, gpu.queue("q", chain(commands=commands), rate="50/s"), scheduler=scheduler)
    (facts,) = run.fingerprint.models
    assert facts.commands == run.q.counts.launched / run.q.n
    if segments is None:
        assert 8 <= facts.commands <= 11
    else:
        assert facts.commands == segments


@pytest.mark.parametrize(
    ("more", "whole"),
    [
        ({}, ["high"]),  # hpf: nothing overtakes it
        ({"policy": "fair"}, []),
        ({"changes": [at("200ms", "low", priority=20)]}, []),
        ({"scheduler": "native"}, ["high", "low"]),
    ],
)
def test_by_itself_a_graph_is_cut_where_others_may_overtake(gpu, more, whole):
    queues = [
        gpu.queue("high", chain(64), priority=10, rate="50/s"),
        gpu.queue("low", chain(64), priority=1, rate="50/s"),
    ]
    facts = measure(gpu, *queues, **{"scheduler": "builtin", **more}).fingerprint.models
    assert [one.queue for one in facts if one.commands == 1] == whole


def test_kernels_of_a_model_are_in_the_fingerprint(gpu):
    run = measure(gpu, gpu.queue("q", chain(), rate="50/s"), gpu.queue("k", spin("1us")))
    (facts,) = run.fingerprint.models
    assert (facts.queue, facts.nodes, facts.kernels) == ("q", 11, 9)
    assert dict(facts.kernel_names) == {"step": 8, "turn": 1}
    assert min(facts.build_ns, facts.capture_ns, facts.cut_ns) > 0
    data = json.loads(run.to_json())["fingerprint"]["models"]
    assert data[0]["kernel_names"] == [["step", 8], ["turn", 1]]
    other = measure(gpu, gpu.queue("q", chain(9), rate="50/s")).fingerprint.models[0]
    assert other.kernels_digest != facts.kernels_digest


def test_models_of_one_process_share_no_workspace(gpu):
    """Two graphs that wait for one counter of a library would hang when they run at one time."""
    queues = [gpu.queue(f"q{i}", chain(commands=4), priority=i) for i in range(4)]
    for scheduler in ("native", "builtin"):
        run = measure(gpu, *queues, scheduler=scheduler)
        run.require()
        assert all(queue.counts.completed for queue in run.queues.values())


def test_a_request_is_whole_and_in_order_also_where_it_is_calibrated(inside, place):
    """`turn` hangs for ever unless the memset before it has run: a segment alone would hang."""
    run = measure(inside, inside.queue("q", chain(16, commands=18), rate="50/s"))
    run.require()
    (_, captured) = next(iter(inside.devices.models._kept.values()))
    assert list(captured._captured._request.list)[:17] == [16, *range(1, 17)]


def test_a_factory_is_called_once_a_queue_and_kept_for_the_next_run(inside, place):
    high = inside.queue("high", chain(name="H"), priority=1)
    low = inside.queue("low", chain(name="L"))
    for scheduler in ("native", "builtin", "native"):
        measure(inside, high, low, scheduler=scheduler)
    assert built(place) == ["chainH", "chainL"]
    measure(inside, high)  # wants no model of `low`
    measure(inside, high, low)
    assert built(place) == ["chainH", "chainL", "chainL"]
    measure(inside, inside.queue("high", chain(name="H", commands=2), priority=1))
    assert built(place) == ["chainH", "chainL", "chainL"]  # cut anew, not built


def test_models_release_what_they_have(fake_gpu, fake_cuda, place):
    alive = ctypes.CDLL(fake_cuda).xs_fake_alive
    device = Device(fake_gpu, cpu=CpuModel(), sim=SimModel())
    session = Session(Settings(device=fake_gpu, process="inside"))
    models = CapturedModels()
    spec = session.queue("q", chain(commands=3))
    left = []
    for _ in range(3):
        scenario = session_scenario(session, spec)
        captured = models.prepare({fake_gpu: device}, scenario, [spec], {"q": ()})["q"]
        made = captured._captured._request.__globals__["MADE"]  # by the framework, which keeps it
        models.close()
        left.append(alive() - len(made))
    assert left[0] == left[1] == left[2]
    device.close()


def session_scenario(session, *specs):
    from pytest_xsched.scenario.scenario import Scenario

    return Scenario(
        queues=specs,
        duration_ns=10**8,
        warmup_ns=0,
        drain_ns=10**9,
        seed=0,
        device=session.device,
        scheduler="builtin",
        policy="hpf",
    )


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("none", "nets.py has no function none; its functions: call, ready"),
        ("note", "building it failed: TypeError: note() missing 1 required positional argument"),
        ("alloc", "building it failed: TypeError"),
        ("fails", "a request failed: AttributeError"),
        ("syncs", "cannot be captured: RuntimeError: cuStreamSynchronize failed: error 90"),
        ("empty", "the captured graph is empty: nothing was launched"),
        ("host", "1 host"),
        ("allocates", "1 memory allocation"),
    ],
)
def test_what_cannot_be_captured_is_one_sentence_with_the_way_out(gpu, factory, words):
    with pytest.raises(ScenarioError) as error:
        measure(gpu, gpu.queue("q", graph(f"nets.py:{factory}"), rate="50/s"))
    text = str(error.value)
    assert text.startswith(f"queue 'q': graph({factory}): ") and words in text and "\n" not in text
    if factory in ("syncs", "empty", "host", "allocates"):
        assert 'command(["python", "serve.py"])' in text


def test_a_session_goes_on_after_a_model_that_cannot_be_captured(inside, place):
    with pytest.raises(ScenarioError, match="cannot be captured"):
        measure(inside, inside.queue("q", graph("nets.py:syncs"), rate="50/s"))
    measure(inside, inside.queue("q", chain(), rate="50/s")).require()


def test_a_model_without_pytorch_is_told_what_captures_it(gpu):
    with pytest.raises(ScenarioError) as error:
        measure(gpu, gpu.queue("q", model("nets.py:chain", 8), rate="50/s"))
    assert "chain uses no PyTorch, the only framework that model() captures; graph(chain)" in str(
        error.value
    )


def test_a_factory_that_ends_its_process_is_one_sentence(gpu, place):
    text = "import os\ndef net(): os.abort()\n"
    (place / "bad.py").write_text(text)
    with pytest.raises(WorkerCrashed) as error:
        measure(gpu, gpu.queue("q", graph("bad.py:net"), rate="50/s"))
    assert "SIGABRT while it built and captured graph(net) of queue 'q'" in str(error.value)


def test_models_in_processes_of_their_own(gpu, place):
    queues = [gpu.queue("a", chain(name="A")), gpu.queue("b", chain(name="B"))]
    run = measure(gpu, *queues, scheduler="native", processes="separate")
    assert sorted(built(place)) == ["chainA", "chainB"]
    assert [facts.queue for facts in run.fingerprint.models] == ["a", "b"]


def test_a_share_of_the_multiprocessors(gpu):
    high = gpu.queue("high", chain(commands=4), rate="50/s", sm_share=0.5)
    low = gpu.queue("low", chain(commands=4))
    if gpu.device_kind == "cuda":  # of which the fake driver is too old
        with pytest.raises(ScenarioError, match="multiprocessors of its own"):
            measure(gpu, high, low)
    else:
        measure(gpu, high, low).require()


def test_results_that_nobody_can_compare_are_named(gpu):
    run = measure(gpu, gpu.queue("q", chain(), rate="50/s"), check=True)
    assert not run.evidence.checked
    assert run.evidence.unchecked == (
        "q: results of its model are not compared: what a request of graph() writes is not known",
    )


def test_models_under_xsched_in_one_process(xsched_gpu, place):
    session = Session(Settings(device="cuda"))
    high = session.queue("high", chain(commands=4), priority=10, rate="50/s")
    low = session.queue("low", chain(commands=6), priority=1)
    run = measure(session, high, low, scheduler="xsched")
    run.require()
    assert run.high.counts.launched == 4 * run.high.counts.requests_completed == 4 * 15
    assert [facts.commands for facts in run.fingerprint.models] == [4, 6]
    session.close()


def test_windows_of_a_run_and_arms_of_a_comparison_share_a_model(inside, place):
    high = inside.queue("high", chain(name="H"), priority=10, rate="50/s")
    low = inside.queue("low", chain(name="L"), priority=1)
    inside.compare(high, low, episodes=2, duration="200ms", warmup="0s")
    assert built(place) == ["chainH", "chainL"]
