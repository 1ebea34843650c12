"""PyTorch's side of a model, with PyTorch's build for the CPU; the capture itself is stood in for.

A stand-in does what a capture on a GPU would: the request is called once under it, and its results
are the tensors that later requests of the graph write.
"""

from __future__ import annotations

import contextlib
import types

import pytest

from pytest_xsched import ScenarioError
from pytest_xsched.models.factory import Factory
from pytest_xsched.scenario.models import Model

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from pytest_xsched.models import torch_adapter  # noqa: E402
from pytest_xsched.models.torch_adapter import TorchRequest, eager_request  # noqa: E402


class Graph:
    """Like torch.cuda.CUDAGraph."""

    def __init__(self, keep_graph=False):
        assert keep_graph

    def raw_cuda_graph(self):
        return 1234

    def reset(self):
        self.is_reset = True


@pytest.fixture
def gpu(monkeypatch):
    """Stands in for a GPU with the processor; `gpu.captures` are the arguments of captures."""
    captures, streams = [], []

    @contextlib.contextmanager
    def capture(graph, **arguments):
        captures.append(arguments)
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError("operation failed due to a previous error") from error

    stream = types.SimpleNamespace(synchronize=lambda: None)
    for name, value in {
        "CUDAGraph": Graph,
        "graph": capture,
        "ExternalStream": lambda pointer, device: streams.append(pointer) or stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda device: "before",
        "set_stream": streams.append,
        "synchronize": lambda device=None: None,
        "graph_pool_handle": lambda: len(captures),
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value, raising=False)
    monkeypatch.setattr(torch_adapter, "_device", lambda torch, model, device: torch.device("cpu"))
    monkeypatch.setattr(torch_adapter, "_half_captured", [])
    return types.SimpleNamespace(captures=captures, streams=streams)


def factory(function, **more):
    return Factory(model=Model(factory="nets.py:net", **more), function=function, directory="/")


def linear():
    torch.manual_seed(0)
    net, x = torch.nn.Linear(4, 3), torch.randn(2, 4)

    def request():
        with torch.no_grad():
            return {"logits": net(x), "best": [net(x).argmax(-1)], "name": "y"}

    return request


def test_an_eager_request_is_the_users_own():
    calls = []
    request = eager_request(factory(lambda: lambda: calls.append(torch.ones(2))), "cpu")
    request({})
    request({})
    assert len(calls) == 2


def test_the_device_of_the_run_is_the_default_while_the_model_is_built():
    seen = []
    eager_request(factory(lambda: seen.append(torch.empty(1).device) or (lambda: None)), "cpu")
    assert seen == [torch.device("cpu")]


def test_each_model_has_a_stream_and_a_pool_of_its_own(gpu):
    TorchRequest(factory(linear), "cuda", 11)
    TorchRequest(factory(linear), "cuda", 12)
    assert gpu.streams == [11, 12]
    assert [one["pool"] for one in gpu.captures] == [0, 1]
    assert {one["capture_error_mode"] for one in gpu.captures} == {"thread_local"}


def test_results_are_equal_to_the_last_bit_only_after_a_request(gpu):
    one = TorchRequest(factory(linear), "cuda", 11)
    assert one.pointers == [(1234, 1)] and one.framework == f"torch {torch.__version__}"
    assert one.is_compared and one.outputs == "equal to the eager request"
    assert one.compare() == ""
    logits, best = one._leaves
    kept = logits.clone(), best.clone()
    one.poison()
    assert logits.isnan().all() and (best != kept[1]).all()
    assert "6 of 6 elements of result 0 differ, by up to nan, from those of the eager" in (
        one.compare()
    )
    logits.copy_(kept[0])
    best.copy_(kept[1])
    assert one.compare() == ""
    logits[0, 0] = torch.nextafter(logits[0, 0], torch.tensor(9.0))
    assert one.compare().startswith("1 of 6 elements of result 0 differ, by up to ")


def test_a_graph_has_workspaces_of_its_own_and_none_stays_after_its_capture(gpu, monkeypatch):
    """A workspace of cuBLAS that PyTorch keeps for a stream is never freed."""
    order = []
    drop = lambda: order.append("drop")  # noqa: E731
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", drop, raising=False)
    TorchRequest(factory(lambda: lambda: order.append("request") or torch.ones(1)), "cuda", 11)
    assert order[-3:] == ["drop", "request", "drop"] and order.count("drop") == 2


def test_ctrl_c_during_a_capture_stays_one(gpu):
    calls = []

    def request():
        calls.append(1)
        if gpu.captures:
            raise KeyboardInterrupt
        return torch.ones(1)

    with pytest.raises(KeyboardInterrupt):
        TorchRequest(factory(lambda: request), "cuda", 11)
    assert len(calls) > 2


def test_within_a_tolerance(gpu):
    one = TorchRequest(factory(linear, tolerance=1e-3), "cuda", 11)
    assert one.outputs == "equal to the eager request within 0.001"
    one._leaves[0].add_(1e-5)
    assert one.compare() == ""
    one._leaves[0].add_(1)
    assert one.compare()


def test_a_nan_that_belongs_there_is_equal(gpu):
    one = TorchRequest(factory(lambda: lambda: torch.full((2,), float("nan"))), "cuda", 11)
    assert one.is_compared and one.compare() == ""


def test_what_a_request_keeps_for_the_next_one_is_not_overwritten(gpu):
    def with_cache():
        cache = torch.ones(3)
        return lambda: (cache, cache * 2)

    one = TorchRequest(factory(with_cache), "cuda", 11)
    one.poison()
    cache, doubled = one._leaves
    assert (cache == 1).all() and doubled.isnan().all()


def test_results_of_other_kinds_can_be_overwritten(gpu):
    def kinds():
        return lambda: (
            torch.tensor(3.0, dtype=torch.bfloat16),
            torch.tensor([True, False]),
            torch.arange(6).reshape(2, 3).t(),
            torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)).to(
                memory_format=torch.channels_last
            ),
            torch.tensor([1 + 2j]),
        )

    with torch.inference_mode():
        one = TorchRequest(factory(kinds), "cuda", 11)
    assert one.is_compared and one.compare() == ""
    one.poison()
    for leaf, kept in zip(one._leaves, one._reference, strict=True):
        assert not one._same(leaf, kept)


def counter():
    state = torch.zeros(1)

    def request():
        state.add_(1)
        return state * 2

    return request


def test_a_request_that_changes_its_model_is_not_compared(gpu):
    one = TorchRequest(factory(counter), "cuda", 11)
    assert not one.is_compared
    assert one.outputs.startswith(
        "not compared: they are not deterministic, or change with each request: of two eager "
        "requests 1 of 1 elements of result 0 differ, by up to 2,"
    )
    assert TorchRequest(factory(counter, tolerance=None), "cuda", 11).outputs == (
        "not compared: tolerance is None"
    )
    assert TorchRequest(factory(lambda: lambda: None), "cuda", 11).outputs == (
        "not compared: a request returns no tensor"
    )


def test_the_first_reason_of_a_failed_capture_is_told(gpu):
    def syncs():
        calls = []

        def request():
            calls.append(1)
            if len(gpu.captures):
                raise RuntimeError("CUDA error: operation not permitted when stream is capturing\n")
            return torch.ones(1)

        return request

    with pytest.raises(ScenarioError) as error:
        TorchRequest(factory(syncs), "cuda", 11)
    assert str(error.value) == (
        "model(net): a request cannot be captured: RuntimeError: CUDA error: operation not "
        'permitted when stream is capturing; mode="eager" runs it in a process of its own, and '
        'command(["python", "serve.py"]) a program'
    )
    assert gpu.streams == [11, "before"]  # PyTorch's current stream is not ours any more
    with pytest.raises(ScenarioError, match=r"no further model in this process, in which model\("):
        TorchRequest(factory(linear), "cuda", 12)


def test_a_capture_that_only_the_model_failed_spoils_nothing(gpu):
    def raises():
        def request():
            if len(gpu.captures):
                raise KeyError("token")
            return torch.ones(1)

        return request

    with pytest.raises(ScenarioError, match="cannot be captured: KeyError: 'token'"):
        TorchRequest(factory(raises), "cuda", 11)
    assert TorchRequest(factory(linear), "cuda", 12).is_compared


def test_an_old_pytorch_is_told(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    with pytest.raises(ScenarioError, match=r"does not keep the graph .* came with 2.8\); update"):
        TorchRequest(factory(linear), "cuda", 11)


def test_memory_that_is_not_there_is_told(gpu):
    def large():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(ScenarioError, match="building it failed: OutOfMemoryError: CUDA out of m"):
        TorchRequest(factory(large), "cuda", 11)


def test_a_result_on_another_device_is_told(gpu):
    with pytest.raises(ScenarioError, match="a result on the device meta, but the run is on cpu"):
        TorchRequest(factory(lambda: lambda: torch.ones(1, device="meta")), "cuda", 11)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_pytorch_does_not_see_is_told():
    with pytest.raises(ScenarioError, match=r"the device is 'cuda:1', but PyTorch .* sees 0 GPUs"):
        eager_request(factory(linear), "cuda:1")


def test_a_warm_up_goes_on_until_requests_are_no_longer_getting_faster(gpu):
    calls = []
    TorchRequest(factory(lambda: lambda: calls.append(1)), "cuda", 11)
    assert 6 + 2 + 1 <= len(calls) <= 100 + 3


def test_it_releases_what_it_has(gpu):
    one = TorchRequest(factory(linear), "cuda", 11)
    graphs = one._graphs
    one.close()
    assert all(graph.is_reset for graph in graphs)
    assert one._leaves == [] and one._calls == ()


def generator(steps, in_place=True):
    """A model that adds numbers up: a request begins at 1, and each step doubles what there is."""

    def build():
        state, fresh = torch.zeros(1), [torch.zeros(1)]

        def prefill():
            state.fill_(1.0)
            fresh[0] = torch.ones(1)
            return state if in_place else fresh[0]

        def decode():
            if in_place:
                state.mul_(2)
                return state
            fresh[0] = fresh[0] * 2
            return fresh[0]

        return prefill, decode

    return factory(build, steps=steps)


def test_a_request_with_steps_has_a_graph_for_each_call(gpu):
    one = TorchRequest(generator(5), "cuda", 11)
    assert [times for _, times in one.pointers] == [1, 5]
    assert [capture["pool"] for capture in gpu.captures] == [0, 1]
    # What the stand-in captures, it also computes: one step, after a request of five.
    assert [float(leaf) for leaf in one._leaves] == [2.0, 2.0]
    assert [float(kept) for kept in one._reference] == [32.0, 32.0]


def test_a_second_capture_replaces_the_first_after_further_requests(gpu):
    calls = []

    def build():
        return lambda: calls.append(1) or torch.ones(1)

    one = TorchRequest(factory(build), "cuda", 11)
    first, before, warm_ups = one._graphs, len(calls), one.warm_ups
    one.again()
    assert first[0].is_reset and one._graphs[0] is not first[0]
    assert one.warm_ups == warm_ups + 2 and len(calls) == before + 2 + 1
    assert one.compare() == ""


def test_an_eager_request_with_steps_tells_when_each_call_is_done():
    order = []

    def build():
        return lambda: order.append("prefill"), lambda: order.append("decode")

    eager_request(factory(build, steps=2), "cpu", lambda: order.append("reached"))({})
    assert order == ["prefill", "reached", "decode", "reached", "decode", "reached"]
