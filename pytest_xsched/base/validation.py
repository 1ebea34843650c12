"""Checks of single values, shared by the classes that describe a run.

A refused value raises a ScenarioError that shows the value and `what` it belongs to.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pytest_xsched.base.constants import DEVICES, GPUS
from pytest_xsched.base.units import one_line, parse_duration, refuse_measured
from pytest_xsched.errors import ScenarioError

_Item = TypeVar("_Item")


def integer(what: str, value: object, low: int, high: int) -> int:
    """Return an integer in [low, high] as an int; accept numpy integers, refuse booleans."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        advice = _integer_advice(what, value)
        raise ScenarioError(f"{what} {one_line(value)} is not an integer{advice}") from None
    if not low <= number <= high:
        raise ScenarioError(f"{what} {number} is outside [{low}, {high}]")
    return number


def _integer_advice(what: str, value: object) -> str:
    """Return how to write a value as the integer that it probably means; "" if that is not clear.

    The name of what counts nanoseconds ends with "_ns"; a utilization is in percent.
    """
    if what.endswith("_ns"):
        try:
            ns = parse_duration(value, what=what, allow_zero=True)  # type: ignore[arg-type]
        except ScenarioError:
            return ", which counts nanoseconds; 5000 are 5 us"
        return f", which counts nanoseconds; write {ns}"
    percent = " ?%?" if what.endswith("utilization") else ""
    text = value if isinstance(value, str) else ""
    if match := re.fullmatch(f"([+-]?[0-9]{{1,18}}){percent}", text.strip()):
        return f"; write {int(match[1])}"
    if percent:
        return ", which is in percent; write 50 for a half"
    if isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    return "; a higher number wins, as in priority=10" if what.endswith("priority") else ""


def finite_number(what: str, value: object, *, above: float, high: float = math.inf) -> float:
    """Return a finite number in (above, high] as a float; refuse texts and booleans."""
    refuse_measured(value, what, "a plain number")
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        # Of "50%" or "50ms" the bare number would be another value.
        plain = re.fullmatch(r"([0-9]*\.?[0-9]+) ?x?", value) if isinstance(value, str) else None
        advice = f"; write {plain[1]}" if plain else ""
        raise ScenarioError(f"{what} {one_line(value)} is not a number{advice}") from None
    if not (math.isfinite(number) and above < number <= high):
        raise ScenarioError(f"{what} {value!r} is outside ({above}, {high}]")
    return number


# The classes are frozen, so these functions call object.__setattr__, once, from __post_init__. A
# numpy integer or a list in a field would break the JSON or the hash of the object.


def set_integer(owner: object, name: str, what: str, low: int, high: int) -> None:
    """Check a field with `integer` and store it as an int."""
    value = integer(f"{what}: {name}", getattr(owner, name), low, high)
    object.__setattr__(owner, name, value)


def set_number(owner: object, name: str, what: str, above: float, high: float) -> None:
    """Check a field with `finite_number` and store it as a float."""
    value = finite_number(f"{what}: {name}", getattr(owner, name), above=above, high=high)
    object.__setattr__(owner, name, value)


def set_tuple(owner: object, name: str, kind: type[_Item], what: str, most: int) -> None:
    """Check a field of 1 to `most` items of one type and store it as a tuple."""
    value = getattr(owner, name)
    if not isinstance(value, (tuple, list)):
        raise ScenarioError(f"{what}: {name} {one_line(value)} is not a tuple of {kind.__name__}")
    for item in value:
        if not isinstance(item, kind):
            shown = one_line(item)
            raise ScenarioError(f"{what}: {shown} in {name} is not a {kind.__name__}")
    if not 1 <= len(value) <= most:
        raise ScenarioError(f"{what}: {len(value)} {name} are outside [1, {most}]")
    object.__setattr__(owner, name, tuple(value))


def check_flag(what: str, value: object) -> None:
    """Check that a value is True or False, and not only true or false in a condition."""
    if not isinstance(value, bool):
        raise ScenarioError(f"{what} {one_line(value)} is not True or False")


def one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    """Check that a value is one of the known names."""
    if value not in known:
        raise ScenarioError(f"{what} {one_line(value)} is unknown; known: {', '.join(known)}")


def device_name(what: str, value: object, known: tuple[str, ...] = DEVICES) -> str:
    """Check the name of a device and return it without an index of 0.

    It is ``"cuda"``, ``"cuda:1"``, or with the UUID of a GPU or of a part of one, as nvidia-smi -L
    prints it: ``"cuda:MIG-41b35014-745a-5553-88a3-dbbf5dc03d76"``.
    """
    kind, colon, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in known:
        advice = f"; write 'cuda:{value}'" if type(value) is int else ""
        names = ", ".join(known)
        raise ScenarioError(f"{what} {one_line(value)} is unknown; known: {names}{advice}")
    if colon and kind not in GPUS:
        raise ScenarioError(
            f"{what} {value!r} has an index, which only {' and '.join(GPUS)} devices have"
        )
    if kind == "cuda" and re.fullmatch(r"(MIG|GPU)-[\w/-]{1,80}", index, re.ASCII):
        return f"{kind}:{index}"
    if colon and not re.fullmatch("0|[1-9][0-9]{0,3}", index):
        or_uuid = " or 'cuda:MIG-...'" if kind == "cuda" else ""
        raise ScenarioError(
            f"{what} {value!r}: an index must follow the colon, as in '{kind}:1'{or_uuid}"
        )
    return f"{kind}:{index}" if index not in ("", "0") else kind


def checked_fields(cls: type[Any], data: Any, what: str) -> dict[str, Any]:
    """Return the fields of `cls` out of JSON; refuse missing and other fields."""
    values = checked_object(data, what)
    names = {item.name for item in fields(cls)}
    if names != set(values):
        odd = ", ".join(sorted(repr(name) for name in names ^ set(values)))
        raise ScenarioError(f"{what}: missing or unknown fields {odd}")
    return values


def checked_object(data: Any, what: str) -> dict[str, Any]:
    """Return a copy of a JSON object."""
    if not isinstance(data, Mapping):
        raise ScenarioError(f"{what}: {data!r} is not an object with fields")
    return dict(data)


def checked_list(values: dict[str, Any], name: str, what: str) -> list[Any]:
    """Return the list in one field of a JSON object."""
    value = values[name]
    if not isinstance(value, list):
        raise ScenarioError(f"{what}: {name} {value!r} is not a list")
    return value
