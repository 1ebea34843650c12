"""PyTorch: build a model on a device, run it eagerly, capture a request, compare its results.

The only file that imports PyTorch, by name and on use: it is the user's, of version 2.8 or later
for graphs. A request is captured on a stream and into a memory pool of its own, because two graphs
of one stream share a workspace of cuBLAS, and run at one time they hang or compute nonsense.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_xsched.base.constants import split_device
from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.factory import (
    Call,
    Factory,
    Request,
    in_order,
    reason,
    refuse_sizes,
    require_run,
    told,
)
from pytest_xsched.models.grouping import is_steady
from pytest_xsched.scenario.models import Model

WAYS_OUT = (
    'mode="eager" runs it in a process of its own, and command(["python", "serve.py"]) a program'
)
_WARM_UPS_MAX = 100
_WARM_UP_S = 60.0
"""Longest time of a warm-up, which ends when the times are steady."""
WARM_UPS_BETWEEN = 2
"""Eager requests between two captures, whose kernels must be the same."""
_half_captured: list[str] = []
"""The model whose capture could not even be ended in this process. PyTorch then takes later work,
random numbers for one, for part of that capture."""


def eager_request(
    factory: Factory, device: str, reached: Callable[[], None] = lambda: None
) -> Callable[[Mapping[str, int]], None]:
    """Return the callable that does one request of some sizes and waits for its end.

    Args:
        factory: of the user.
        device: name of the device of the run.
        reached: called after each call of the user's functions, when its work is done.

    Raises:
        ScenarioError: it fails, or PyTorch does not have the device.
    """
    torch = _torch(factory.model)
    where = _device(torch, factory.model, device)
    calls = _build(torch, factory, where)
    stream = None
    if where.type != "cpu":
        # The default stream is the legacy one, which XSched does not schedule.
        stream = torch.cuda.Stream(where)
        torch.cuda.set_stream(stream)
    is_checked = where.type != "cpu"  # there a result may be on the host

    def one(sizes: Mapping[str, int]) -> None:
        nonlocal is_checked
        for function in in_order(calls, sizes):
            result = function()
            require_run(factory.model, result)
            if stream is not None:
                stream.synchronize()
            reached()
            if not is_checked:
                _check_devices(factory.model, _leaves(torch, result), where)
        is_checked = True

    return one


class TorchRequest:
    """One request of a model, captured into a graph for each of its calls; it owns what these use.

    Args:
        factory: of the user.
        device: name of the device of the run.
        stream: of the driver, for this model only; it must outlive this object.

    Attributes:
        pointers: of the graphs, as the driver has them, and how often a request launches each.
        framework: name and version.
        outputs: what is known of the results, as a phrase; see `compare`.
        capture_ns: time that the capture took.
        warm_ups: requests that were done eagerly.

    Raises:
        ScenarioError: the function or a request fails, or a request cannot be captured.
    """

    def __init__(self, factory: Factory, device: str, stream: int) -> None:
        model = self._model = factory.model
        torch = self._torch = _torch(model)
        self._where = _device(torch, model, device)
        if _half_captured:
            raise ScenarioError(
                f"{model.name}: PyTorch builds no further model in this process, in which "
                f"{_half_captured[0]} could not be captured; test that one by itself, or leave "
                "--xsched-process=inside out"
            )
        if not hasattr(torch.cuda.CUDAGraph, "raw_cuda_graph"):
            raise ScenarioError(
                f"{model.name}: PyTorch {torch.__version__} does not keep the graph that it "
                f"captures (keep_graph came with 2.8); update it, or {WAYS_OUT}"
            )
        self.framework = f"torch {torch.__version__}"
        self._calls = _build(torch, factory, self._where)
        refuse_sizes(model, self._calls)
        self._stream = torch.cuda.ExternalStream(stream, device=self._where)
        self.outputs = ""
        self.warm_ups = 0
        self._reference: list[Any] = []
        self._is_lasting: list[bool] = []
        with torch.cuda.stream(self._stream):
            self._warm_up()
            self._run_twice()
        self._graphs: list[Any] = []
        self._leaves: list[Any] = []
        self._capture_calls()

    def again(self) -> None:
        """Replace the capture by a new one, after further eager requests.

        Raises:
            ScenarioError: a request fails, or cannot be captured.
        """
        with self._torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS_BETWEEN):
                self._request()
            self._stream.synchronize()
        self._drop_graphs()
        self._capture_calls()

    # ---- results

    @property
    def is_compared(self) -> bool:
        """Whether the results of a request of the graph can be compared with the eager ones."""
        return bool(self._reference)

    def poison(self) -> None:
        """Overwrite the results, so that those of an earlier request are not taken for new ones.

        What a request returns but did not make, such as a cache, stays: it may be an input.
        """
        torch = self._torch
        with torch.inference_mode():
            for leaf, kept, lasts in zip(
                self._leaves, self._reference, self._is_lasting, strict=False
            ):
                if lasts:
                    continue
                if leaf.is_floating_point() or leaf.is_complex():
                    leaf.fill_(float("nan"))
                else:
                    leaf.copy_(torch.bitwise_not(kept))
        torch.cuda.synchronize(self._where)

    def compare(self) -> str:
        """Return a sentence about the first result that is not the eager one; '' if there is none.

        The GPU must be done with the request.
        """
        self._torch.cuda.synchronize(self._where)
        for number, (leaf, kept) in enumerate(zip(self._leaves, self._reference, strict=False)):
            if not self._same(leaf, kept):
                return f"{self._difference(number, leaf, kept)} from those of the eager request"
        return ""

    def close(self) -> None:
        """Release the graph and the model. The GPU must be done with them."""
        torch = self._torch
        torch.cuda.synchronize(self._where)
        self._drop_graphs()
        self._calls = ()
        self._reference = []
        gc.collect()
        torch.cuda.empty_cache()

    # ---- inside

    def _request(self) -> list[Any]:
        """Return the last result of each call of an eager request."""
        results = []
        self.warm_ups += 1
        with told(self._model, "a request failed"):
            for call in self._calls:
                for _ in range(call.times):
                    result = call.function()
                    require_run(self._model, result)
                results.append(result)
        return results

    def _warm_up(self) -> None:
        """Run requests until their times are steady: libraries choose and compile kernels first."""
        times_ns: list[int] = []
        end_s = time.monotonic() + _WARM_UP_S
        while len(times_ns) < _WARM_UPS_MAX and not is_steady(times_ns):
            begin_ns = time.perf_counter_ns()
            result = self._request()
            self._stream.synchronize()
            times_ns.append(time.perf_counter_ns() - begin_ns)
            if len(times_ns) == 1:
                _check_devices(self._model, _leaves(self._torch, result), self._where)
            if time.monotonic() > end_s:
                break

    def _run_twice(self) -> None:
        """Keep the results of an eager request, and check that a second one has the same."""
        torch, model = self._torch, self._model
        first = list(_leaves(torch, self._request()))
        self._stream.synchronize()
        kept = [leaf.detach().clone() for leaf in first]
        second = list(_leaves(torch, self._request()))
        self._stream.synchronize()
        if model.tolerance is None:
            self.outputs = "not compared: tolerance is None"
            return
        if not kept:
            self.outputs = "not compared: a request returns no tensor"
            return
        self._reference = kept
        shapes = [leaf.shape for leaf in second] == [leaf.shape for leaf in kept]
        differs = None
        if shapes:
            differs = next(
                (i for i, leaf in enumerate(second) if not self._same(leaf, kept[i])), None
            )
        if not shapes or differs is not None:
            how = (
                "have other shapes"
                if differs is None
                else self._difference(differs, second[differs], kept[differs])
            )
            self._reference = []
            self.outputs = (
                f"not compared: they are not deterministic, or change with each request: of two "
                f"eager requests {how} from those of the other"
            )
            return
        # Both are alive, so only a tensor that no request made has one place in both.
        self._is_lasting = [
            a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
            for a, b in zip(first, second, strict=True)
        ]
        self.outputs = "equal to the eager request" + (
            f" within {model.tolerance:g}" if model.tolerance else ""
        )

    def _drop_graphs(self) -> None:
        for graph in self._graphs:
            graph.reset()
        self._graphs, self._leaves = [], []

    def _capture_calls(self) -> None:
        """Capture each call of a request once, in their order."""
        begin_ns = time.perf_counter_ns()
        results = []
        try:
            for call in self._calls:
                graph, result = self._capture(call.function)
                self._graphs.append(graph)
                results.append(result)
        except BaseException:
            self._drop_graphs()
            raise
        self.capture_ns = time.perf_counter_ns() - begin_ns
        self._leaves = list(_leaves(self._torch, results))
        shapes = [leaf.shape for leaf in self._leaves]
        if self.is_compared and shapes != [kept.shape for kept in self._reference]:
            raise ScenarioError(
                f"{self._model.name}: a captured request returns results of other shapes than an "
                "eager one; return the same from each request"
            )
        self.pointers = [
            (int(graph.raw_cuda_graph()), call.times)
            for graph, call in zip(self._graphs, self._calls, strict=True)
        ]

    def _capture(self, function: Request) -> tuple[Any, Any]:
        torch, failure = self._torch, None
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        before = torch.cuda.current_stream(self._where)
        _drop_workspaces(torch)
        try:
            with torch.cuda.graph(
                graph,
                pool=torch.cuda.graph_pool_handle(),
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                try:
                    result = function()
                except BaseException as error:
                    failure = error  # what follows from it, the end of the capture reports
                    raise
        except BaseException as error:
            torch.cuda.set_stream(before)  # after a failure PyTorch leaves its own as it is
            if error is not failure:  # the end of the capture failed, too
                _half_captured.append(self._model.name)
            if isinstance(failure, KeyboardInterrupt):
                raise failure from None
            if isinstance(error, (KeyboardInterrupt, ScenarioError)):
                raise
            said = reason(failure or error, self._model)
            raise ScenarioError(
                f"{self._model.name}: a request cannot be captured: {said}; {WAYS_OUT}"
            ) from error
        finally:
            _drop_workspaces(torch)
        return graph, result

    def _same(self, leaf: Any, kept: Any) -> bool:
        torch = self._torch
        if leaf.shape != kept.shape or leaf.dtype != kept.dtype:
            return False
        with torch.inference_mode():
            if not self._model.tolerance:
                return bool(torch.equal(_bytes(torch, leaf), _bytes(torch, kept)))
            t = self._model.tolerance
            a, b = leaf.detach().float(), kept.float()
            return bool(torch.allclose(a, b, rtol=t, atol=t, equal_nan=True))

    def _difference(self, number: int, leaf: Any, kept: Any) -> str:
        torch = self._torch
        with torch.inference_mode():
            a, b = leaf.detach().reshape(-1), kept.reshape(-1)
            differ = (a != b) & ~((a != a) & (b != b))
            apart = (a - b).abs() if a.is_complex() else (a.double() - b.double()).abs()
            count, most = int(differ.sum()), float(apart.max())
        return f"{count} of {a.numel()} elements of result {number} differ, by up to {most:.3g},"


def _drop_workspaces(torch: Any) -> None:
    """Let PyTorch forget the workspaces of cuBLAS, one for each stream that there was.

    Before a capture: those of the graph are then made in its own pool, and live as long as it.
    After it: what is launched on this stream later gets another one. PyTorch does the same for
    graphs of compiled modules. Workspaces of streams that are gone would never be freed.
    """
    if (drop := getattr(torch._C, "_cuda_clearCublasWorkspaces", None)) is not None:
        drop()


def _torch(model: Model) -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ScenarioError(
            f"{model.name}: PyTorch cannot be imported ({error}); install it, or write graph() for "
            "what launches onto a stream by itself"
        ) from None


def _device(torch: Any, model: Model, device: str) -> Any:
    """Return PyTorch's device for the device of a run, after making it the current one."""
    kind, index = split_device(device)
    if kind == "cpu":
        return torch.device("cpu")
    built = "hip" if torch.version.hip else "cuda"
    if not torch.cuda.is_available() or built != kind or index >= torch.cuda.device_count():
        has = f"is built for {built}" if torch.version.hip or torch.version.cuda else "has no GPU"
        raise ScenarioError(
            f"{model.name}: the device is {device!r}, but PyTorch {torch.__version__} {has} and "
            f"sees {torch.cuda.device_count()} GPUs; install the build for this GPU"
        )
    where = torch.device("cuda", index)
    torch.cuda.set_device(where)
    return where


def _build(torch: Any, factory: Factory, where: Any) -> tuple[Call, ...]:
    """Call the function with the device as PyTorch's default, which would slow requests down."""
    with torch.device(where):
        calls = factory.build()
    if where.type != "cpu":
        torch.cuda.synchronize(where)  # requests run on another stream
    return calls


def _leaves(torch: Any, result: Any) -> Iterator[Any]:
    """Yield the tensors of a result: of a tensor, of lists, and of mappings, as deep as they go."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, Mapping):
        for part in result.values():
            yield from _leaves(torch, part)
    elif isinstance(result, (list, tuple)):
        for part in result:
            yield from _leaves(torch, part)


def _check_devices(model: Model, leaves: Iterator[Any], where: Any) -> None:
    for leaf in leaves:
        if leaf.device != where:
            raise ScenarioError(
                f"{model.name}: a request returned a result on the device {leaf.device}, but the "
                f"run is on {where}; build model and inputs on PyTorch's default device, which is "
                "set while the function runs"
            )


def _bytes(torch: Any, tensor: Any) -> Any:
    """Return the elements as bytes, so that equal means equal to the last bit, of NaN, too."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
