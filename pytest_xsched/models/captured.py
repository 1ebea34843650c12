"""Models whose requests are commands of the runner: built, captured, cut, checked, and kept.

All models of a run are captured before any thread of the runner starts, because a capture fails if
other threads make certain calls meanwhile. A model is kept as long as the next run wants the same,
whatever its scheduler is: windows of a run, and arms of a comparison, share it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pytest_xsched.base.constants import TOKEN
from pytest_xsched.base.units import one_line
from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.models.factory import Factory, Place, find_factory
from pytest_xsched.models.grouping import divided, finest, is_steady
from pytest_xsched.models.stream_adapter import WAY_OUT, StreamRequest
from pytest_xsched.models.torch_adapter import WAYS_OUT, TorchRequest
from pytest_xsched.monitoring.environment import ModelFacts
from pytest_xsched.native.binding import Device
from pytest_xsched.native.graph import Capture, Graph, GraphRequest
from pytest_xsched.native.run import Counts
from pytest_xsched.scenario.grouping import AUTO, COMMANDS_MAX, grouped
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario

_TIMED = 10
"""Requests whose times decide where a graph is cut; the median of each piece counts."""
_STEPS_TIMED = 8
"""Steps of each of these requests that are launched and timed: the first ones."""
_WARM_UPS_MAX = 50
_CAPTURES_MAX = 5
"""Captures until two that follow each other have the same kernels."""
_STEP_ADVICE = (
    "a step must find its input where the one before left it, so write it into a tensor that "
    "exists, as in token.copy_(next_token); "
)


class Captured(Protocol):
    """What an adapter makes of a model: a captured request, and all that it uses."""

    pointers: list[tuple[int, int]]
    framework: str
    outputs: str
    capture_ns: int
    warm_ups: int

    @property
    def is_compared(self) -> bool: ...
    def again(self) -> None: ...
    def poison(self) -> None: ...
    def compare(self) -> str: ...
    def close(self) -> None: ...


class CapturedModel:
    """The model of one queue, captured on a stream of its own.

    Args:
        device: on which it runs.
        name: of the device.
        model: of the user.
        place: of the user's code.
        units: multiprocessors to which it is bound; empty: all. Kernels keep those of the capture.

    Raises:
        ScenarioError: its code fails, or it cannot be captured or cut.
        DeviceError: the driver refuses a call, or the GPU hangs.
    """

    def __init__(
        self,
        device: Device,
        name: str,
        model: Model,
        place: Place,
        units: tuple[int, ...] = (),
    ) -> None:
        self._model = model
        self._capture = Capture(device, units)
        self._captured: Captured | None = None
        self._graphs: list[Graph] = []
        self._warm_ups: list[int] = []
        self._pieces: list[tuple[list[int], list[int]]] = []
        self._ends: list[list[int]] = []
        self._build_ns = self._capture_ns = self._cut_ns = 0
        try:
            begin_ns = time.perf_counter_ns()
            self._captured = _capture(find_factory(model, place), name, self._capture)
            self._read(device)
            self._capture_until_steady(device)
            self._build_ns = time.perf_counter_ns() - begin_ns - self._capture_ns
        except BaseException:
            self.close()
            raise

    @property
    def request(self) -> GraphRequest:
        """Return a request: its graphs, which `cut` divides into commands."""
        return GraphRequest(
            [(graph, times) for graph, (_, times) in zip(self._graphs, self._pointers, strict=True)]
        )

    @property
    def milestones(self) -> tuple[tuple[str, int], ...]:
        """Return the milestones of a request, as it is cut now: see `Workload.milestones`."""
        if self._model.steps is None:
            return ()
        return tuple((TOKEN, after) for after in self.request.launch_ends())

    def cut(self, model: Model, *, whole: bool) -> None:
        """Cut the graph into commands as a run wants.

        Args:
            model: what the queue has; it differs in `commands` at most.
            whole: whether ``"auto"`` means one command.

        Raises:
            ScenarioError: results of the cut graph differ from those of the eager request.
            DeviceError: the driver refuses a call, or the GPU hangs.
        """
        begin_ns = time.perf_counter_ns()
        ends = self._ends_for(model, whole=whole)
        if ends == self._ends:
            return
        self._ends = []
        self._cut(ends)
        if fault := self._after_one_request():
            advice = "" if model.steps is None else _STEP_ADVICE
            raise ScenarioError(
                f"{model.name}: cut into {self.request.segments} commands, {fault}; {advice}state "
                'a tolerance, or write mode="eager"'
            )
        self._ends = ends  # of a cut that was checked
        self._cut_ns += time.perf_counter_ns() - begin_ns

    def poison(self) -> None:
        """Overwrite the results of the last request before a run."""
        self._of_user.poison()

    def wrong_result(self, counts: Counts) -> str:
        """Return a sentence about a wrong result of a run; '' if there is none.

        The results are those of the run's last request, or of another one where the run left that
        unfinished.

        Args:
            counts: of its queue.
        """
        if not self._of_user.is_compared:
            return ""
        if not 0 < counts.requests_submitted == counts.requests_completed:
            return self._after_one_request()
        return self._of_user.compare()

    @property
    def outputs(self) -> str:
        """Return what is known of its results, as a phrase."""
        return self._of_user.outputs

    @property
    def is_compared(self) -> bool:
        """Whether its results are compared with those of an eager request."""
        return self._of_user.is_compared

    def facts(self, queue: str) -> ModelFacts:
        """Return what distinguishes it from other models, for the fingerprint of a run.

        Args:
            queue: name of its queue.
        """
        names = self._kernels()
        text = "\n".join(names)
        return ModelFacts(
            queue=queue,
            framework=self._of_user.framework,
            nodes=sum(graph.nodes * times for graph, times in self.request.parts),
            kernels=len(names),
            kernel_names=tuple(Counter(names).items()),
            kernels_digest=hashlib.sha256(text.encode()).hexdigest()[:16],
            commands=self.request.segments,
            outputs=self.outputs,
            build_ns=self._build_ns,
            capture_ns=self._capture_ns,
            cut_ns=self._cut_ns,
            warm_ups=tuple(self._warm_ups),
        )

    def close(self) -> None:
        """Release all of it. The GPU must be done with it."""
        self._close_graphs()
        if self._captured is not None:
            self._captured.close()
        self._capture.close()
        self._captured = None

    # ---- inside

    @property
    def _of_user(self) -> Captured:
        assert self._captured is not None
        return self._captured

    @property
    def _pointers(self) -> list[tuple[int, int]]:
        return self._of_user.pointers

    def _read(self, device: Device) -> None:
        """Read the graphs of the latest capture."""
        begin_ns = time.perf_counter_ns()
        try:
            for pointer, _ in self._pointers:
                self._graphs.append(Graph(device, pointer))
        except ScenarioError as error:
            raise ScenarioError(f"{self._model.name}: {error}; {_way_out(self._model)}") from error
        self._warm_ups.append(self._of_user.warm_ups)
        self._capture_ns = time.perf_counter_ns() - begin_ns + self._of_user.capture_ns

    def _capture_until_steady(self, device: Device) -> None:
        """Capture anew after further requests, until two captures have the same kernels.

        Libraries and compilers may choose other kernels in the first requests.
        """
        kernels = self._kernels()
        while True:
            self._close_graphs()
            self._of_user.again()
            self._read(device)
            before, kernels = kernels, self._kernels()
            if kernels == before:
                return
            if len(self._warm_ups) == _CAPTURES_MAX:
                raise ScenarioError(
                    f"{self._model.name}: its requests do not launch the same kernels: after "
                    f"{self._warm_ups[-2]} warm-up requests {_difference(before, kernels)} after "
                    f"{self._warm_ups[-1]}, so one captured request does not stand for the others; "
                    f"{_way_out(self._model)}"
                )

    def _kernels(self) -> list[str]:
        """Return the names of the kernels of a request, in order."""
        return [
            name
            for graph, times in self.request.parts
            for name in itertools.chain.from_iterable(itertools.repeat(graph.kernels, times))
        ]

    def _close_graphs(self) -> None:
        for graph in self._graphs:
            graph.close()
        self._graphs = []

    def _cut(self, ends: list[list[int]]) -> None:
        for graph, of in zip(self._graphs, ends, strict=True):
            graph.cut(of)

    def _ends_for(self, model: Model, *, whole: bool) -> list[list[int]]:
        """Return for each graph where its commands end."""
        if model.commands == 1 or (model.commands == AUTO and whole):
            return [[graph.nodes] for graph in self._graphs]
        if not self._pieces:
            self._ends = []
            self._pieces = self._timed()
        ends = [grouped(pieces, times_ns, model.commands) for pieces, times_ns in self._pieces]
        times = [times for _, times in self._pointers]
        count = sum(t * len(of) for t, of in zip(times, ends, strict=True))
        if count <= COMMANDS_MAX:
            return ends
        if model.commands != AUTO:
            raise ScenarioError(
                f"{model.name}: commands={model.commands!r} makes {count} commands of a request, "
                f"above the limit of {COMMANDS_MAX}; a step has {len(ends[-1])} of them, so make "
                "them longer"
            )
        most = COMMANDS_MAX // sum(times)
        return [grouped(pieces, times_ns, most) for pieces, times_ns in self._pieces]

    def _timed(self) -> list[tuple[list[int], list[int]]]:
        """Return of each graph the ends of the finest pieces and their times, in order."""
        cuts = [graph.cuts() for graph in self._graphs]
        ends = [finest(of) for of in cuts]
        timed = self._timed_at(ends)
        finer = [divided(of, *pieces) for of, pieces in zip(cuts, timed, strict=True)]
        return timed if finer == ends else self._timed_at(finer)

    def _timed_at(self, ends: list[list[int]]) -> list[tuple[list[int], list[int]]]:
        """Return of each graph the ends of its pieces, as given, and their times, in order."""
        self._cut(ends)
        request = self.request
        whole_ns: list[int] = []
        while len(whole_ns) < _WARM_UPS_MAX and not is_steady(whole_ns):
            whole_ns.append(sum(int(rows.sum()) for rows in request.run_ns(1, _STEPS_TIMED)))
        times_ns = (np.median(rows, axis=0) for rows in request.run_ns(_TIMED, _STEPS_TIMED))
        return [(of, [int(ns) for ns in row]) for of, row in zip(ends, times_ns, strict=True)]

    def _after_one_request(self) -> str:
        """Run a whole request over poisoned results, and compare them."""
        self._of_user.poison()
        self.request.run_ns(1)
        return self._of_user.compare()


def _capture(factory: Factory, device: str, capture: Capture) -> Captured:
    """Build the model of a factory and capture one request of it."""
    if factory.model.framework == "stream":
        return StreamRequest(factory, capture)
    if not factory.mentions("torch"):
        name = factory.function.__name__
        raise ScenarioError(
            f"{factory.model.name}: {name} uses no PyTorch, the only framework that model() "
            f"captures; graph({name}) captures what is launched onto a stream, and {WAYS_OUT}"
        )
    return TorchRequest(factory, device, capture.stream)


def _difference(before: Sequence[str], now: Sequence[str]) -> str:
    """Describe how the kernels of two requests differ: "168, and 170", or the first other names."""
    if len(before) != len(now):
        return f"{len(before)} kernels, and {len(now)}"
    first = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
    return f"kernel {first + 1} is {one_line(before[first])}, and {one_line(now[first])}"


def _way_out(model: Model) -> str:
    return WAYS_OUT if model.framework == "torch" else WAY_OUT


def _is_whole(scenario: Scenario, spec: QueueSpec) -> bool:
    """Check whether ``"auto"`` means one command: nothing overtakes the queue between commands."""
    if scenario.scheduler in ("native", "priority"):
        return True
    if scenario.scheduler != "builtin" or scenario.policy != "hpf" or scenario.changes:
        return False
    there = scenario.queues_on(spec.device or scenario.device)
    return spec.priority == max(queue.priority for queue in there)


@dataclass(frozen=True, slots=True)
class _Key:
    """What a captured model is kept for."""

    queue: str
    device: str
    model: Model
    units: tuple[int, ...]


class CapturedModels:
    """The captured models of this process.

    Args:
        place: of the user's code; None: this process is pytest's.
        doing: called with a sentence in the past before a model is built.

    Attributes:
        keeps_others: whether the model of a queue stays while a run has no such queue.
    """

    def __init__(
        self, place: Place | None = None, doing: Callable[[str], None] | None = None
    ) -> None:
        self._place = place
        self._doing = doing
        self._kept: dict[_Key, tuple[Device, CapturedModel]] = {}
        self.keeps_others = False

    def prepare(
        self,
        devices: Mapping[str, Device],
        scenario: Scenario,
        specs: Sequence[QueueSpec],
        units: Mapping[str, tuple[int, ...]],
    ) -> dict[str, CapturedModel]:
        """Return the captured models of some queues, by name, cut as the scheduler wants.

        Models that these queues do not want are released first. So there is at most one of a
        queue, and never more in memory than a run with all queues has.

        Args:
            devices: open devices, by name.
            scenario: of the run.
            specs: of the queues.
            units: multiprocessors of each queue, by name; empty: all.

        Raises:
            ScenarioError: a model is wrong, or cannot be captured or cut, or cannot be checked.
            DeviceError: the driver refuses a call, or a GPU hangs.
        """
        wanted = {
            spec.name: _Key(
                spec.name,
                spec.device or scenario.device,
                _uncut(spec.workload.model),
                units[spec.name],
            )
            for spec in specs
            if spec.workload.model is not None and spec.workload.own_program is None
        }
        for key, (device, model) in list(self._kept.items()):
            if key.queue not in wanted:
                stays = self.keeps_others
            else:
                stays = key == wanted[key.queue] and device is devices[key.device]
            if not stays:
                del self._kept[key]
                model.close()
        found = {}
        for spec in specs:
            if spec.name in wanted:
                key = wanted[spec.name]
                try:
                    found[spec.name] = self._cut(devices[key.device], key, spec, scenario)
                except ScenarioError as error:
                    raise ScenarioError(f"queue {spec.name!r}: {error}") from error
                except DeviceError as error:
                    sentence = f"queue {spec.name!r}: {key.model.name}: {error}"
                    raise type(error)(sentence, call=error.call, code=error.code) from error
        if found and self._doing is not None:
            self._doing("it measured")
        return found

    def _cut(self, device: Device, key: _Key, spec: QueueSpec, scenario: Scenario) -> CapturedModel:
        model = spec.workload.model
        assert model is not None
        if self._doing is not None:
            self._doing(f"it built and captured {model.name} of queue {spec.name!r}")
        if key not in self._kept:
            place = self._place or Place.here()
            self._kept[key] = device, CapturedModel(device, key.device, model, place, key.units)
        captured = self._kept[key][1]
        if scenario.check and model.tolerance is not None and not captured.is_compared:
            raise ScenarioError(
                f"{model.name}: check=True, but its results are {captured.outputs}; state a "
                "tolerance, or tolerance=None where a request changes the model, as training does"
            )
        captured.cut(model, whole=_is_whole(scenario, spec))
        return captured

    def close(self) -> None:
        """Release all models."""
        while self._kept:
            _, (_, model) = self._kept.popitem()
            model.close()

    def forget(self) -> None:
        """Drop the models without releasing them: they belong to the parent of this fork."""
        self._kept.clear()


def _uncut(model: Model | None) -> Model:
    """Return the model without how its graph is cut: one capture serves every way."""
    assert model is not None
    return dataclasses.replace(model, commands=AUTO)
