"""A measurement that was written, for a file or for another machine, is read back whole."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from pytest_xsched import Session, spin
from pytest_xsched.monitoring.mps_clients import MpsClients
from pytest_xsched.native.milestones import Milestones
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.measurement_data import (
    ARRAYS,
    from_plain,
    pack,
    to_arrays,
    to_plain,
    unpack,
)


def test_each_field_is_written():
    """A field that is forgotten would have its default after every worker."""
    fields = {field.name for field in dataclasses.fields(Measurement)}
    measurement = measured()
    assert set(to_plain(measurement)) | set(to_arrays(measurement)) == fields
    assert tuple(to_arrays(measurement)) == ARRAYS


def test_what_is_read_back_is_equal():
    before = measured()
    arrays = {name: unpack(pack(some)) for name, some in to_arrays(before).items()}
    after = from_plain(json.loads(json.dumps(to_plain(before))), arrays)
    assert to_plain(after) == to_plain(before)
    assert after.mps == before.mps and after.fingerprint == before.fingerprint
    for name, some in to_arrays(after).items():
        for one, other in zip(some, to_arrays(before)[name], strict=True):
            np.testing.assert_array_equal(one, other)


def measured():
    """Measure a second on sim, and add what no run there has."""
    found = []
    session = Session(Settings(device="sim"))
    measure = session.devices.measure

    def keep(*arguments, **more):
        found.append(measure(*arguments, **more))
        return found[-1]

    session.devices.measure = keep
    session.run(session.queue("q", spin("1ms"), rate="100/s"), duration="1s")
    session.close()
    one = np.array([3], np.int64)
    milestones = Milestones(names=("token",), request=one, name=one - 3, at_ns=one * 1000)
    return dataclasses.replace(
        found[0],
        milestones=(milestones,),
        mps=MpsClients(servers=(7,), queues={"q": (8, 9)}),
        failures=({"refused": 2},),
        faults=("a fault",),
        remark="a remark",
        output="what it printed",
    )
