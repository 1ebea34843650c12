"""The program that does the requests of an eager model: `python -m ...models.eager_program`.

It runs in a process of its own, as a program of the user does, and reports its requests in the same
way; see `client`. What is wrong with the model it writes as one sentence, which `error_of` finds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict

from pytest_xsched.base.constants import TOKEN
from pytest_xsched.client import is_measured, milestone, requests, sizes
from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.factory import Factory, Place, find_factory, in_order, require_run, told
from pytest_xsched.scenario.models import MODEL_VARIABLE, Model

PLACE_VARIABLE = "PYTEST_XSCHED_MODEL_PLACE"
"""The variable with the device and the place of the user's code, as JSON."""
_OPENMP = "OMP_WAIT_POLICY"
_FAILED = 3
_ERROR = "pytest-xsched, model: "


def variables(device: str) -> dict[str, str]:
    """Return what the program needs from the process that starts it.

    Args:
        device: name of the device of the run.
    """
    needed = {PLACE_VARIABLE: json.dumps({"device": device, "place": asdict(Place.here())})}
    if device == "cpu" and _OPENMP not in os.environ:
        # Threads of OpenMP spin while they wait for each other. Two models on the same processors
        # then wait for threads that do not run.
        needed[_OPENMP] = "PASSIVE"
    return needed


def error_of(output: str) -> str:
    """Return the sentence that the program wrote about its model; '' if it wrote none."""
    lines = [line for line in output.splitlines() if line.startswith(_ERROR)]
    return lines[-1].removeprefix(_ERROR) if lines else ""


def main() -> int:
    """Run the requests of a model, as the run sends them."""
    model = Model.from_json(os.environ.pop(MODEL_VARIABLE))
    data = json.loads(os.environ.pop(PLACE_VARIABLE))
    place = Place(**{**data["place"], "paths": tuple(data["place"]["paths"])})
    try:
        _serve(find_factory(model, place), data["device"])
    except ScenarioError as error:
        print(f"{_ERROR}{error}", file=sys.stderr, flush=True)
        return _FAILED
    return 0


def _serve(factory: Factory, device: str) -> None:
    request = _build(factory, device)
    warm_ups, compiled = 0, None
    for number in requests():
        if not is_measured():
            warm_ups, compiled = warm_ups + 1, None
        elif compiled is None:
            compiled = _compiled()
        with told(factory.model, "a request failed"):
            request(sizes(number))
        if compiled is not None and _compiled() > compiled:
            raise ScenarioError(
                f"{factory.model.name}: PyTorch compiled in a measured request, after {warm_ups} "
                "requests of the warm-up; let the function do such a request before it returns, or "
                "compile with dynamic=True"
            )


def _compiled() -> int:
    """Return how many graphs torch.compile has compiled in this process."""
    counting = sys.modules.get("torch._dynamo.utils")
    return 0 if counting is None else int(counting.counters["stats"]["unique_graphs"])


def _build(factory: Factory, device: str) -> Callable[[Mapping[str, int]], None]:
    """Return the callable that does one request of some sizes and waits for its end."""

    def reached() -> None:
        if factory.model.steps is not None:
            milestone(TOKEN)

    if factory.mentions("torch"):
        from pytest_xsched.models.torch_adapter import eager_request

        return eager_request(factory, device, reached)
    calls = factory.build()

    def request(sizes: Mapping[str, int]) -> None:
        for function in in_order(calls, sizes):
            require_run(factory.model, function())
            reached()

    return request


if __name__ == "__main__":
    sys.exit(main())
