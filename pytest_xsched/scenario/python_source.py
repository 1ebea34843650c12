"""Values as Python text: expressions that make them again, to be pasted into a test.

The names in the text are those of `pytest_xsched`. The text uses a short constructor if there is
one, `spin("1ms", layers=3)`, and leaves out fields that have their default.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

from pytest_xsched.base.units import parse_rate, spell_duration
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import Bursts, Closed, Constant, Gamma, Poisson, Replay
from pytest_xsched.scenario.endpoint import MAKERS, Endpoint
from pytest_xsched.scenario.kernels import Argument
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.profile import recorded, shipped_profiles
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.servers import Server
from pytest_xsched.scenario.stages import Stage, Stages
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.trace_files import TraceFile
from pytest_xsched.scenario.workload import Command, Workload

WIDTH = 100  # columns of a line
_RECORDED = re.compile(r"recorded\('([\w-]+)'(?:, commands=([0-9]+|'(\w[\w.]*)'))?\)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class _Call:
    """A call that makes a value: a name and its arguments."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """Return the call as text, in the style of labels of workloads."""
        words = [f"{key}={value!r}" for key, value in self.keywords.items()]
        return f"{self.name}({', '.join([*map(repr, self.arguments), *words])})"


@dataclasses.dataclass(frozen=True)
class _Times:
    """A list of equal values."""

    value: Any
    count: int


@dataclasses.dataclass(frozen=True)
class _Named:
    """A dictionary of values by name."""

    values: dict[str, Any]


def python_text(value: Any, indent: int = 0) -> str:
    """Return an expression that makes the value again.

    Args:
        value: a scenario, or a part of one.
        indent: indentation of the line with the closing bracket.

    >>> from pytest_xsched.scenario.workload import spin
    >>> python_text(spin("500us", layers=3))
    'spin("500us", layers=3)'
    """
    return _layout(_tree(value), indent)


@dataclasses.dataclass(frozen=True, slots=True)
class _Brackets:
    """Text in brackets, which is laid out on one line or on several.

    Attributes:
        begin: with the opening bracket.
        parts: text before each part, such as the name of a keyword, and the part.
        end: the closing bracket.
        flat: all of it on one line; None: that is too long for any line.
    """

    begin: str
    parts: list[tuple[str, str | _Brackets]]
    end: str
    flat: str | None


def _tree(value: Any) -> str | _Brackets:
    """Return the text of a value, each part once, before it is laid out."""
    if isinstance(value, tuple):
        return _brackets("(", [("", part) for part in value], ")")
    if isinstance(value, str):
        plain = repr(value)
        return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain else plain
    if type(value) is int:
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, _Times):
        return f"[{python_text(value.value)}] * {value.count}"
    if isinstance(value, _Named):
        named = [(f"{_tree(name)}: ", part) for name, part in value.values.items()]
        return _brackets("{", named, "}")
    if not dataclasses.is_dataclass(value):
        return repr(value)
    call = value if isinstance(value, _Call) else _SPELLERS.get(type(value), _by_fields)(value)
    parts = [("", part) for part in call.arguments]
    parts += [(f"{key}=", part) for key, part in call.keywords.items()]
    return _brackets(f"{call.name}(", parts, ")")


def _brackets(begin: str, values: list[tuple[str, Any]], end: str) -> _Brackets:
    parts = [(prefix, _tree(value)) for prefix, value in values]
    comma = "," if begin == "(" and len(parts) == 1 else ""
    texts = []
    for prefix, part in parts if len(parts) <= WIDTH else []:
        text = part if isinstance(part, str) else part.flat
        if text is None or "\n" in text:
            break
        texts.append(prefix + text)
    if len(texts) < len(parts):
        return _Brackets(begin, parts, end, None)
    line = f"{begin}{', '.join(texts)}{comma}{end}"
    return _Brackets(begin, parts, end, line if len(line) < WIDTH or not parts else None)


def _layout(text: str | _Brackets, indent: int) -> str:
    """Write it on one line if it fits, else with a line for each part."""
    if isinstance(text, str):
        return text
    room = WIDTH - indent - 24  # the longest name of a keyword may stand before it
    if text.flat is not None and (not text.parts or len(text.flat) < room):
        return text.flat
    inner = indent + 4
    lines = [f"{' ' * inner}{prefix}{_layout(part, inner)},\n" for prefix, part in text.parts]
    return f"{text.begin}\n{''.join(lines)}{' ' * indent}{text.end}"


def _by_fields(value: Any) -> _Call:
    """Spell a dataclass by its own constructor."""
    keywords = {}
    for field in dataclasses.fields(value):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if getattr(value, field.name) != default:
            keywords[field.name] = getattr(value, field.name)
    return _Call(type(value).__name__, (), keywords)


def _workload(workload: Workload) -> _Call:
    """Spell a workload by its command, or as the sequence of its equal commands."""
    if workload.program is not None:
        return _program(workload.program)
    if workload.model is not None:
        return _model(workload.model)
    if workload.endpoint is not None:
        return _endpoint(workload.endpoint)
    if (call := _recorded(workload)) is not None:
        return call
    if workload.milestones:
        return _with_milestones(workload)
    parts = _layers(workload.commands)
    if len(parts) == 1 and workload.label == _label(parts[0]):
        return parts[0]
    return _Call("sequence", (parts,), {"label": workload.label})


def _layers(commands: tuple[Command, ...]) -> tuple[_Call, ...]:
    groups = itertools.groupby(commands)
    return tuple(_layer(command, len(list(equal))) for command, equal in groups)


def _with_milestones(workload: Workload) -> _Call:
    """Spell a workload as the sequence of what its milestones divide."""
    names: list[str | None] = [name for name, _ in workload.milestones]
    ends = [after for _, after in workload.milestones]
    if ends[-1] < len(workload.commands):
        names.append(None)
        ends.append(len(workload.commands))
    parts = []
    for begin, end in itertools.pairwise([0, *ends]):
        inner = _layers(workload.commands[begin:end])
        parts.append(inner[0] if len(inner) == 1 else _Call("sequence", (inner,)))
    milestone = names[0] if len(set(names)) == 1 else tuple(names)
    return _Call("sequence", (tuple(parts),), {"label": workload.label, "milestone": milestone})


def _recorded(workload: Workload) -> _Call | None:
    """Spell a profile that comes with the package by its name; None for all else.

    A file may be gone or may have changed where the text is pasted.
    """
    match = _RECORDED.fullmatch(workload.label)
    if match is None or match[1] not in shipped_profiles():
        return None
    commands = None if match[2] is None else int(match[2]) if match[2].isdecimal() else match[3]
    try:
        same = recorded(match[1], commands=commands) == workload
    except ScenarioError:  # the label is the user's own
        return None
    keywords = {} if commands is None else {"commands": commands}
    return _Call("recorded", (match[1],), keywords) if same else None


def _program(program: Program) -> _Call:
    keywords: dict[str, Any] = {"env": dict(program.env)} if program.env else {}
    if program.preload is not None:
        keywords["preload"] = program.preload
    if not program.reports:
        keywords["reports"] = False
    return _Call("command", (list(program.argv),), keywords)


def _model(model: Model) -> _Call:
    args, kwargs = model.arguments
    name = "model" if model.framework == "torch" else "graph"
    return _Call(name, (model.factory, *args), {**kwargs, **model.options})


def _mps(value: MPS) -> _Call:
    call = _by_fields(value)
    for name in ("active_thread_percentage", "priority"):
        if name in call.keywords:
            call.keywords[name] = dict(call.keywords[name])
    return call


def _endpoint(value: Endpoint) -> _Call:
    name = MAKERS[value.api]
    default, keywords = Endpoint(url="http://localhost"), dict[str, Any]()
    if value.api == "client":
        arguments: tuple[Any, ...] = (value.function,)
    elif value.api == "kserve":
        arguments = (value.url[: value.url.index("/v2/models/")],)
        keywords = _inference(value)
    elif value.api == "http":
        arguments = (value.url,)
        keywords = _http(value)
    else:
        arguments = (value.url,)
        body = json.loads(value.body)
        prompt = "messages" if value.api == "chat" else "prompt"
        keywords = {"model": body.pop("model"), prompt: body.pop(prompt, value.body_function)}
        keywords["stream"] = body.pop("stream")
        keywords = {key: part for key, part in keywords.items() if part not in ("", True)}
        if body:
            keywords["parameters"] = body
    headers = [pair for pair in value.headers if pair != ("Content-Type", "application/json")]
    if headers or (value.api == "http" and value.headers):
        keywords["headers"] = dict(value.headers if value.api == "http" else headers)
    if value.verify != default.verify:
        keywords["verify"] = value.verify if value.verify is not None else False
    if value.timeout_ns != default.timeout_ns:
        keywords["timeout"] = spell_duration(value.timeout_ns)
    for key in ("http2", "unix_socket", "in_flight", "redirects", "remote"):
        if getattr(value, key) != getattr(default, key):
            keywords[key] = getattr(value, key)
    if value.server is not None:
        keywords["server"] = value.server
    return _Call(name, arguments, keywords)


def _server(value: Server) -> _Call:
    call = _program(value.program)
    del call.keywords["reports"]
    keywords = {"ready": value.ready, **call.keywords}
    if value.start_ns != 120 * 10**9:
        keywords["start_timeout"] = spell_duration(value.start_ns)
    return _Call("server", call.arguments, keywords)


def _http(value: Endpoint) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    if value.body_file:
        keywords["body"] = _Call("Path", (value.body_file,))
    elif value.body:
        keywords["body"] = value.body.encode()  # a text may look like the name of a function
    elif value.body_function:
        keywords["body"] = value.body_function
    if value.method != ("POST" if keywords else "GET"):
        keywords["method"] = value.method
    if value.success_function or value.success:
        keywords["success"] = value.success_function or value.success
    return keywords


def _inference(value: Endpoint) -> dict[str, Any]:
    model, *version = value.url.split("/v2/models/")[1].removesuffix("/infer").split("/versions/")
    body = json.loads(value.body) if value.body else {}
    keywords = {"model": model, "inputs": body.pop("inputs", value.body_function)}
    if version:
        keywords["version"] = version[0]
    if body:
        keywords["parameters"] = body
    return keywords


def _label(call: _Call) -> str:
    """Return the label that the constructor would make; that of a kernel is short."""
    if call.name != "kernel":
        return str(call)
    layers = {key: value for key, value in call.keywords.items() if key == "layers"}
    return str(_Call(call.name, call.arguments[1:], layers))


def _layer(command: Command, layers: int) -> _Call:
    """Spell equal commands by the constructor of their kind."""
    keywords: dict[str, Any] = {}
    if command.kernel is not None:
        kernel = command.kernel
        arguments: tuple[Any, ...] = (kernel.source, kernel.name)
        keywords = {"grid": kernel.grid, "block": kernel.block, "args": kernel.args}
    elif command == Command(kind="spin"):
        return _Call("empty", (), {"layers": layers} if layers != 1 else {})
    elif command.kind == "spin":
        arguments = (spell_duration(command.duration_ns),)
        if command.fill_permille != 1000:
            keywords["fill"] = command.fill_permille / 1000
        if command.waves != 1:
            keywords["waves"] = command.waves
    else:
        arguments = (command.n,)
        if command.batch != 1:
            keywords["batch"] = command.batch
    if layers != 1:
        keywords["layers"] = layers
    return _Call("kernel" if command.kernel else command.kind, arguments, keywords)


def _rated(name: str, value: Any, **keywords: Any) -> _Call:
    """Spell arrivals of a rate, by their class where no short text gives the same float."""
    text = f"{value.rate_hz:.12g}/s"
    try:
        exact = parse_rate(text, what="rate") == value.rate_hz
    except ScenarioError:
        exact = False
    return _Call(name, (text,), keywords) if exact else _by_fields(value)


def _closed(value: Closed) -> _Call:
    keywords = {"think": spell_duration(value.think_ns)} if value.think_ns else {}
    return _Call("closed", (value.concurrency,) if value.concurrency != 1 else (), keywords)


def _bursts(value: Bursts) -> _Call:
    on, off = spell_duration(value.on_ns), spell_duration(value.off_ns)
    return _rated("bursts", value, on=on, off=off)


def _replay(value: Replay) -> _Call:
    texts = tuple(spell_duration(ns) for ns in value.times_ns)
    if len(texts) > 3 and len(set(texts)) == 1:
        return _Call("replay", (_Times(texts[0], len(texts)),))
    return _Call("replay", (texts,))


def _stages(value: Stages) -> _Call:
    parts = tuple(_stage(stage) for stage in value.stages)
    names = [stage.name for stage in value.stages]
    if None in parts or (any(names) and not all(names)):
        return _by_fields(value)
    keywords = {} if value.process == "poisson" else {"process": value.process}
    named = _Named(dict(zip(names, parts, strict=True))) if all(names) else parts
    return _Call("stages", (named,), keywords)


def _stage(stage: Stage) -> tuple[str, ...] | None:
    """Spell a stage as a tuple; None where a rate has no short text."""
    rates = [stage.begin_hz] if stage.begin_hz == stage.end_hz else [stage.begin_hz, stage.end_hz]
    texts = [f"{hz:.12g}/s" for hz in rates]
    same = [
        not hz or parse_rate(text, what="rate") == hz for hz, text in zip(rates, texts, strict=True)
    ]
    return (spell_duration(stage.duration_ns), *texts) if all(same) else None


def _trace_file(value: TraceFile) -> _Call:
    keywords: dict[str, Any] = {}
    for name in ("begin", "duration", "offset"):
        if ns := getattr(value, f"{name}_ns"):
            keywords[name] = spell_duration(ns)
    if value.speed != 1:
        keywords["speed"] = value.speed
    for name in ("time", "unit", "tokens_in", "tokens_out"):
        if text := getattr(value, name):
            keywords[name] = text
    return _Call("trace_file", (value.path,), {**keywords, "sha256": value.sha256[:16]})


def _change(value: Change) -> _Call:
    keywords = {"priority": value.priority, "suspended": value.suspended}
    named = {key: part for key, part in keywords.items() if part is not None}
    return _Call("at", (spell_duration(value.at_ns), value.queue), named)


_SPELLERS: dict[type, Callable[[Any], _Call]] = {
    Workload: _workload,
    Change: _change,
    Argument: lambda value: _Call(value.kind, (value.value,)),
    Constant: lambda value: _rated("constant", value),
    Poisson: lambda value: _rated("poisson", value),
    Gamma: lambda value: _rated("gamma", value, cv=value.cv),
    Bursts: _bursts,
    Replay: _replay,
    Stages: _stages,
    TraceFile: _trace_file,
    Closed: _closed,
    MPS: _mps,
    Server: _server,
}
