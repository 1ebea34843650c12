"""Models of PyTorch on a GPU: captured, cut, contended, and computing what they compute eagerly.

Skipped without PyTorch or without a GPU. The functions here are the user's; workers load this file.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_xsched import ScenarioError, Session, model
from pytest_xsched.session.settings import Settings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

KIND = "hip" if torch.version.hip else "cuda"


@pytest.fixture(params=["worker", "inside"])
def gpu(request):
    session = Session(Settings(device=KIND, process=request.param))
    yield session
    session.close()


@pytest.fixture
def worker():
    session = Session(Settings(device=KIND))
    yield session
    session.close()


def measure(session, *queues, **more):
    return session.run(*queues, **{"duration": "1s", "warmup": "100ms", **more})


# ---- models


def conv(channels=64, layers=8, dtype="float16", last=True):
    layers = [torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers)]
    net = torch.nn.Sequential(*layers).eval().to(getattr(torch, dtype))
    x = torch.randn(1, channels, 56, 56, dtype=getattr(torch, dtype))
    if last:
        net, x = (one.to(memory_format=torch.channels_last) for one in (net, x))

    def request():
        with torch.no_grad():
            return net(x)

    return request


def products(n=2048, count=10):
    """What needs a workspace of cuBLAS, and its counters."""
    a = torch.randn(n, n, dtype=torch.half) / n**0.5

    def request():
        y = a
        for _ in range(count):
            y = a @ y
        return y

    return request


def compiled():
    net = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.GELU(), torch.nn.LayerNorm(512))
    net = torch.compile(net.eval())
    x = torch.randn(64, 512)

    def request():
        with torch.no_grad():
            return net(x)

    return request


def training():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    x, labels = torch.randn(128, 256), torch.randint(0, 10, (128,))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def request():
        optimizer.zero_grad(set_to_none=False)
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return request


def branches(n=1024):
    """A request on two streams, which its graph keeps."""
    a = torch.randn(n, n)
    side = torch.cuda.Stream()

    def request():
        here = torch.cuda.current_stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            left = a @ a
        right = a + a
        here.wait_stream(side)
        return left + right

    return request


def cache():
    kept = torch.zeros(4, 256)
    x = torch.randn(256)

    def request():
        kept[2] = x
        return kept, kept.sum(0)

    return request


def answers(width=512, fresh=False):
    """A prefill and a step of what a step leaves for the next one, in place or as a new tensor."""
    torch.manual_seed(0)
    net, begin = torch.nn.Linear(width, width), torch.randn(1, width)
    state = [torch.zeros(1, width)]

    def leave(value):
        if fresh:
            state[0] = value
        else:
            state[0].copy_(value)
        return value

    @torch.no_grad()
    def prefill():
        return leave(begin * 2)

    @torch.no_grad()
    def decode():
        return leave(torch.tanh(net(state[0])))

    return prefill, decode


def accumulates(every=2):
    """A training step that updates the weights every other time only."""
    net, x = torch.nn.Linear(64, 64), torch.randn(8, 64)
    optimizer, calls = torch.optim.SGD(net.parameters(), lr=1e-3), []

    def request():
        calls.append(1)
        net(x).sum().backward()
        if len(calls) % every == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

    return request


def syncs():
    x = torch.randn(64, 64)
    return lambda: x * (x @ x).sum().item()


def to_host():
    x = torch.randn(64, 64)
    return lambda: (x @ x).cpu()


def shapes():
    x = torch.randn(64, 64)
    return lambda: x[x > 0].sum()


def random():
    return lambda: torch.rand(64, device="cuda")


def too_large():
    x = torch.empty(2**50, dtype=torch.uint8)
    return lambda: x


def on_host():
    x = torch.randn(64, device="cpu")
    return lambda: x * 2


# ---- what they show


@pytest.mark.parametrize("scheduler", ["native", "priority", "builtin"])
def test_two_models_at_one_time_compute_what_they_compute_eagerly(gpu, scheduler):
    high = gpu.queue("high", model(conv, commands=4), priority=10, rate="100/s")
    low = gpu.queue("low", model(products), priority=1)
    run = measure(gpu, high, low, scheduler=scheduler, check=True)
    run.require()
    assert run.evidence.checked
    assert [facts.outputs for facts in run.fingerprint.models] == ["equal to the eager request"] * 2
    assert run.high.counts.launched == 4 * run.high.counts.requests_completed
    assert run.low.counts.completed


def test_two_models_with_a_workspace_each_do_not_hang(gpu):
    queues = [gpu.queue(f"q{i}", model(products, 1024, count=4 + i)) for i in range(3)]
    run = measure(gpu, *queues, scheduler="native", check=True)
    run.require()
    assert run.evidence.checked


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        (conv, {"dtype": "float16"}),
        (conv, {"dtype": "bfloat16", "last": False}),
        (conv, {"dtype": "float32"}),
        (branches, {}),
        (cache, {}),
    ],
)
@pytest.mark.parametrize("commands", [1, 5, "20us"])
def test_cutting_changes_no_bit(worker, factory, arguments, commands):
    queue = worker.queue("q", model(factory, commands=commands, **arguments), rate="100/s")
    run = measure(worker, queue, check=True)
    assert run.evidence.checked and not run.evidence.faults


def test_a_compiled_model(worker):
    run = measure(worker, worker.queue("q", model(compiled), rate="100/s"), check=True)
    assert run.evidence.checked


def test_a_training_step_trains_while_it_is_cut_and_contended(gpu):
    low = gpu.queue("low", model(training, tolerance=None, commands=6), priority=1)
    high = gpu.queue("high", model(conv), priority=10, rate="100/s")
    run = measure(gpu, high, low, check=True)
    assert run.evidence.unchecked == (
        "low: results of its model are not compared: tolerance is None",
    )
    if gpu.settings.process == "inside":
        kept = [one for _, one in gpu.devices.models._kept.values()]
        (loss,) = next(
            one._captured._leaves
            for one in kept
            if len(one._captured._leaves) == 1 and one._captured._leaves[0].ndim == 0
        )
        assert float(loss.detach()) < 2.0  # it begins at 2.3 = ln 10


@pytest.mark.parametrize("scheduler", ["native", "builtin"])
@pytest.mark.parametrize("commands", ["auto", 3])
def test_a_request_with_steps_computes_what_it_computes_eagerly(gpu, scheduler, commands):
    """Each step reads what the one before left, and has a time of its own."""
    work = model(answers, steps=8, commands=commands)
    high = gpu.queue("high", work, priority=10, rate="50/s")
    low = gpu.queue("low", model(products), priority=1)
    run = measure(gpu, high, low, scheduler=scheduler, check=True)
    run.require()
    assert run.evidence.checked and run.high.milestones.names == ("token",)
    times = run.high.milestones.at_ns.reshape(-1, 9)
    assert (times[:, :-1] <= times[:, 1:]).all()
    assert (times[:, -1] == run.high.samples["completed_ns"]).all()
    assert run.high.first_token.n == run.high.n and run.high.between_tokens.n == 8 * run.high.n


def test_a_step_that_does_not_leave_its_result_in_place_is_named(worker):
    queue = worker.queue("q", model(answers, fresh=True, steps=8), rate="50/s")
    with pytest.raises(ScenarioError, match="a step must find its input where the one before"):
        measure(worker, queue)


def test_a_model_whose_requests_launch_other_kernels_each_time_is_refused(worker):
    queue = worker.queue("q", model(accumulates, tolerance=None), rate="50/s")
    with pytest.raises(ScenarioError, match="its requests do not launch the same kernels: after"):
        measure(worker, queue)


def test_kernels_have_names(worker):
    run = measure(worker, worker.queue("q", model(products), rate="100/s"))
    (facts,) = run.fingerprint.models
    assert facts.kernels >= 10 and "" not in dict(facts.kernel_names)
    assert facts.framework == f"torch {torch.__version__}"


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (syncs, "a request cannot be captured: "),
        (to_host, "a result on the device cpu, but the run is on cuda:0"),
        (shapes, "a request cannot be captured: "),
        (too_large, "building it failed: OutOfMemoryError: "),
        (on_host, "a result on the device cpu"),
    ],
)
def test_what_cannot_be_captured_is_one_sentence(worker, factory, words):
    with pytest.raises(ScenarioError) as error:
        measure(worker, worker.queue("q", model(factory), rate="100/s"))
    text = str(error.value)
    assert words in text and "\n" not in text
    assert "(test_torch.py:" in text or "device cpu" in text


def test_random_results_are_not_compared(worker):
    queue = worker.queue("q", model(random), rate="100/s")
    (facts,) = measure(worker, queue).fingerprint.models
    assert facts.outputs.startswith("not compared: they are not deterministic")
    with pytest.raises(ScenarioError, match="check=True, but its results are not compared"):
        measure(worker, queue, check=True)


def test_a_session_goes_on_after_a_model_that_cannot_be_captured(worker):
    with pytest.raises(ScenarioError, match="cannot be captured"):
        measure(worker, worker.queue("q", model(syncs), rate="100/s"))
    run = measure(worker, worker.queue("q", model(conv), rate="100/s"), check=True)
    assert run.evidence.checked


def test_memory_stays_flat_over_many_models():
    session = Session(Settings(device=KIND, process="inside"))
    free = []
    for i in range(6):
        queue = session.queue(f"q{i}", model(products, 1024), rate="50/s")
        measure(session, queue, duration="200ms")
        free.append(torch.cuda.mem_get_info()[0])
    session.close()
    assert free[5] >= free[1] - 2**26


def test_workspaces_of_libraries_go_with_their_model():
    """PyTorch keeps a workspace of cuBLAS for each stream, also when the stream is gone."""
    session = Session(Settings(device=KIND, process="inside"))
    held = []
    for i in range(5):
        queue = session.queue(f"q{i}", model(products, 1024), rate="50/s")
        measure(session, queue, duration="200ms")
        session.devices.models.close()
        held.append(torch.cuda.memory_reserved())
    session.close()
    assert held[1:] == held[1:2] * 4


def test_eagerly_a_request_with_steps_has_a_time_for_each(worker):
    queue = worker.queue("q", model(answers, steps=8, mode="eager"), rate="50/s")
    run = measure(worker, queue, scheduler="native", duration="2s")
    assert run.q.between_tokens.n == 8 * run.q.n


def test_eagerly_it_is_a_program(worker):
    high = worker.queue("high", model(conv, mode="eager"), priority=10, rate="50/s")
    low = worker.queue("low", model(products, mode="eager"), priority=1)
    run = measure(worker, high, low, scheduler="native", duration="2s")
    assert run.high.n == 100 and run.low.n > 0


def test_a_share_of_the_multiprocessors_slows_a_model_down(worker):
    """Kernels keep the context of their capture, so the share must hold there."""
    whole = measure(worker, worker.queue("q", model(products, 4096)))
    share = measure(worker, worker.queue("q", model(products, 4096), sm_share=0.25))
    assert share.q.p50.value > 1.5 * whole.q.p50.value


def test_the_test_file_may_be_anywhere(worker, tmp_path, monkeypatch):
    path = os.path.relpath(Path(__file__), tmp_path)
    monkeypatch.chdir(tmp_path)
    measure(worker, worker.queue("q", model(f"{path}:conv"), rate="50/s"))
