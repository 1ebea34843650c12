"""Which device ``auto`` takes, and what only a GPU can do, where it found none.

Standard library only, because the header of every session shows the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_xsched.base.constants import GPUS, split_device
from pytest_xsched.errors import ScenarioError

if TYPE_CHECKING:
    from pytest_xsched.scenario.queue_spec import QueueSpec
    from pytest_xsched.session.settings import Settings

GPU_FILES = {"hip": "/dev/kfd", "cuda": "/dev/nvidiactl"}
"""Where one of these is, there is a driver for such GPUs; ``auto`` takes the first."""
NO_GPU = f"neither {' nor '.join(GPU_FILES.values())} exists"


def auto_device() -> str:
    """Return the device that ``auto`` takes on this machine."""
    return next((gpu for gpu, file in GPU_FILES.items() if os.path.exists(file)), "cpu")


def shown_device(name: str) -> str:
    """Return a device as reports show it: what ``auto`` took, and that it was ``auto``."""
    return f"{auto_device()} (auto)" if name == "auto" else name


def fallback_remark(settings: Settings) -> str:
    """Return a warning where the settings are for GPUs and ``auto`` took the processor, or ''."""
    if settings.device != "auto" or auto_device() != "cpu":
        return ""
    named = [
        what
        for what, given in (
            ("the scheduler xsched", settings.scheduler == "xsched"),
            ("XSched's directory", settings.xsched_home or os.environ.get("XSCHED_HOME")),
            (
                "a GPU's driver",
                settings.gpu_driver or os.environ.get("PYTEST_XSCHED_GPU_DRIVER"),
            ),
            (
                "a GPU's compiler",
                settings.gpu_compiler or os.environ.get("PYTEST_XSCHED_GPU_COMPILER"),
            ),
        )
        if given
    ]
    if not named:
        return ""
    return (
        f"the settings name {' and '.join(named)}, but device auto took cpu, because {NO_GPU}; "
        "nothing here is measured on a GPU (--xsched-require-device=cuda makes this an error)"
    )


def require_gpu(queues: Iterable[QueueSpec], *, uses_xsched: bool) -> None:
    """Check that queues ask for nothing that only a GPU has, where ``auto`` took the processor.

    Raises:
        ScenarioError: a queue does, or the scheduler is XSched; the message says why there is no
            GPU.
    """
    need = next(filter(None, map(_only_on_a_gpu, queues)), "")
    if not need and uses_xsched:
        need = "scheduler 'xsched' schedules GPUs"
    if need:
        raise ScenarioError(
            f"{need}, but device auto took cpu, because {NO_GPU}; name a device, as in "
            "--xsched-device=cuda"
        )


def _only_on_a_gpu(queue: QueueSpec) -> str:
    """Return what of a queue only a GPU has, or ''."""
    what = f"queue {queue.name!r}"
    if any(command.kernel is not None for command in queue.workload.commands):
        return f"{what} launches a kernel, which needs a GPU"
    if queue.device is not None and split_device(queue.device)[0] in GPUS:
        return f"{what} is on the GPU {queue.device!r}"
    if queue.sm_share is not None or queue.cu_mask is not None:
        return f"{what} has a share of a GPU's multiprocessors"
    return ""
