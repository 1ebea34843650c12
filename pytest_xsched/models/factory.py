"""Find the function of the user that builds a model, call it, and describe what goes wrong there.

Each failure becomes one sentence with the user's own reason and the line of the user's file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    GeneratorType,
    MappingProxyType,
    ModuleType,
)
from typing import Any, NamedTuple, Protocol, TypeAlias

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.models import Model

Request: TypeAlias = Callable[..., Any]
"""Does one request of a model, or a part of it."""


class Call(NamedTuple):
    """A part of a request: what the user's function returned, and how often it is called.

    Attributes:
        function: of the user.
        times: how often a request calls it.
        sizes: that it takes of a request; see `sizes_wanted`.
    """

    function: Request
    times: int
    sizes: Mapping[str, int | None] = MappingProxyType({})


_REASON_MAX = 300


class Named(Protocol):
    """What names a function of the user, such as a model."""

    @property
    def name(self) -> str:
        """Name in messages, "model(build)"."""

    @property
    def factory(self) -> str:
        """ "package.module:name" or "path/file.py:name"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the code of the user is found.

    Attributes:
        directory: where relative paths start; that of pytest's process.
        paths: `sys.path` of that process.
    """

    directory: str
    paths: tuple[str, ...]

    @classmethod
    def here(cls) -> Place:
        """Return the place of this process."""
        return cls(directory=os.getcwd(), paths=tuple(sys.path))

    def add_paths(self) -> None:
        """Add the paths to `sys.path` of this process, after its own."""
        sys.path.extend(path for path in self.paths if path not in sys.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """A function of the user that was found.

    Attributes:
        model: what names it.
        function: it.
        directory: the working directory in which it is called.
    """

    model: Model
    function: Callable[..., Any]
    directory: str

    def mentions(self, package: str) -> bool:
        """Check whether the process has loaded a package, or the function itself imports it."""
        return package in sys.modules or _names(getattr(self.function, "__code__", None), package)

    def build(self) -> tuple[Call, ...]:
        """Call the function, and return the calls of a request, in their order.

        Raises:
            ScenarioError: it raises, or does not return what it should.
        """
        args, kwargs = self.model.arguments
        with _within(self.directory), told(self.model, "building it failed"):
            returned = self.function(*args, **kwargs)
        return self._calls(returned)

    def _calls(self, returned: Any) -> tuple[Call, ...]:
        name, steps = f"{self.model.name}: {self.function.__name__}", self.model.steps
        pair = isinstance(returned, (tuple, list)) and len(returned) == 2
        if pair and all(map(callable, returned)):
            if steps is None:
                raise ScenarioError(
                    f"{name} returned two functions, the begin of a request and its step; say how "
                    f"many steps a request has, as in model({self.function.__name__}, steps=32)"
                )
            return _call(returned[0], 1), _call(returned[1], steps)
        if not callable(returned):
            wanted = (
                "return the function that does one request, as in return lambda: net(x)"
                if steps is None
                else "return the two functions that begin a request and do one step of it, as in "
                "return prefill, decode"
            )
            raise ScenarioError(
                f"{name} returned {one_line(returned)}, which is not callable; {wanted}"
            )
        return (_call(returned, 1 if steps is None else steps),)


_NOT_RUN: dict[type, str] = {
    CoroutineType: "a coroutine",
    GeneratorType: "a generator",
    AsyncGeneratorType: "an asynchronous generator",
}


def not_run(returned: object) -> str:
    """Return what a call of a function returned instead of running its code; '' if it ran.

    That is so of a function with `async` or `yield`.
    """
    kind = _NOT_RUN.get(type(returned), "")
    if isinstance(returned, CoroutineType):
        returned.close()  # or Python complains that it was never awaited
    return kind


def require_run(model: Model, returned: object) -> None:
    """Raise ScenarioError if a call of a model's function did not run its code."""
    if kind := not_run(returned):
        raise ScenarioError(
            f"{model.name}: a request returned {kind}, so none of its code has run; return a "
            "function without async and yield"
        )


def _call(function: Request, times: int) -> Call:
    return Call(function, times, sizes_wanted(function))


def sizes_wanted(function: Callable[..., Any]) -> dict[str, int | None]:
    """Return the sizes that a function has parameters for, by name.

    The values are those that it gets where a request has none: its defaults, or else None.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    found = {name: parameters[name] for name in ("tokens_in", "tokens_out") if name in parameters}
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in found.items()
    }


def sizes_given(
    wanted: Mapping[str, int | None], sizes: Mapping[str, int] | None
) -> dict[str, int | None]:
    """Return the sizes that a function gets: those of a request, or what `sizes_wanted` says."""
    return {name: (sizes or {}).get(name, otherwise) for name, otherwise in wanted.items()}


def in_order(calls: Sequence[Call], sizes: Mapping[str, int] | None = None) -> Iterator[Request]:
    """Yield the functions of a request as often as they are called, in their order.

    Args:
        calls: of the request.
        sizes: of the request, which the functions get that take them; None: it has none.
    """
    for call in calls:
        function = call.function
        if call.sizes:
            function = functools.partial(call.function, **sizes_given(call.sizes, sizes))
        yield from itertools.repeat(function, call.times)


def refuse_sizes(model: Model, calls: Sequence[Call]) -> None:
    """Refuse a request of a size of its own, which no graph has.

    Raises:
        ScenarioError: a function takes sizes, without a default.
    """
    for call in calls:
        if names := [name for name, otherwise in call.sizes.items() if otherwise is None]:
            raise ScenarioError(
                f"{model.name}: its function takes {' and '.join(names)} of each request, but "
                'a graph has the same shapes each time; write model(..., mode="eager"), or a '
                "program, or give these parameters defaults"
            )


def find_factory(model: Model, place: Place) -> Factory:
    """Return the function that a model names; errors are those of `find_function`."""
    function = find_function(model, place)
    return Factory(model=model, function=function, directory=place.directory)


def find_function(model: Named, place: Place) -> Callable[..., Any]:
    """Return a function of the user; import its file if this process has not.

    Raises:
        ScenarioError: there is none, or importing its file fails.
    """
    where, _, name = model.factory.rpartition(":")
    if where.endswith(".py"):
        module = _load_file(model, os.path.join(place.directory, where), place)
    else:
        module = _load_module(model, where, place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        what = "has no function" if found is None else f"has {one_line(found)}, no function, as"
        raise ScenarioError(f"{model.name}: {where} {what} {name}; {_functions(module)}")
    function: Callable[..., Any] = found
    return function


def _functions(module: ModuleType) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    return f"its functions: {', '.join(own[:10])}" if own else "it has none"


def _load_module(model: Named, name: str, place: Place) -> ModuleType:
    place.add_paths()
    with _within(place.directory), told(model, f"importing {name} failed"):
        return importlib.import_module(name)


def _load_file(model: Named, path: str, place: Place) -> ModuleType:
    path = os.path.realpath(path)
    if not os.path.isfile(path):
        raise ScenarioError(f"{model.name}: there is no file {path!r}")
    for module in list(sys.modules.values()):  # pytest has loaded the test's own file
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and os.path.realpath(file) == path:
            return module
    root, name = _of_package(path)
    place.add_paths()
    with _within(place.directory), told(model, f"importing {os.path.basename(path)} failed"):
        if name not in sys.modules:
            sys.path.insert(0, root)
            try:
                module = importlib.import_module(name)
            finally:
                sys.path.remove(root)
                if root not in sys.path:
                    sys.path.append(root)  # for what it imports later
            if os.path.realpath(getattr(module, "__file__", None) or "") == path:
                return module
        return _load_apart(path)


def _load_apart(path: str) -> ModuleType:
    """Load a file whose name as a module another file has."""
    name = f"_xsched_model_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _of_package(path: str) -> tuple[str, str]:
    """Return the directory from which a file is imported, and its name as a module."""
    directory, file = os.path.split(path)
    parts = [file.removesuffix(".py")]
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    return directory, ".".join(parts)


@contextlib.contextmanager
def _within(directory: str) -> Iterator[None]:
    """Let the user's code run in pytest's directory, where it finds its files."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def told(model: Named, what: str, advice: str = "") -> Iterator[None]:
    """Turn whatever the user's code raises into one sentence.

    Args:
        model: whose code it is.
        what: what failed, "building it failed".
        advice: the way out.

    Raises:
        ScenarioError: the code raised.
    """
    try:
        yield
    except (KeyboardInterrupt, ScenarioError):
        raise
    except BaseException as error:  # also SystemExit, and what pytest.skip raises
        more = f"; {advice}" if advice else ""
        raise ScenarioError(f"{model.name}: {what}: {reason(error, model)}{more}") from error


def reason(error: BaseException, model: Named) -> str:
    """Return what an exception says, in one line, with the line of the user's file."""
    lines = [line.strip() for line in printable(str(error)).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if len(text) > _REASON_MAX:
        text = f"{text[: _REASON_MAX - 3]}..."
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said}{_line(error, model)}"


def _line(error: BaseException, model: Named) -> str:
    """Return the line of the factory's file that was last, " (models.py:12)", or ''."""
    where = model.factory.rpartition(":")[0]
    file = os.path.basename(where if where.endswith(".py") else f"{where.rpartition('.')[2]}.py")
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if os.path.basename(frame.filename) == file]
    return f" ({file}:{own[-1].lineno})" if own else ""


def _names(code: CodeType | None, package: str) -> bool:
    """Check whether a function names a package that it imports when it is called."""
    if code is None:
        return False
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return any(name.partition(".")[0].startswith(package) for name in code.co_names) or any(
        _names(one, package) for one in inner
    )
