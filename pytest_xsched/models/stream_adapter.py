"""Whatever launches onto a stream that it is given: we capture one request of it."""

from __future__ import annotations

import contextlib
import time

from pytest_xsched.errors import ScenarioError, XSchedError
from pytest_xsched.models.factory import Factory, Request, in_order, reason, refuse_sizes, told
from pytest_xsched.native.graph import Capture

WAY_OUT = 'command(["python", "serve.py"]) runs it as a program'
_WARM_UPS = 3
"""Requests before the capture: libraries load kernels and choose among them at the first ones."""
WARM_UPS_BETWEEN = 2
"""Requests between two captures, whose kernels must be the same."""


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
        self._model = factory.model
        self._capture = capture
        self.framework = "stream"
        self.outputs = "not compared: what a request of graph() writes is not known"
        self._calls = factory.build()  # they own what the graphs use
        refuse_sizes(factory.model, self._calls)
        self.warm_ups = 0
        self._warm_up(_WARM_UPS)
        self._capture_calls()

    def again(self) -> None:
        """Capture anew after further requests; the earlier graphs live until the capture is closed.

        Raises:
            ScenarioError: a request fails, or cannot be captured.
            DeviceError: the driver refuses to capture.
        """
        self._warm_up(WARM_UPS_BETWEEN)
        self._capture_calls()

    def _warm_up(self, count: int) -> None:
        self.warm_ups += count
        for _ in range(count):
            with told(self._model, "a request failed"):
                for function in in_order(self._calls):
                    function(self._capture.stream)

    def _capture_calls(self) -> None:
        begin_ns = time.perf_counter_ns()
        self.pointers = [(self._captured(call.function), call.times) for call in self._calls]
        self.capture_ns = time.perf_counter_ns() - begin_ns

    def _captured(self, function: Request) -> int:
        """Return the graph of a call."""
        self._capture.begin()
        try:
            function(self._capture.stream)
            return self._capture.end()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            with contextlib.suppress(XSchedError):
                self._capture.end()
            said = str(error) if isinstance(error, XSchedError) else reason(error, self._model)
            raise ScenarioError(
                f"{self._model.name}: a request cannot be captured: {said}; {WAY_OUT}"
            ) from error

    def poison(self) -> None:
        """Overwrite nothing, because the results are not known."""

    def compare(self) -> str:
        """Return '', because the results are not known."""
        return ""

    def close(self) -> None:
        """Release what the user built."""
        self._calls = ()
