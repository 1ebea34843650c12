"""A model of the user as a workload: the function that builds it, as data.

The measuring process calls the function; nothing is pickled. So the function must be found by its
name, and its arguments are what JSON can hold.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import one_line
from pytest_xsched.base.validation import checked_fields, integer, one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.grouping import AUTO, COMMANDS_MAX, checked_commands
from pytest_xsched.scenario.programs import Program

MODES = ("graph", "eager")
"""How its requests run: as commands cut from a captured graph, or in a process of its own."""
FRAMEWORKS = ("torch", "stream")
"""Who captures a request: PyTorch, or we, on a stream that the request gets."""
_LABEL_MAX = 60
_NAME = re.compile(r"(?!\d)\w+(\.(?!\d)\w+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A function of the user that builds a model and returns a callable: one call is one request.

    Args:
        factory: the function, ``"package.module:name"`` or ``"path/file.py:name"``. A relative path
            starts at the directory in which pytest runs.
        args: its arguments by position, each as a JSON text.
        kwargs: its arguments by keyword, pairs of a name and a JSON text.
        mode: one of `MODES`.
        framework: one of `FRAMEWORKS`.
        commands: how the graph of a request is cut: ``"auto"``, a number of commands, or the time
            that a command takes as a text, ``"50us"``.
        tolerance: how far results may be from those of the eager request, absolute and relative;
            0: equal to the last bit; None: they are not compared.
        steps: how often a request repeats the last function that the factory returns; each call is
            then a milestone. None: a request is one call.
    """

    factory: str
    args: tuple[str, ...] = ()
    kwargs: tuple[tuple[str, str], ...] = ()
    mode: str = "graph"
    framework: str = "torch"
    commands: int | str = AUTO
    tolerance: float | None = 0.0
    steps: int | None = None

    def __post_init__(self) -> None:
        what = self.name
        _check_spelling(what, self.factory)
        one_of(f"{what}: mode", self.mode, MODES)
        one_of(f"{what}: framework", self.framework, FRAMEWORKS)
        object.__setattr__(self, "args", tuple(self.args))
        pairs = tuple(sorted((str(name), text) for name, text in self.kwargs))
        object.__setattr__(self, "kwargs", pairs)
        for text in (*self.args, *(text for _, text in pairs)):
            _read_json(what, text)
        object.__setattr__(self, "commands", checked_commands(what, self.commands))
        object.__setattr__(self, "tolerance", _checked_tolerance(what, self.tolerance))
        if self.steps is not None:
            object.__setattr__(
                self, "steps", integer(f"{what}: steps", self.steps, 1, COMMANDS_MAX - 1)
            )
        if self.framework == "stream" and self.mode != "graph":
            raise ScenarioError(
                f"{what}: mode {self.mode!r} does not go with graph(), which captures; write "
                'command(["python", "serve.py"]) for a program'
            )

    @property
    def name(self) -> str:
        """Name in messages: the call that makes it, without arguments."""
        maker = "model" if self.framework == "torch" else "graph"
        return f"{maker}({str(self.factory).rpartition(':')[2]})"

    @property
    def label(self) -> str:
        """Name in reports."""
        parts = [self.factory.rpartition(":")[2]]
        parts += [repr(json.loads(text)) for text in self.args]
        parts += [f"{name}={json.loads(text)!r}" for name, text in self.kwargs]
        parts += [f"{name}={value!r}" for name, value in self.options.items()]
        line = ", ".join(parts)
        if len(line) > _LABEL_MAX:
            line = f"{line[: _LABEL_MAX - 3]}..."
        return f"{'model' if self.framework == 'torch' else 'graph'}({line})"

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of `model` that differ from their defaults."""
        values: dict[str, Any] = {}
        if self.mode != "graph":
            values["mode"] = self.mode
        if self.commands != AUTO:
            values["commands"] = self.commands
        if self.tolerance != 0 and self.framework == "torch":
            values["tolerance"] = self.tolerance
        if self.steps is not None:
            values["steps"] = self.steps
        return values

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the function, by position and by keyword."""
        return (
            tuple(json.loads(text) for text in self.args),
            {name: json.loads(text) for name, text in self.kwargs},
        )

    def to_json(self) -> str:
        """Return the model as JSON text; `from_json` reads it."""
        return json.dumps(
            {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        )

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Return the model that `to_json` wrote."""
        return read_model(json.loads(text))


EAGER_MODULE = "pytest_xsched.models.eager_program"
MODEL_VARIABLE = "PYTEST_XSCHED_MODEL"
"""The variable with the JSON of the model that `EAGER_MODULE` runs."""


def eager_program(model: Model) -> Program:
    """Return the program that does the requests of a model in a process of its own."""
    return Program(
        argv=(sys.executable, "-m", EAGER_MODULE), env=((MODEL_VARIABLE, model.to_json()),)
    )


def make_model(
    factory: Callable[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    mode: str = "graph",
    framework: str = "torch",
    commands: Any = AUTO,
    tolerance: float | None = 0.0,
    steps: int | None = None,
) -> Model:
    """Return a model from the arguments of `workload.model` or `workload.graph`."""
    maker = "model" if framework == "torch" else "graph"
    spelled = factory_name(maker, factory)
    what = f"{maker}({spelled.rpartition(':')[2]})"
    return Model(
        factory=spelled,
        args=tuple(_json_text(f"{what}: argument {i + 1}", v) for i, v in enumerate(args)),
        kwargs=tuple((name, _json_text(f"{what}: {name}", v)) for name, v in kwargs.items()),
        mode=mode,
        framework=framework,
        commands=commands,
        tolerance=tolerance,
        steps=steps,
    )


_BUILDERS = ("model", "graph")
"""They pass arguments on to the function; those of endpoints do not."""


def factory_name(maker: str, factory: object) -> str:
    """Return the name under which another process finds a function: see `Model.factory`.

    Args:
        maker: the function that takes it, for messages: ``"model"``, ``"endpoint"``, ...
        factory: the function, or its name.

    Raises:
        ScenarioError: it is not a function of a module, or there is no such file.
    """
    if isinstance(factory, str):
        return _of_text(maker, factory)
    name = getattr(factory, "__qualname__", None)
    module = sys.modules.get(getattr(factory, "__module__", None) or "")
    if not callable(factory) or not isinstance(name, str):
        raise ScenarioError(f"{maker}: {one_line(factory)} is {_what_it_is(maker, factory)}")
    if "<" in name:
        inner = "a lambda" if name.endswith("<lambda>") else "defined inside another function"
        given = f", and pass what it needs as arguments, {maker}(build, 8)"
        more = given if maker in _BUILDERS else ""
        outer = name.partition(".<locals>")[0]
        called = ""
        if more and callable(getattr(module, outer, None)) and not outer.startswith("test"):
            called = f"if {outer} returned it, write {maker}({outer}, ...), without the call; else "
        raise ScenarioError(
            f"{maker}: {name} is {inner}, so another process cannot find it; {called}write a def "
            f"at the top level of the file{more}"
        )
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    file = getattr(module, "__file__", None)
    if found is None or file is None:
        raise ScenarioError(
            f"{maker}: {name} is not a function of a module with a file, so another process cannot "
            "find it; write it into a file"
        )
    assert module is not None
    return f"{_place(module.__name__, os.path.abspath(file))}:{name}"


def _what_it_is(maker: str, given: object) -> str:
    if maker not in _BUILDERS:
        return "not a function; write a def at the top level of the file, or its name"
    if hasattr(given, "parameters") and callable(given):
        return "a model that exists; write a function of the file that builds it and returns it"
    if hasattr(given, "func") and callable(given):
        return "a partial; pass the function and its arguments, as in model(build, 8)"
    return "not a function; write model(build), where build is a function of the file, or a name"


def _place(module: str, file: str) -> str:
    """Return a module's name if it is installed, else its file, as short as it can be."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    if any(path and file.startswith(path + os.sep) for path in installed):
        return module
    here = os.getcwd()
    return os.path.relpath(file, here) if file.startswith(here + os.sep) else file


def _of_text(maker: str, text: str) -> str:
    place, colon, name = text.rpartition(":")
    if not colon and _NAME.fullmatch(text):
        example = f'"module:{text}"'
        raise ScenarioError(
            f'{maker}: {text!r} names no module; write {example} or "path/file.py:{text}"'
        )
    if place.endswith(".py"):
        place = expand_path(place, maker)
        if not os.path.isfile(place):
            raise ScenarioError(
                f"{maker}: there is no file {place!r} in {os.getcwd()}; write the path of the file "
                f"that has {name}"
            )
    return f"{place}:{name}"


def _check_spelling(what: str, factory: object) -> None:
    text = factory if isinstance(factory, str) else ""
    place, _, name = text.rpartition(":")
    if not _NAME.fullmatch(name) or not (place.endswith(".py") or _NAME.fullmatch(place)):
        raise ScenarioError(
            f'{what}: {one_line(factory)} names no function; write "package.module:name" or '
            '"path/file.py:name"'
        )
    if "\0" in text:
        raise ScenarioError(f"{what}: {text!r} holds a NUL, which no path can")


def _checked_tolerance(what: str, given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, (bool, str)) or not isinstance(given, (int, float)):
        raise ScenarioError(
            f"{what}: tolerance {one_line(given)} is not a number; write 0 (equal to the last "
            "bit), 1e-3, or None (not compared)"
        )
    if not 0 <= given <= sys.float_info.max:
        raise ScenarioError(f"{what}: tolerance {one_line(given)} is outside [0, inf)")
    return float(given)


def _json_text(what: str, value: object) -> str:
    fault = _not_json(value)
    if fault:
        raise ScenarioError(
            f"{what}: {fault}; arguments are JSON (numbers, texts, lists, ...), because the "
            "function is called in the measuring process"
        )
    return json.dumps(value, sort_keys=True)


def _not_json(value: object) -> str:
    """Return what of a value JSON cannot hold, or ''."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return ""
    if type(value) is float:
        return "" if math.isfinite(value) else f"{value!r} is not finite"
    if isinstance(value, (list, tuple)):
        return next((fault for part in value if (fault := _not_json(part))), "")
    if isinstance(value, dict):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            return f"the key {one_line(odd[0])} is not a text"
        return next((fault for part in value.values() if (fault := _not_json(part))), "")
    return f"{one_line(value)} is not JSON"


def _read_json(what: str, text: object) -> None:
    try:
        json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ScenarioError(f"{what}: the argument {one_line(text)} is not a JSON text") from None


def read_model(data: Any) -> Model:
    """Return a model from its JSON."""
    if isinstance(data, Mapping):
        data = {"steps": None, **data}  # absent in old records
    values = checked_fields(Model, data, "model")
    for name in ("args", "kwargs"):
        if not isinstance(values[name], (list, tuple)):
            raise ScenarioError(f"model: {name} {values[name]!r} is not a list")
    try:
        values["kwargs"] = tuple((name, text) for name, text in values["kwargs"])
    except (TypeError, ValueError):
        raise ScenarioError(f"model: kwargs {values['kwargs']!r} are not pairs") from None
    return Model(**values)


def refuse_shared_keywords(factory: object, given: dict[str, Any]) -> None:
    """Refuse keywords of `model` that differ from their defaults and that its function has, too."""
    try:
        names = set(inspect.signature(factory).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    for name in sorted(names & set(given)):
        raise ScenarioError(
            f"model: {name}={given[name]!r} is for model() itself, and "
            f"{getattr(factory, '__name__', 'the function')} has a parameter of this name, too; "
            "rename that, or pass it by position"
        )
