"""Models whose requests are commands of the runner: built, captured, cut, checked, and kept.

All models of a run are captured before any thread of the runner starts, because a capture fails if
other threads make certain calls meanwhile. A model is kept as long as the next run wants the same,
whatever its scheduler is: windows of a run, and arms of a comparison, share it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.models.factory import Factory, Place, find_factory
from pytest_xsched.models.grouping import finest, is_steady
from pytest_xsched.models.stream_adapter import WAY_OUT, StreamRequest
from pytest_xsched.models.torch_adapter import WAYS_OUT, TorchRequest
from pytest_xsched.monitoring.environment import ModelFacts
from pytest_xsched.native.binding import Device
from pytest_xsched.native.graph import Capture, Graph
from pytest_xsched.native.run import Counts
from pytest_xsched.scenario.grouping import AUTO, grouped
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario

_TIMED = 10
"""Requests whose times decide where a graph is cut; the median of each piece counts."""
_WARM_UPS_MAX = 50


class Captured(Protocol):
    """What an adapter makes of a model: a captured request, and all that it uses."""

    pointer: int
    framework: str
    outputs: str
    capture_ns: int

    @property
    def is_compared(self) -> bool: ...
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

    Attributes:
        graph: a request of it, which `cut` divides into commands.

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
        self._graph: Graph | None = None
        self._pieces: tuple[list[int], list[int]] | None = None
        self._ends: list[int] = []
        self._build_ns = self._capture_ns = self._cut_ns = 0
        try:
            begin_ns = time.perf_counter_ns()
            self._captured = _capture(find_factory(model, place), name, self._capture)
            built_ns = time.perf_counter_ns()
            self._graph = self._read(device, self._captured.pointer)
            self._build_ns = built_ns - begin_ns - self._captured.capture_ns
            self._capture_ns = time.perf_counter_ns() - built_ns + self._captured.capture_ns
        except BaseException:
            self.close()
            raise

    @property
    def graph(self) -> Graph:
        """Return the graph of a request."""
        assert self._graph is not None
        return self._graph

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
        self.graph.cut(ends)
        if fault := self._after_one_request():
            raise ScenarioError(
                f"{model.name}: cut into {len(ends)} commands, {fault}; state a tolerance, or "
                'write mode="eager"'
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
        names = self.graph.kernels
        text = "\n".join(names)
        counted = {name: names.count(name) for name in dict.fromkeys(names)}
        return ModelFacts(
            queue=queue,
            framework=self._of_user.framework,
            nodes=self.graph.nodes,
            kernels=len(names),
            kernel_names=tuple(counted.items()),
            kernels_digest=hashlib.sha256(text.encode()).hexdigest()[:16],
            commands=self.graph.segments,
            outputs=self.outputs,
            build_ns=self._build_ns,
            capture_ns=self._capture_ns,
            cut_ns=self._cut_ns,
        )

    def close(self) -> None:
        """Release all of it. The GPU must be done with it."""
        if self._graph is not None:
            self._graph.close()
        if self._captured is not None:
            self._captured.close()
        self._capture.close()
        self._graph = self._captured = None

    # ---- inside

    @property
    def _of_user(self) -> Captured:
        assert self._captured is not None
        return self._captured

    def _read(self, device: Device, pointer: int) -> Graph:
        try:
            return Graph(device, pointer)
        except ScenarioError as error:
            raise ScenarioError(f"{self._model.name}: {error}; {_way_out(self._model)}") from error

    def _ends_for(self, model: Model, *, whole: bool) -> list[int]:
        if model.commands == 1 or (model.commands == AUTO and whole):
            return [self.graph.nodes]
        if self._pieces is None:
            self._ends = []
            self._pieces = self._timed()
        pieces, times_ns = self._pieces
        return grouped(pieces, times_ns, model.commands)

    def _timed(self) -> tuple[list[int], list[int]]:
        """Return the ends of the finest pieces and the time of each, in whole requests."""
        ends = finest(self.graph.cuts())
        self.graph.cut(ends)
        whole_ns: list[int] = []
        while len(whole_ns) < _WARM_UPS_MAX and not is_steady(whole_ns):
            whole_ns.append(int(self.graph.run_ns(1).sum()))
        times_ns = np.median(self.graph.run_ns(_TIMED), axis=0)
        return ends, [int(ns) for ns in times_ns]

    def _after_one_request(self) -> str:
        """Run a whole request over poisoned results, and compare them."""
        self._of_user.poison()
        self.graph.run_ns(1)
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
    """

    def __init__(
        self, place: Place | None = None, doing: Callable[[str], None] | None = None
    ) -> None:
        self._place = place
        self._doing = doing
        self._kept: dict[_Key, tuple[Device, CapturedModel]] = {}

    def prepare(
        self,
        devices: Mapping[str, Device],
        scenario: Scenario,
        specs: Sequence[QueueSpec],
        units: Mapping[str, tuple[int, ...]],
    ) -> dict[str, CapturedModel]:
        """Return the captured models of some queues, by name, cut as the scheduler wants.

        Models that these queues do not want are released first.

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
            if key not in wanted.values() or device is not devices[key.device]:
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
