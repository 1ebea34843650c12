"""The work of a queue: commands, and the requests made of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pytest_xsched.base.units import MAX_NS, DurationLike, parse_duration, spell_duration
from pytest_xsched.base.validation import (
    checked_fields,
    checked_list,
    finite_number,
    integer,
    one_of,
    set_integer,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.kernels import Argument, Kernel, read_kernel
from pytest_xsched.scenario.programs import Program, make_program, read_program

COMMANDS_MAX = 4096  # of a request: the limit of the native runner
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
        duration_ns: of a spin; 0 for the others.
        fill_permille: share of the device that a spin takes, in thousandths, in [1, 1000]; 1000
            for the others.
        waves: of blocks that a spin divides its duration into, in [1, 1024]; 1 for the others, and
            where it takes a share.
        kernel: what to compile and launch, of a kernel; None for the others.
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
                f"spin: {self.waves} waves need all of the device, not {self.fill_permille / 1000} "
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The commands of one request, launched in order, and the name reports give them."""

    commands: tuple[Command, ...]
    label: str
    program: Program | None = None

    def __post_init__(self) -> None:
        if isinstance(self.program, Program):
            if self.commands:
                raise ScenarioError("workload: a program and commands exclude each other")
            object.__setattr__(self, "commands", ())
        elif self.program is not None:
            raise ScenarioError(f"workload: program {self.program!r} is none")
        else:
            set_tuple(self, "commands", Command, "workload", COMMANDS_MAX)
        if not isinstance(self.label, str) or not self.label:
            raise ScenarioError(f"workload: label {self.label!r} is not a text")


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


def vector_add(n: int, *, layers: int = 1) -> Workload:
    """Make a workload of float32 vector sums: n flops, 12*n bytes a command.

    Args:
        n: elements, in [1, 2**31].
        layers: commands of one request, in [1, COMMANDS_MAX].
    """
    command = Command(kind="vector_add", n=n)
    return _layered(command, layers, "vector_add", str(command.n))


def spin(duration: DurationLike, *, fill: float = 1.0, waves: int = 1, layers: int = 1) -> Workload:
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
    duration_ns = parse_duration(duration, what="duration of spin", allow_zero=True)
    permille = max(1, round(1000 * finite_number("spin: fill", fill, above=0, high=1)))
    command = Command(kind="spin", duration_ns=duration_ns, fill_permille=permille, waves=waves)
    more = [f"fill={permille / 1000}"] if permille != 1000 else []
    more += [f"waves={command.waves}"] if command.waves != 1 else []
    return _layered(command, layers, "spin", f"'{spell_duration(duration_ns)}'", *more)


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

    It is compiled there, once for each source text. Its results are not compared with anything:
    under `check=True` the run says so.

    Args:
        source: text in CUDA's or HIP's language.
        name: of an ``extern "C" __global__ void`` function in it.
        grid: blocks, a number or up to three of them.
        block: threads of a block, likewise; together at most 1024.
        args: of the function, in order, at most 64: made by `buffer(n)`, `int32(n)`, `int64(n)` and
            `float32(x)`.
        layers: commands of one request, in [1, COMMANDS_MAX].

    Raises:
        ScenarioError: a value is wrong; when it runs, the device compiles no source.
        DeviceError: when it runs, the text does not compile (the message ends as the log of the
            compiler does), or has no function of that name.
    """
    own = Kernel(  # which takes all of that, and makes of it what its fields say
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

    Under scheduler "xsched" it is started with XSched's shim in LD_PRELOAD, and with the variables
    that make an XQueue of every stream, of the queue's priority; under "native" as it is. It is
    started before the run and ended behind it.

    Args:
        argv: the program and its arguments, ``["python", "serve.py"]``.
        env: variables beyond those of pytest.
        preload: a shim instead of the installation's.
        reports: whether it says when its requests begin and end, by `pytest_xsched.client` or by
            the protocol that is described there. Without that it is a contender only: there are no
            figures of it.

    Raises:
        ScenarioError: a value is wrong.
        SchedulerInactive: when it runs, XSched is not in effect in it; says why.
    """
    program = make_program(argv, env, preload, reports)
    return Workload(commands=(), label=program.label, program=program)


def sequence(workloads: Iterable[Workload], *, label: str | None = None) -> Workload:
    """Make a workload whose request is the commands of several, one after the other.

    Args:
        workloads: at least one; together at most COMMANDS_MAX commands.
        label: how reports call it; the labels of its parts, if none is given.

    >>> sequence([matmul(512, layers=3), spin("50us")]).label
    "sequence(matmul(512, layers=3), spin('50us'))"
    """
    parts = _workloads(workloads)
    if label is None:
        label = f"sequence({', '.join(part.label for part in parts)})"
    commands = tuple(command for part in parts for command in part.commands)
    return Workload(commands=commands, label=label)


def _workloads(workloads: Iterable[Workload]) -> list[Workload]:
    if isinstance(workloads, Workload) or not isinstance(workloads, Iterable):
        raise ScenarioError(f"sequence: {workloads!r} is not a list of workloads")
    parts = list(workloads)
    for part in parts:
        if not isinstance(part, Workload) or part.program is not None:
            raise ScenarioError(f"sequence: {part!r} is not a workload like matmul(512)")
    if not parts:
        raise ScenarioError("sequence: an empty list; it needs at least one workload")
    return parts


def _layered(command: Command, layers: int, name: str, *arguments: str) -> Workload:
    layers = integer(f"{name}: layers", layers, 1, COMMANDS_MAX)
    if layers != 1:
        arguments = (*arguments, f"layers={layers}")
    return Workload(commands=(command,) * layers, label=f"{name}({', '.join(arguments)})")


def read_workload(data: Any) -> Workload:
    """Make a workload from its JSON: the fields of Workload, and those of Command in each."""
    values = checked_fields(Workload, data, "workload")
    commands = checked_list(values, "commands", "workload")
    values["commands"] = tuple(read_command(command) for command in commands)
    if values["program"] is not None:
        values["program"] = read_program(values["program"])
    return Workload(**values)


def read_command(data: Any) -> Command:
    """Make a command from its JSON."""
    values = checked_fields(Command, data, "command")
    if values["kernel"] is not None:
        values["kernel"] = read_kernel(values["kernel"])
    return Command(**values)
