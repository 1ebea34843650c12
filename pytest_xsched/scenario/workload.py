"""The work of a queue: commands, and the requests that consist of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pytest_xsched.base.constants import MILESTONE_NAME, MILESTONE_NAMES_MAX, TOKEN
from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.terminal_text import printable
from pytest_xsched.base.units import (
    MAX_NS,
    DurationLike,
    one_line,
    parse_duration,
    parse_fraction,
    spell_duration,
)
from pytest_xsched.base.validation import (
    checked_fields,
    checked_list,
    integer,
    one_of,
    set_integer,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.endpoint import Endpoint, load_program, read_endpoint
from pytest_xsched.scenario.grouping import COMMANDS_MAX as COMMANDS_MAX
from pytest_xsched.scenario.kernels import Argument, Kernel, read_kernel
from pytest_xsched.scenario.models import (
    Model,
    eager_program,
    make_model,
    read_model,
    refuse_shared_keywords,
)
from pytest_xsched.scenario.programs import Program, make_program, read_program

ITEMS_MAX = 2**31  # elements of one output
WAVES_MAX = 1024  # of a spin: likewise
COMMAND_KINDS = ("matmul", "vector_add", "spin", "kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One launch.

    Args:
        kind: ``"matmul"`` (`batch` products of two n x n matrices), ``"vector_add"`` (n + n
            elements), both float32, ``"spin"`` (keep the device busy for `duration_ns`) or
            ``"kernel"`` (the user's own).
        n: size, at least 1; 0 for a spin and a kernel.
        batch: products of one matmul, at least 1; 1 for the others.
        duration_ns: duration of a spin; 0 for the others.
        fill_permille: share of the device that a spin takes, in thousandths, in [1, 1000]; 1000
            for the others.
        waves: waves of blocks into which a spin divides its duration, in [1, 1024]; 1 for the
            others, and for a spin that takes a share.
        kernel: the kernel to compile and launch, for kind "kernel"; None for the others.
    """

    kind: str
    n: int = 0
    batch: int = 1
    duration_ns: int = 0
    fill_permille: int = 1000
    waves: int = 1
    kernel: Kernel | None = None

    def __post_init__(self) -> None:
        one_of("kind of command", self.kind, COMMAND_KINDS)
        computes, matmul = self.kind in ("matmul", "vector_add"), self.kind == "matmul"
        spins = self.kind == "spin"
        set_integer(self, "n", self.kind, 1 if computes else 0, ITEMS_MAX if computes else 0)
        set_integer(self, "batch", self.kind, 1, ITEMS_MAX if matmul else 1)
        set_integer(self, "duration_ns", self.kind, 0, MAX_NS if spins else 0)
        set_integer(self, "fill_permille", self.kind, 1 if spins else 1000, 1000)
        set_integer(self, "waves", self.kind, 1, WAVES_MAX if spins else 1)
        if self.waves > 1 and self.fill_permille < 1000:
            raise ScenarioError(
                f"spin: {self.waves} waves need the whole device, not {self.fill_permille / 1000} "
                "of it"
            )
        if isinstance(self.kernel, Kernel) != (self.kind == "kernel"):
            raise ScenarioError(f"{self.kind}: kernel {self.kernel!r} does not go with it")
        if self.items > ITEMS_MAX:
            raise ScenarioError(
                f"matmul({self.n}, batch={self.batch}): n * n * batch = {self.items} elements, "
                f"above {ITEMS_MAX}"
            )

    @property
    def items(self) -> int:
        """Elements of the output: n*n*batch of a matmul, n of a vector_add, else 0."""
        return self.n * self.n * self.batch if self.kind == "matmul" else self.n

    @property
    def flops(self) -> int:
        """Floating point operations: 2*n^3*batch of a matmul, n of a vector_add."""
        return 2 * self.n * self.items if self.kind == "matmul" else self.n

    @property
    def bytes(self) -> int:
        """Bytes read and written once: three float32 an output element."""
        return 12 * self.items


def command_label(workload: Workload, index: int) -> str:
    """Name a command of a request in reports: ``matmul(1024, batch=8)``.

    Args:
        workload: of the request; the commands of a model are segments of its graph.
        index: of the command in the request.
    """
    if index >= len(workload.commands):
        return f"{printable(workload.label)}, segment {index + 1}"
    command = workload.commands[index]
    if command.kernel is not None:
        return f"kernel({one_line(command.kernel.name)})"
    if command.kind == "spin":
        return f"spin('{spell_duration(command.duration_ns)}')"
    batch = f", batch={command.batch}" if command.batch != 1 else ""
    return f"{command.kind}({command.n}{batch})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The commands of one request, launched in order, and their name in reports.

    A program, a model or an endpoint stands for commands that are not known here.

    Args:
        commands: of a request.
        label: name in reports.
        program: that does the requests, or None.
        model: whose requests they are, or None.
        endpoint: that answers them, or None.
        milestones: of a request: the name of each, and the number of commands after which it is
            reached, ascending.
    """

    commands: tuple[Command, ...]
    label: str
    program: Program | None = None
    model: Model | None = None
    endpoint: Endpoint | None = None
    milestones: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        given = {}
        for name, kind in (("program", Program), ("model", Model), ("endpoint", Endpoint)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ScenarioError(f"workload: {name} {value!r} is not a {name}")
            if value is not None:
                given[name] = "an endpoint" if name == "endpoint" else f"a {name}"
        if given:
            if self.commands:
                which = next(iter(given.values()))
                raise ScenarioError(f"workload: {which} and commands exclude each other")
            if len(given) > 1:
                both = " and ".join(given.values())
                raise ScenarioError(f"workload: {both} exclude each other")
            object.__setattr__(self, "commands", ())
        else:
            set_tuple(self, "commands", Command, "workload", COMMANDS_MAX)
        if not isinstance(self.label, str) or not self.label:
            raise ScenarioError(f"workload: label {self.label!r} is not a text")
        milestones = _checked_milestones(self.milestones, len(self.commands))
        object.__setattr__(self, "milestones", milestones)

    @property
    def milestone_names(self) -> tuple[str, ...]:
        """Names of the milestones that its requests have in any case, also where none gets there.

        Those of a program of the user are known when they are reached.
        """
        if self.model is not None:
            return (TOKEN,) if self.model.steps else ()
        if self.endpoint is not None:
            return self.endpoint.milestones
        return tuple(dict.fromkeys(name for name, _ in self.milestones))

    @property
    def milestone_repeats(self) -> dict[str, bool] | None:
        """Whether a milestone may come more than once in a request, by its name.

        None: a program of the user reports them, so they are known when they are reached.
        """
        if self.endpoint is not None and self.endpoint.api != "client":
            return dict.fromkeys(self.endpoint.milestones, True)
        if self.own_program is not None:
            return None
        if self.model is not None:
            return {} if self.model.steps is None else {TOKEN: self.model.steps > 1}
        names = [name for name, _ in self.milestones]
        return {name: names.count(name) > 1 for name in names}

    @property
    def own_program(self) -> Program | None:
        """The program that does its requests in a process of its own, where there is one."""
        if self.model is not None and self.model.mode == "eager":
            return eager_program(self.model)
        if self.endpoint is not None:
            return load_program(self.endpoint)
        return self.program


@names_the_rest
def matmul(n: int, *, batch: int = 1, layers: int = 1) -> Workload:
    """Make a workload of float32 matrix products: 2*n^3*batch flops, 12*n^2*batch bytes a command.

    Args:
        n: rows and columns; n * n * batch is at most 2**31.
        batch: independent products of one command.
        layers: commands of one request, in [1, COMMANDS_MAX].

    >>> matmul(1024, batch=8).label, matmul(1024, batch=8).commands[0].flops
    ('matmul(1024, batch=8)', 17179869184)
    """
    command = Command(kind="matmul", n=n, batch=batch)
    more = [f"batch={command.batch}"] if command.batch != 1 else []
    return _layered(command, layers, "matmul", str(command.n), *more)


@names_the_rest
def vector_add(n: int, *, layers: int = 1) -> Workload:
    """Make a workload of float32 vector sums: n flops, 12*n bytes a command.

    Args:
        n: elements, in [1, 2**31].
        layers: commands of one request, in [1, COMMANDS_MAX].
    """
    command = Command(kind="vector_add", n=n)
    return _layered(command, layers, "vector_add", str(command.n))


@names_the_rest
def spin(
    duration: DurationLike, *, fill: str | float = 1.0, waves: int = 1, layers: int = 1
) -> Workload:
    """Make a workload that keeps the device busy for a time and computes nothing.

    On a GPU it runs for a number of iterations, which is calibrated when the device is opened: time
    that is taken away from it is made up for. `fill` and `waves` have a meaning there only. On
    `cpu` a spin keeps one worker, on `sim` one slot, whatever they are.

    Args:
        duration: of one command, ``"500us"``, ``500 * us`` or a timedelta; ``"0s"`` is an empty
            command.
        fill: share of the device's places for blocks that it takes, in (0, 1], to three digits;
            at least one block.
        waves: waves of blocks, in [1, 1024], that follow one another and share the duration. Where
            one ends, the driver can let a stream of higher priority in. More than one need all of
            the device.
        layers: commands of one request, in [1, COMMANDS_MAX].
    """
    duration_ns = parse_duration(
        duration, what="duration of spin", allow_zero=True, units=("us", "ms")
    )
    share = parse_fraction(fill, what="fill of spin")
    if share == 0:
        raise ScenarioError("fill of spin: 0 is outside (0, 1]; 0.001 is the least")
    permille = max(1, round(1000 * share))
    command = Command(kind="spin", duration_ns=duration_ns, fill_permille=permille, waves=waves)
    more = [f"fill={permille / 1000}"] if permille != 1000 else []
    more += [f"waves={command.waves}"] if command.waves != 1 else []
    return _layered(command, layers, "spin", f"'{spell_duration(duration_ns)}'", *more)


@names_the_rest
def empty(*, layers: int = 1) -> Workload:
    """Make a workload of commands that do nothing, ``spin("0s")``: what is left is launching.

    Args:
        layers: commands of one request, in [1, COMMANDS_MAX].
    """
    return _layered(Command(kind="spin"), layers, "empty")


def kernel(
    source: str,
    name: str,
    *,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    args: Iterable[Argument] = (),
    layers: int = 1,
) -> Workload:
    """Make a workload of a kernel of your own, on the devices "cuda" and "hip".

    The device compiles each source text once. The results are not compared with anything; under
    `check=True` the run reports that.

    Args:
        source: text in CUDA's or HIP's language.
        name: name of an ``extern "C" __global__ void`` function in the source.
        grid: count of blocks, a number or up to three numbers.
        block: threads of a block, a number or up to three numbers; their product is at most 1024.
        args: arguments of the function, in order, at most 64: made by `buffer(n)`, `int32(n)`,
            `int64(n)` and `float32(x)`.
        layers: commands of one request, in [1, COMMANDS_MAX].

    Raises:
        ScenarioError: a value is wrong; or, in a run, the device compiles no source.
        DeviceError: in a run, the text does not compile (the message ends with the end of the
            compiler's log), or has no function of that name.
    """
    own = Kernel(  # checks the values and converts them
        source=source,
        name=name,
        grid=cast("tuple[int, int, int]", grid),
        block=cast("tuple[int, int, int]", block),
        args=cast("tuple[Argument, ...]", args),
    )
    return _layered(Command(kind="kernel", kernel=own), layers, "kernel", f"'{name}'")


def command(
    argv: Iterable[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    preload: str | os.PathLike[str] | None = None,
    reports: bool = True,
) -> Workload:
    """Make a workload of a program of your own, in a process of its own, that knows no XQueue.

    The program starts before the run and ends after it. Under scheduler "xsched" it starts with
    XSched's shim in LD_PRELOAD, and with the variables that make an XQueue with the queue's
    priority for every stream. Under "native" it starts unchanged.

    Args:
        argv: the program and its arguments, ``["python", "serve.py"]``. There is no shell, so `~`
            and variables are replaced in the program only.
        env: variables in addition to those of pytest.
        preload: a shim instead of the installation's.
        reports: whether the program reports when its requests begin and end, by
            `pytest_xsched.client` or by the protocol that is described there. If not, the program
            only competes with others, and has no figures.

    Raises:
        ScenarioError: a value is wrong.
        SchedulerInactive: in a run, XSched is not in effect in the program.
    """
    program = make_program(argv, env, preload, reports)
    return Workload(commands=(), label=program.label, program=program)


def model(
    factory: Callable[..., Any] | str,
    *args: Any,
    mode: str = "graph",
    commands: int | DurationLike = "auto",
    tolerance: float | None = 0.0,
    steps: int | None = None,
    **kwargs: Any,
) -> Workload:
    """Make a workload of a PyTorch model of your own.

    `factory` is called in the measuring process, once a queue, with the device set as PyTorch's
    default. It builds the model and its inputs, and returns a callable: one call is one request.

    With `steps`, it returns two callables, ``prefill, decode``: a request is one call of the first,
    and then that many of the second. After each call the request reaches the milestone ``"token"``.
    If it returns one callable, that is the step. A step finds its input where the one before left
    it: in tensors that exist and are written in place.

    On "cuda" and "hip", a request is captured into a graph, which is cut into commands, so every
    scheduler schedules the model. With ``mode="eager"``, and on "cpu", the requests run in a
    process of their own, as those of `command` do. There a callable that has parameters
    ``tokens_in`` or ``tokens_out`` gets the sizes of each request; None: the load has none.

    Args:
        factory: a function at the top level of a file, or its name: ``"package.module:name"``,
            ``"path/file.py:name"``.
        args: its arguments, which JSON can hold.
        mode: ``"graph"`` or ``"eager"``. They are different programs, and so never compared.
        commands: how the graph is cut: a number of commands, the time of one, ``"50us"``, or
            ``"auto"``: some 100 us each, and the whole graph where nothing overtakes the queue
            between commands: under "native" and "priority", and for the highest priority of "hpf".
            1 is the whole graph.
        tolerance: how far the results of the cut graph may be from those of the eager request,
            absolute and relative. 0: equal to the last bit. None: they are not compared, because a
            request changes the model, as training does.
        steps: how many steps a request has, in [1, COMMANDS_MAX); None: a request is one call.
        kwargs: more arguments of `factory`.

    Raises:
        ScenarioError: a value is wrong; or, in a run, there is no such function, it raises, it
            returns no callable, or its requests cannot be captured.
    """
    given: dict[str, Any] = {
        "mode": mode,
        "commands": commands,
        "tolerance": tolerance,
        "steps": steps,
    }
    defaults = {"mode": "graph", "commands": "auto", "tolerance": 0.0, "steps": None}
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    refuse_shared_keywords(factory, changed)
    own = make_model(factory, args, kwargs, **given)
    return Workload(commands=(), label=own.label, model=own)


def graph(
    factory: Callable[..., Any] | str,
    *args: Any,
    commands: int | DurationLike = "auto",
    steps: int | None = None,
    **kwargs: Any,
) -> Workload:
    """Make a workload of whatever launches onto a stream: CuPy, Triton, bindings of the driver.

    `factory` returns a callable that takes a stream, an int that is a `CUstream` or `hipStream_t`,
    and launches one request onto it without waiting. We capture that into a graph and cut it, as of
    `model`. The results are not compared.

    Args:
        factory: as of `model`.
        args: its arguments, which JSON can hold.
        commands: as of `model`.
        steps: as of `model`.
        kwargs: more arguments of `factory`.

    Raises:
        ScenarioError: as of `model`.
    """
    given: dict[str, Any] = {"commands": commands, "steps": steps}
    own = make_model(factory, args, kwargs, framework="stream", tolerance=None, **given)
    return Workload(commands=(), label=own.label, model=own)


def sequence(
    workloads: Iterable[Workload],
    *,
    label: str | None = None,
    milestone: str | Iterable[str | None] | None = None,
) -> Workload:
    """Make a workload whose requests have the commands of several workloads, one after another.

    Args:
        workloads: at least one; together at most COMMANDS_MAX commands.
        label: name in reports; default: the labels of the parts.
        milestone: name of the milestone that a request reaches after each of the workloads,
            ``"token"``; or a list with a name for each of them, None for none.

    >>> sequence([matmul(512, layers=3), spin("50us")]).label
    "sequence(matmul(512, layers=3), spin('50us'))"
    """
    parts = _workloads(workloads)
    names = _names_of_milestones(milestone, len(parts))
    if label is None:
        label = f"sequence({', '.join(part.label for part in parts)})"
    commands: tuple[Command, ...] = ()
    milestones: list[tuple[str, int]] = []
    for part, name in zip(parts, names, strict=True):
        inner = [(own, len(commands) + after) for own, after in part.milestones]
        commands += part.commands
        if name is not None:
            inner = [one for one in inner if one[1] < len(commands)]
            inner.append((name, len(commands)))
        milestones += inner
    return Workload(commands=commands, label=label, milestones=tuple(milestones))


def _names_of_milestones(given: object, parts: int) -> list[str | None]:
    if given is None or isinstance(given, str):
        return [given] * parts
    names = list(given) if isinstance(given, Iterable) else []
    if len(names) != parts or not all(name is None or isinstance(name, str) for name in names):
        raise ScenarioError(
            f"sequence: milestone {one_line(given)} is neither a name nor a list with a name or "
            f"None for each of the {parts} workloads"
        )
    return names


def _checked_milestones(given: Any, commands: int) -> tuple[tuple[str, int], ...]:
    try:
        pairs = [(name, after) for name, after in given]
    except (TypeError, ValueError):
        raise ScenarioError(
            f"workload: milestones {one_line(given)} are no pairs of a name and a number of "
            "commands"
        ) from None
    found = tuple((name, integer("milestone", after, 1, COMMANDS_MAX)) for name, after in pairs)
    for name, _ in found:
        if not isinstance(name, str) or not re.fullmatch(MILESTONE_NAME, name):
            raise ScenarioError(
                f"milestone: {one_line(name)} is no name; write up to 40 letters a-z, digits and "
                'underscores, the first a letter, as in "token"'
            )
    if len(names := dict.fromkeys(name for name, _ in found)) > MILESTONE_NAMES_MAX:
        raise ScenarioError(
            f"milestones: {len(names)} names, above the limit of {MILESTONE_NAMES_MAX}"
        )
    before = 0
    for name, after in found:
        if not before < after <= commands:
            raise ScenarioError(
                f"workload: the milestone {name!r} is reached after {after} commands; the numbers "
                f"must ascend, and a request has {commands} commands"
            )
        before = after
    return found


def _workloads(workloads: Iterable[Workload]) -> list[Workload]:
    if isinstance(workloads, Workload) or not isinstance(workloads, Iterable):
        raise ScenarioError(f"sequence: {workloads!r} is not a list of workloads")
    parts = list(workloads)
    for part in parts:
        if not isinstance(part, Workload) or not part.commands:
            raise ScenarioError(f"sequence: {one_line(part)} is not a workload like matmul(512)")
    if not parts:
        raise ScenarioError("sequence: an empty list; it needs at least one workload")
    return parts


def _layered(command: Command, layers: int, name: str, *arguments: str) -> Workload:
    layers = integer(f"{name}: layers", layers, 1, COMMANDS_MAX)
    if layers != 1:
        arguments = (*arguments, f"layers={layers}")
    return Workload(commands=(command,) * layers, label=f"{name}({', '.join(arguments)})")


def read_workload(data: Any) -> Workload:
    """Return a workload from its JSON: the fields of Workload, and of each Command."""
    if isinstance(data, Mapping):  # absent in old records
        data = {"endpoint": None, "milestones": [], **data}
    values = checked_fields(Workload, data, "workload")
    values["milestones"] = checked_list(values, "milestones", "workload")
    commands = checked_list(values, "commands", "workload")
    values["commands"] = tuple(read_command(command) for command in commands)
    if values["program"] is not None:
        values["program"] = read_program(values["program"])
    if values["model"] is not None:
        values["model"] = read_model(values["model"])
    if values["endpoint"] is not None:
        values["endpoint"] = read_endpoint(values["endpoint"])
    return Workload(**values)


def read_command(data: Any) -> Command:
    """Return a command from its JSON."""
    values = checked_fields(Command, data, "command")
    if values["kernel"] is not None:
        values["kernel"] = read_kernel(values["kernel"])
    return Command(**values)
