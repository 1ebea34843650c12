"""Models as commands: captured, cut, scheduled, checked and kept, on a driver made for tests.

The framework is one of these tests' own. Like PyTorch it has a workspace for each stream, whose
counter a request clears and a later kernel waits for.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import time

import pytest

from pytest_xsched import ScenarioError, Session, WorkerCrashed, at, graph, model, spin
from pytest_xsched.models.captured import CapturedModels
from pytest_xsched.native.binding import Device
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.session import adaptive
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import find_libraries
from pytest_xsched.workers.dispatch import measure_in_processes
from pytest_xsched.workers.run_processes import RunProcesses

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


def llm(prompt=4):
    """A request begins a list, and each step appends 100 to it."""
    note("llm")
    module, pointer = ready(), alloc(8 * 1000)

    def prefill(stream):
        clear(pointer, 8 * 1000, stream)
        for value in range(1, prompt + 1):
            launch(module, "step", stream, c_uint64(pointer), c_longlong(value))

    def decode(stream):
        counter = workspace(stream)
        clear(counter, 4, stream)
        launch(module, "step", stream, c_uint64(pointer), c_longlong(100))
        launch(module, "turn", stream, c_uint64(counter))

    prefill.list = (c_longlong * 1000).from_address(pointer)
    return prefill, decode


def changing(until=4):
    """Its first requests have another kernel; with until=None every other request."""
    module, pointer, calls = ready(), alloc(8 * 100), []

    def request(stream):
        calls.append(stream)
        clear(pointer, 8 * 100, stream)
        odd = len(calls) % 2 == 1 if until is None else len(calls) <= until
        for value in range(3 if odd else 2):
            launch(module, "step", stream, c_uint64(pointer), c_longlong(value))
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


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
@pytest.mark.parametrize(
    ("commands", "scheduler", "segments"),
    [
        ("auto", "native", 1),  # as people run it
        ("auto", "priority", 1),
        (1, "builtin", 1),
        (11, "builtin", 11),
        (99, "builtin", 11),  # two memsets, eight steps, one turn
        (999, "builtin", 303),  # of 300 steps, which are timed in 256 pieces first
        (3, "native", 3),  # the like-for-like baseline
        ("10us", "native", None),
        ("1s", "builtin", 1),
    ],
)
def test_how_a_graph_is_cut(gpu, commands, scheduler, segments):
    work = chain(300 if commands == 999 else 8, commands=commands)
    run = measure(gpu, gpu.queue("q", work, rate="50/s"), scheduler=scheduler)
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
    assert list(captured._captured._calls[0].function.list)[:17] == [16, *range(1, 17)]


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
        made = captured._captured._calls[0].function.__globals__[
            "MADE"
        ]  # by the framework, which keeps it
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


def test_steps_of_a_request_under_xsched_in_one_process(xsched_gpu, place):
    session = Session(Settings(device="cuda"))
    work = graph("nets.py:llm", 4, steps=3, commands=2)
    high = session.queue("high", work, priority=10, rate="50/s")
    run = measure(session, high, session.queue("low", chain(), priority=1), scheduler="xsched")
    run.require()
    times = run.high.milestones.at_ns.reshape(run.high.n, 4)
    assert (times[:, :-1] <= times[:, 1:]).all()
    assert (times[:, -1] == run.high.samples["completed_ns"]).all()
    assert run.high.counts.launched == 8 * run.high.n
    session.close()


@pytest.mark.parametrize("scheduler", ["native", "builtin"])
@pytest.mark.parametrize("commands", ["auto", 2])
def test_a_request_with_steps_is_prefill_and_then_the_step_again_and_again(
    inside, scheduler, commands
):
    """Each call is a milestone; in all of them the list has what one request writes, in order."""
    work = graph("nets.py:llm", 4, steps=5, commands=commands)
    low = inside.queue("low", chain(), priority=1)
    run = measure(
        inside, inside.queue("q", work, priority=9, rate="50/s"), low, scheduler=scheduler
    )
    run.require()
    facts = run.fingerprint.models[0]
    assert (facts.kernels, facts.commands) == (4 + 5 * 2, 6 if commands == "auto" else 12)
    assert run.q.counts.launched == facts.commands * run.q.n
    captured = next(iter(inside.devices.models._kept.values()))[1]
    assert list(captured._captured._calls[0].function.list[:10]) == [9, 1, 2, 3, 4, *[100] * 5]
    reached = run.q.milestones
    assert reached.names == ("token",)
    assert len(reached) == 6 * run.q.n
    times = reached.at_ns.reshape(-1, 6)
    assert (times[:, :-1] <= times[:, 1:]).all()
    assert (times[:, 0] > run.q.samples["launched_ns"]).all()
    assert (times[:, -1] == run.q.samples["completed_ns"]).all()


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_step_alone_and_the_limit_of_commands(gpu):
    run = measure(gpu, gpu.queue("q", chain(steps=3), rate="50/s"), scheduler="native")
    assert (run.fingerprint.models[0].kernels, run.q.counts.launched) == (3 * 9, 3 * run.q.n)
    many = chain(commands=11, steps=400)
    with pytest.raises(ScenarioError, match=r"commands=11 makes 4400 commands of a request"):
        measure(gpu, gpu.queue("q", many, rate="50/s"))


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
@pytest.mark.parametrize(
    ("factory", "args", "steps", "words"),
    [
        ("llm", [], None, r"llm returned two functions, .*, as in model\(llm, steps=32\)"),
        ("note", ["x"], 2, "returned None, which is not callable; return the two functions"),
    ],
)
def test_what_a_factory_returns_goes_with_its_steps(gpu, factory, args, steps, words):
    work = graph(f"nets.py:{factory}", *args, steps=steps)
    with pytest.raises(ScenarioError, match=words):
        measure(gpu, gpu.queue("q", work, rate="50/s"))


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_request_is_captured_when_two_in_a_row_launch_the_same_kernels(gpu):
    queue = gpu.queue("q", graph("nets.py:changing", 4), rate="50/s")
    (facts,) = measure(gpu, queue).fingerprint.models
    assert facts.kernels == 2 and facts.warm_ups == (3, 5, 7)
    (facts,) = measure(gpu, gpu.queue("q", chain(), rate="50/s")).fingerprint.models
    assert facts.warm_ups == (3, 5)


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_requests_that_never_launch_the_same_kernels_are_no_model(gpu):
    with pytest.raises(ScenarioError) as error:
        measure(gpu, gpu.queue("q", graph("nets.py:changing", None), rate="50/s"))
    assert "after 9 warm-up requests 3 kernels, and 2 after 11, so one captured" in str(error.value)


@pytest.fixture
def window(gpu):
    """Measures a window of a run of a model in the processes of the run."""

    def measure(processes, work, index=0, duration_ns=10**8):
        scenario = session_scenario(gpu, gpu.queue("q", work, rate="50/s"))
        return measure_in_processes(
            adaptive.window(scenario, index, duration_ns),
            None,
            waiting=None,
            libraries=find_libraries(gpu.device_kind),
            lock_timeout_s=60.0,
            home=None,
            processes=processes,
        )

    return measure


def builders(place):
    return [int(line.split()[1]) for line in (place / "built.txt").read_text().splitlines()]


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_worker_builds_a_model_once_for_all_windows_of_a_run(window, place):
    processes = RunProcesses(3 * 10**8)
    found = [window(processes, chain(commands=3), index) for index in range(3)]
    (worker,) = builders(place)
    assert not os.path.exists(f"/proc/{worker}")  # it ended with the last window
    for one in found:
        assert one.fingerprint.models[0].commands == 3
        assert one.counts[0].completed == 3 * len(one.samples[0]) == 15
    later = [one.samples[0]["scheduled_ns"].tolist() for one in found]
    assert later[0] == later[1]  # the times of a constant rate; each window has its own samples
    assert processes.worker is None


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_worker_that_ended_between_two_windows_is_started_anew(window, place):
    processes = RunProcesses(3 * 10**8)
    window(processes, chain())
    os.kill(builders(place)[0], signal.SIGKILL)
    while processes.worker.is_waiting:
        time.sleep(0.01)
    window(processes, chain(), 1)
    processes.close()
    first, second = builders(place)
    assert first != second and not os.path.exists(f"/proc/{second}")


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_worker_has_more_time_for_a_longer_window(window):
    """Windows grow: with the time of the first one, it would be killed in the middle of a long."""
    processes = RunProcesses(10**9)
    window(processes, chain())
    first_s = processes.worker._worker.messages.allowed_s
    window(processes, chain(), 1, 3 * 10**8)
    assert processes.worker._worker.messages.allowed_s == pytest.approx(first_s + 0.2)
    processes.close()


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_an_error_in_a_later_window_ends_the_worker(window, place, monkeypatch):
    processes = RunProcesses(3 * 10**8)
    window(processes, chain())
    with pytest.raises(ScenarioError, match=r"nets\.py has no function none"):
        window(processes, graph("nets.py:none"), 1)
    assert processes.worker is None
    assert not os.path.exists(f"/proc/{builders(place)[0]}")


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_windows_of_a_run_and_arms_of_a_comparison_share_a_model(inside, place):
    high = inside.queue("high", chain(name="H"), priority=10, rate="50/s")
    low = inside.queue("low", chain(name="L"), priority=1)
    inside.compare(high, low, arms=["alone"], episodes=2, duration="100ms", warmup="0s")
    assert built(place) == ["chainH", "chainL"]


def by_builder(place):
    """Return which models each process built, in order."""
    found = {}
    for line in (place / "built.txt").read_text().splitlines():
        name, pid = line.split()
        found.setdefault(int(pid), []).append(name)
    return found


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_one_worker_builds_each_model_once_for_all_arms_of_a_comparison(gpu, place):
    """The alone arms, too: a queue that is not there keeps its model. Nothing is left."""
    high = gpu.queue("high", chain(name="H"), priority=10, rate="50/s")
    low = gpu.queue("low", chain(name="L"), priority=1)
    schedulers = ["native", "priority", "builtin"]
    comparison = gpu.compare(
        high,
        low,
        schedulers=schedulers,
        arms=["alone"],
        episodes=2,
        duration="100ms",
        warmup="0s",
        check=True,
    )
    ((worker, names),) = by_builder(place).items()
    assert names == ["chainH", "chainL"]
    assert not os.path.exists(f"/proc/{worker}")
    for arm in (*schedulers, "native again", "high alone"):
        assert [one.run.high.n for one in comparison.episodes(arm)] == [5, 5]
    commands = {
        arm: {one.run.fingerprint.models[-1].commands for one in comparison.episodes(arm)}
        for arm in schedulers
    }
    assert commands["native"] == commands["priority"] == {1}
    assert len(commands["builtin"]) == 1


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_runs_that_would_start_their_process_in_another_way_get_their_own(gpu, place):
    """The kept worker holds the lock of the GPU, so it ends before them."""
    high = gpu.queue("high", chain(name="H"), priority=10, rate="50/s")
    running = []
    with gpu.machines.keeping_processes(None):
        for processes in ("together", "separate", "together", "together"):
            measure(gpu, high, duration="100ms", scheduler="native", processes=processes)
            pids = list(by_builder(place))
            running.append([pids.index(pid) for pid in pids if os.path.exists(f"/proc/{pid}")])
        measure(gpu, gpu.queue("low", spin("10us"), rate="50/s"), duration="100ms")  # in the last
        assert os.path.exists(f"/proc/{pids[2]}")
    assert running == [[0], [], [2], [2]]
    assert by_builder(place) == {pid: ["chainH"] for pid in pids}
    assert not os.path.exists(f"/proc/{pids[2]}")


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_kept_worker_that_ends_is_one_sentence_and_the_next_run_starts_anew(gpu, place):
    (place / "bad.py").write_text("import os\ndef net(): os.abort()\n")
    high = gpu.queue("high", chain(), rate="50/s")
    with gpu.machines.keeping_processes(None):
        measure(gpu, high, duration="100ms")
        (first,) = by_builder(place)
        os.kill(first, signal.SIGKILL)  # between two runs
        while gpu.devices._kept._processes.is_waiting:
            time.sleep(0.01)
        measure(gpu, high, duration="100ms")
        with pytest.raises(WorkerCrashed) as error:
            measure(gpu, high, gpu.queue("low", graph("bad.py:net")), duration="100ms")
        assert "SIGABRT while it built and captured graph(net) of queue 'low'" in str(error.value)
        with contextlib.suppress(KeyboardInterrupt), gpu.machines.keeping_processes(None):
            measure(gpu, high, duration="100ms")
            raise KeyboardInterrupt
    assert built(place) == ["chain"] * 3
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in by_builder(place))
