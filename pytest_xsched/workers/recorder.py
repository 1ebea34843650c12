"""The worker process that records the profile of a model and leaves it in its working directory.

`recording` starts `python -m pytest_xsched.workers.recorder` in an empty directory with a job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pytest_xsched.errors import XSchedError
from pytest_xsched.models.factory import Place
from pytest_xsched.models.recording import record_model
from pytest_xsched.native.binding import Device
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.models import Model
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.workers.worker import (
    DOING,
    ERROR,
    FAILED,
    JOB,
    LEFT,
    RESULT,
    die_with_parent,
    error_to_dict,
    lock,
    send,
    write,
)


def main() -> int:
    """Record the model of the job."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    die_with_parent(job["parent"])
    device_name, progress_fd = job["device"], job["progress_fd"]
    libraries = Libraries.from_dict(job["libraries"])
    place = Place(directory=job["place"]["directory"], paths=tuple(job["place"]["paths"]))
    model = Model.from_json(job["model"])
    try:
        lock([device_name], libraries, job["lock_timeout_s"], progress_fd)
        send(progress_fd, f"{DOING}it opened the device")
        device = Device(device_name, cpu=CpuModel(), sim=SimModel(), libraries=libraries)
        send(progress_fd, f"{DOING}it recorded {model.name}")
        # The device is not closed: the end of the process does that.
        profile = record_model(device, device_name, model, place, requests=job["requests"])
    except XSchedError as error:
        write(ERROR, error_to_dict(error))
        return FAILED
    write(RESULT, profile.to_dict())
    send(progress_fd, LEFT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
