"""The devices of a session end with it, whatever goes wrong meanwhile."""

import pytest

from pytest_xsched import CpuModel, SimModel
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.settings import Settings


def test_devices_are_closed_although_a_model_cannot_be_released(monkeypatch):
    """PyTorch raises at any call after an error of the GPU; locks must not stay for that."""
    pool = DevicePool(Settings(device="sim"))
    device = pool.get("sim", CpuModel(), SimModel())
    closed = []
    monkeypatch.setattr(device, "close", lambda: closed.append(device))

    def refuse():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(pool.models, "close", refuse)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        pool.close()
    assert closed == [device]
    pool.models.close = list
    pool.close()
    assert closed == [device]
