"""Two builds on two hosts: what an image may change, and what makes it another machine."""

import pytest

from pytest_xsched.analysis.comparability import Difference
from pytest_xsched.session.alternating import of_image


@pytest.mark.parametrize(
    ("field", "may_differ"),
    [
        ("host.name", True),
        ("libraries.libamdhip64.so.6", True),
        ("environment.GPU_MAX_HW_QUEUES", True),
        ("devices.0.driver_version", True),
        ("queues.chat.framework", True),
        ("devices.0.kernel_driver_version", False),
        ("devices.0.uuid", False),
        ("host.cpu", False),
        ("host.kernel", False),
        ("queues.chat.workload", False),
        ("duration_ns", False),
    ],
)
def test_an_image_brings_libraries_and_not_a_machine(field, may_differ):
    assert of_image(Difference(field=field, first=1, second=2)) == may_differ
