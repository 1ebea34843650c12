"""Checks of single values: what passes, as which type, and the words for what does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pytest_xsched.base.validation import (
    check_flag,
    checked_fields,
    checked_list,
    device_name,
    finite_number,
    integer,
    one_of,
    set_integer,
    set_number,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError


@dataclass(frozen=True)
class Owner:
    field: object


def test_numpy_integers_become_ints():
    np = pytest.importorskip("numpy")
    assert type(integer("n", np.int64(512), 1, 1000)) is int
    owner = Owner(np.uint8(2))
    set_integer(owner, "field", "owner", 1, 2)
    assert type(owner.field) is int
    with pytest.raises(ScenarioError, match="not an integer"):
        integer("n", np.float64(512), 1, 1000)


def test_numbers_become_floats():
    assert type(finite_number("limit", 2, above=1)) is float
    owner = Owner(3)
    set_number(owner, "field", "owner", 0, 3)
    assert type(owner.field) is float


def test_lists_become_tuples():
    owner = Owner([1, 2])
    set_tuple(owner, "field", int, "owner", 2)
    assert owner.field == (1, 2)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: integer("n", True, 0, 1), "n True is not an integer"),
        (lambda: integer("n", 2, 0, 1), "n 2 is outside [0, 1]"),
        (lambda: finite_number("limit", "2", above=1), "limit '2' is not a number"),
        (lambda: finite_number("limit", True, above=0), "limit True is not a number"),
        (lambda: finite_number("limit", None, above=0), "limit None is not a number"),
        (lambda: finite_number("limit", 10**400, above=0), "is not a number"),
        (lambda: finite_number("limit", 1, above=1), "limit 1 is outside (1, inf]"),
        (lambda: finite_number("limit", float("inf"), above=1), "limit inf is outside"),
        (lambda: finite_number("limit", float("nan"), above=1), "limit nan is outside"),
        (lambda: set_integer(Owner(9), "field", "owner", 0, 1), "owner: field 9 is outside [0, 1]"),
        (lambda: set_number(Owner(9), "field", "owner", 0, 1), "owner: field 9 is outside (0, 1]"),
        (lambda: set_tuple(Owner("ab"), "field", str, "owner", 3), "owner: field 'ab' is not"),
        (lambda: set_tuple(Owner((1, "a")), "field", int, "owner", 3), "owner: 'a' in field"),
        (lambda: set_tuple(Owner(()), "field", int, "owner", 3), "owner: 0 field are outside"),
        (lambda: check_flag("on", 1), "on 1 is not True or False"),
        (lambda: one_of("device", "x", ("a", "b")), "device 'x' is unknown; known: a, b"),
        (
            lambda: checked_fields(Owner, {"f": 1}, "owner"),
            "missing or unknown fields 'f', 'field'",
        ),
        (lambda: checked_fields(Owner, [], "owner"), "owner: [] is not an object with fields"),
        (lambda: checked_list({"field": {}}, "field", "owner"), "owner: field {} is not a list"),
    ],
)
def test_value_is_refused(check, words):
    with pytest.raises(ScenarioError) as error:
        check()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("cpu", "cpu"),
        ("cuda", "cuda"),
        ("cuda:0", "cuda"),
        ("cuda:1", "cuda:1"),
        ("hip:9999", "hip:9999"),
        ("cuda:MIG-41b35014-745a", "cuda:MIG-41b35014-745a"),
        ("cuda:GPU-41b35014-745a", "cuda:GPU-41b35014-745a"),
        ("cuda:MIG-GPU-41b35014/1/0", "cuda:MIG-GPU-41b35014/1/0"),
    ],
)
def test_device_name(given, name):
    assert device_name("device", given) == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tpu", "device 'tpu' is unknown; known: cpu, sim, "),
        ("tpu:1", "device 'tpu:1' is unknown"),
        ("auto", "device 'auto' is unknown"),
        ("", "device '' is unknown"),
        (None, "device None is unknown"),
        (1, "device 1 is unknown"),
        ("cpu:1", "device 'cpu:1' has an index, which only hip and "),
        ("sim:0", "device 'sim:0' has an index"),
        ("cuda:", "device 'cuda:': an index must follow the colon, as in 'cuda:1'"),
        ("cuda:x", "an index must follow the colon"),
        ("cuda:-1", "an index must follow the colon"),
        ("cuda:01", "an index must follow the colon"),
        ("cuda:1:2", "an index must follow the colon"),
        ("cuda:10000", "an index must follow the colon"),
        ("cuda:mig-1", "in 'cuda:1' or 'cuda:MIG-...'"),
        ("cuda:MIG-a,MIG-b", "an index must follow the colon"),
        ("hip:GPU-1", "an index must follow the colon, as in 'hip:1'"),
        ("cuda:\u0663", "an index must follow the colon"),
    ],
)
def test_device_name_is_refused(given, words):
    with pytest.raises(ScenarioError) as error:
        device_name("device", given)
    assert words in str(error.value)


def test_auto_has_no_index():
    assert device_name("device", "auto", ("auto", "cuda")) == "auto"
    with pytest.raises(ScenarioError, match="'auto:1' has an index"):
        device_name("device", "auto:1", ("auto", "cuda"))
