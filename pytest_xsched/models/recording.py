"""Record the profile of a model: the times of its commands, in whole requests, alone on a GPU.

The model is prepared as for a run. Its pieces are timed in order within whole requests, because a
piece that runs alone may wait for ever for what an earlier one does.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.models.captured import CapturedModel
from pytest_xsched.models.factory import Place, find_factory
from pytest_xsched.models.grouping import finest, is_steady
from pytest_xsched.monitoring.environment import take_fingerprint
from pytest_xsched.native.binding import Device
from pytest_xsched.native.graph import Graph
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile, RecordedCommand
from pytest_xsched.scenario.workload import COMMANDS_MAX

REQUESTS = 30
"""How many requests are timed, at least; every time is a median."""
_WARM_UPS_MAX = 200
_PACKAGES = ("torch", "torchvision", "torchaudio", "transformers", "triton", "cupy", "numba")


def record_model(
    device: Device, name: str, model: Model, place: Place, *, requests: int = REQUESTS
) -> Profile:
    """Build, capture and record a model.

    Args:
        device: on which it runs; nothing else must run there.
        name: of the device.
        model: of the user, without steps.
        place: of the user's code.
        requests: how many of them are timed.

    Raises:
        ScenarioError: its code fails, or it cannot be captured or cut.
        DeviceError: the driver refuses a call, or the GPU hangs.
    """
    captured = CapturedModel(device, name, model, place)
    try:
        ((graph, _),) = captured.request.parts
        request_ns, commands = record_graph(graph, requests)
    finally:
        captured.close()
    facts = take_fingerprint([device.describe()]).devices[0]
    doc = (find_factory(model, place).function.__doc__ or "").strip().partition("\n")[0]
    return Profile(
        model=f"{model.label}: {doc}" if doc else model.label,
        device=facts.name,
        driver=facts.kernel_driver_version or facts.driver_version or "unknown",
        packages=tuple(_loaded_packages()),
        requests=requests,
        request_ns=request_ns,
        commands=commands,
    )


def record_graph(graph: Graph, requests: int) -> tuple[int, tuple[RecordedCommand, ...]]:
    """Time a request that is launched at once, and its pieces, as small as the graph can be cut.

    The whole request is timed before and after the pieces, so that a clock that falls or rises
    meanwhile counts for both.

    Args:
        graph: of a request; its segments are those of the whole request then.
        requests: how many are timed.

    Returns:
        The median time of a request, in ns, and the pieces with their median times.

    Raises:
        DeviceError: the driver refuses a call, or the GPU hangs.
    """
    whole = [graph.nodes]
    ends = finest(graph.cuts(), COMMANDS_MAX)
    before = _times_ns(graph, whole, requests - requests // 2)
    pieces = _times_ns(graph, ends, requests)
    after = _times_ns(graph, whole, max(1, requests // 2))
    request_ns = int(np.median(np.concatenate([before, after])))
    commands = [
        RecordedCommand(name=name, kernels=kernels, duration_ns=int(duration_ns))
        for (name, kernels), duration_ns in zip(
            _kernels(graph, ends), np.median(pieces, axis=0), strict=True
        )
    ]
    return max(1, request_ns), tuple(commands)


def _times_ns(graph: Graph, ends: Sequence[int], requests: int) -> NDArray[np.int64]:
    """Return the times of segments in steady requests: int64[requests, segments], ns."""
    graph.cut(ends)
    warm_ups: list[int] = []
    while len(warm_ups) < _WARM_UPS_MAX and not is_steady(warm_ups):
        warm_ups.append(int(graph.run_ns(1).sum()))
    return graph.run_ns(requests)


def _kernels(graph: Graph, ends: Sequence[int]) -> list[tuple[str, int]]:
    """Return for each piece the name of its first kernel, "" if it has none, and their count."""
    before = [graph.kernels_before(position) for position in (0, *ends)]
    return [
        (graph.kernels[begin] if end > begin else "", end - begin)
        for begin, end in itertools.pairwise(before)
    ]


def _loaded_packages() -> list[tuple[str, str]]:
    """Return names and versions of the frameworks that this process has loaded."""
    found = []
    for name in _PACKAGES:
        if name in sys.modules:
            try:
                found.append((name, importlib.metadata.version(name)))
            except importlib.metadata.PackageNotFoundError:  # built in place, or a test's
                found.append((name, str(getattr(sys.modules[name], "__version__", "unknown"))))
    return found
