"""Whatever launches onto a stream that it is given: we capture one request of it."""

from __future__ import annotations

import contextlib
import time

from pytest_xsched.errors import ScenarioError, XSchedError
from pytest_xsched.models.factory import Factory, reason, told
from pytest_xsched.native.graph import Capture

WAY_OUT = 'command(["python", "serve.py"]) runs it as a program'
_WARM_UPS = 3
"""Requests before the capture: libraries load kernels and choose among them at the first ones."""


class StreamRequest:
    """One request of what `graph` names, captured into a graph; see `torch_adapter.TorchRequest`.

    Args:
        factory: of the user.
        capture: with a stream of its own, which the requests get.

    Raises:
        ScenarioError: the function or a request fails, or a request cannot be captured.
        DeviceError: the driver refuses to capture.
    """

    is_compared = False

    def __init__(self, factory: Factory, capture: Capture) -> None:
        model = factory.model
        self.framework = "stream"
        self.outputs = "not compared: what a request of graph() writes is not known"
        self._request = factory.build()  # it owns what the graph uses
        for _ in range(_WARM_UPS):
            with told(model, "a request failed"):
                self._request(capture.stream)
        begin_ns = time.perf_counter_ns()
        capture.begin()
        try:
            self._request(capture.stream)
            self.pointer = capture.end()
            self.capture_ns = time.perf_counter_ns() - begin_ns
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            with contextlib.suppress(XSchedError):
                capture.end()
            said = str(error) if isinstance(error, XSchedError) else reason(error, model)
            raise ScenarioError(
                f"{model.name}: a request cannot be captured: {said}; {WAY_OUT}"
            ) from error

    def poison(self) -> None:
        """Overwrite nothing, because the results are not known."""

    def compare(self) -> str:
        """Return '', because the results are not known."""
        return ""

    def close(self) -> None:
        """Release what the user built."""
        self._request = lambda stream: None
