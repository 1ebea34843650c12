"""Functions of the user that a load process calls: bodies, what counts as success, own clients."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.units import one_line
from pytest_xsched.client import current_request
from pytest_xsched.clients.engine import describe_error
from pytest_xsched.clients.request import Failed, Request
from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.factory import (
    Place,
    find_function,
    not_run,
    reason,
    sizes_given,
    sizes_wanted,
    told,
)
from pytest_xsched.scenario.endpoint import MAKERS, Endpoint


@dataclass(frozen=True, slots=True)
class _Name:
    """The name of a function; see `models.factory.Named`."""

    name: str
    factory: str


class UserFunction:
    """A function of the user that was found.

    Args:
        what: the maker of the workload, "endpoint".
        named: "package.module:name" or "path/file.py:name".
        place: where the code of the user is found.

    Raises:
        ScenarioError: there is none, or importing its file fails.
    """

    def __init__(self, what: str, named: str, place: Place) -> None:
        self.name = _Name(f"{what}({named.rpartition(':')[2]})", named)
        self.function = find_function(self.name, place)
        self._sizes = sizes_wanted(self.function)

    def of_request(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return what it returns for a request; errors are those of `call`."""
        return self.call(number, **sizes_given(self._sizes, sizes))

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Return what it returns.

        Raises:
            Failed: it raised.
        """
        try:
            returned = self.function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit, and what pytest.skip raises
            raise Failed(f"{self.name.name}: {reason(error, self.name)}") from error
        if kind := not_run(returned):  # it is true, whatever a function for success= decides
            raise Failed(f"{self.name.name} returned {kind}, so none of its code has run")
        return returned


class ClientSender:
    """Awaits a coroutine function of the user for each request.

    Args:
        endpoint: names it.
        place: where the code of the user is found.
    """

    def __init__(self, endpoint: Endpoint, place: Place) -> None:
        self._function = UserFunction(MAKERS[endpoint.api], endpoint.function, place)
        self._work: Callable[..., Awaitable[object]] = self._function.function
        self._sizes: dict[str, int | None] = {}
        self._context: Any = None

    async def __aenter__(self) -> ClientSender:
        """Call the function that opens a connection, where it is one."""
        function = self._function
        if not inspect.iscoroutinefunction(self._work):
            with told(function.name, "it failed"):
                self._context = function.function()
            if not hasattr(self._context, "__aenter__"):
                raise ScenarioError(
                    f"{function.name.name}: it returned {one_line(self._context)}; write an "
                    "'async def' that takes the number of a request, or a function decorated by "
                    "contextlib.asynccontextmanager that yields one"
                )
            with told(function.name, "it failed"):
                self._work = await self._context.__aenter__()
            if not callable(self._work):
                raise ScenarioError(
                    f"{function.name.name}: it yielded {one_line(self._work)}, and no function"
                )
        self._sizes = sizes_wanted(self._work)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        if self._context is not None:
            await self._context.__aexit__(None, None, None)

    def prepare(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return the number."""
        return number

    async def send(self, request: Request) -> None:
        """Send a request; see `engine.Sender`."""
        current_request.set(request)  # milestones belong to it
        request.begin()
        await self._work(request.prepared, **sizes_given(self._sizes, request.sizes))
        request.end()

    def describe(self, error: BaseException) -> str:
        """Return why a request failed; see `engine.Sender`."""
        short = describe_error(error)
        if short in ("connection refused", "connection reset"):
            return short
        return reason(error, self._function.name)
