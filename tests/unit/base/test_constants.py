"""The names that options take are those that the native module knows."""

from pytest_xsched.base import constants
from pytest_xsched.native.binding import device_kinds, ffi


def test_devices_are_those_of_the_native_module():
    assert set(constants.DEVICES) == set(device_kinds())
    assert set(constants.GPUS) <= set(constants.DEVICES)


def test_ways_of_waiting_are_those_of_the_native_enum():
    native = ffi.typeof("enum xs_waiting").elements
    assert [native[i].removeprefix("XS_WAIT_").lower() for i in sorted(native)] == list(
        constants.WAITING
    )


def test_a_device_has_a_kind_and_an_index():
    assert constants.split_device("cpu") == ("cpu", 0)
    assert constants.split_device("cuda:12") == ("cuda", 12)
