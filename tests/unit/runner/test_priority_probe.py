"""What the shares of a device mean for its stream priorities."""

import pytest

from pytest_xsched.runner.priority_probe import judge, priority_effect
from pytest_xsched.scenario.device_models import CpuModel, SimModel


@pytest.mark.parametrize(
    ("shares", "effect"),
    [
        ([1.0, 0.9], "yes"),
        ([2 / 3, 0.7], "yes"),
        ([0.5, 0.5], "no"),
        ([0.0, 0.59], "no"),
        ([0.9, 0.1], "unknown"),  # who was made first goes first: that is no priority
        ([0.62, 0.62], "unknown"),
        ([float("nan"), 1.0], "unknown"),
    ],
)
def test_judge(shares, effect):
    assert judge(shares) == effect


@pytest.mark.parametrize(("priority", "effect"), [(True, "yes"), (False, "no")])
def test_what_a_device_knows_of_itself_is_believed(priority, effect, monkeypatch):
    from pytest_xsched.native.binding import Device

    monkeypatch.setattr(
        "pytest_xsched.runner.priority_probe._share_of_high", lambda *_: pytest.fail("measured")
    )
    device = Device("sim", cpu=CpuModel(), sim=SimModel(priority=priority))
    assert priority_effect(device) == effect
    device.close()


@pytest.mark.parametrize(
    ("kind", "priority", "effect"),
    [("sim", True, "yes"), ("sim", False, "no"), ("cpu", True, "yes")],
)
def test_the_experiment_finds_what_is_known(kind, priority, effect, monkeypatch):
    from pytest_xsched.native.binding import Device

    device = Device(kind, cpu=CpuModel(priority=priority), sim=SimModel(priority=priority))
    known = device.describe()
    monkeypatch.setattr(Device, "describe", lambda self: _unknown(known))
    # A busy machine may spoil three experiments in a row, which is then known; a device whose
    # streams are all alike gives "no".
    found = (priority_effect(device) for _ in range(5))
    assert next(one for one in found if one != "unknown") == effect
    device.close()


def test_an_experiment_that_other_load_spoiled_is_made_again(monkeypatch):
    from pytest_xsched.native.binding import Device

    shares = iter([1.0, 0.3, 0.62, 0.62, 1.0, 0.9])
    monkeypatch.setattr(
        "pytest_xsched.runner.priority_probe._share_of_high", lambda *_: next(shares)
    )
    device = Device("cpu", cpu=CpuModel(), sim=SimModel())
    known = device.describe()
    monkeypatch.setattr(Device, "describe", lambda self: _unknown(known))
    assert priority_effect(device) == "yes"
    device.close()


def _unknown(info):
    import dataclasses

    return dataclasses.replace(info, honours_priority=None)
