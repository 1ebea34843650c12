"""Random steps against the double of XSched with one fault at a time: what is found, in how many
steps.

`python bench/live_faults.py` in the source tree; needs a C compiler and no GPU. One fault takes
about a minute, because the script waits for each hang, and each later attempt has a fresh process.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import settings

from pytest_xsched import Session
from pytest_xsched.conformance.live_engine import NOT_CLAIMED
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.minimize import first_broken

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from conftest import LIBRARIES, SHARED, compile_c, compile_library  # noqa: E402

FAKE = (
    *("fake_cuda.c", "fake_errors.c", "fake_graph.c"),
    *("fake_identity.c", "fake_kernels.c", "fake_nvrtc.c"),
)
FAULTS = (
    *("hang-destroy", "never-resume", "drop"),
    *("inherit-hints", "hint-late", "hint-border"),
)


def main() -> None:
    """Print a table, and the steps."""
    place = Path(tempfile.mkdtemp(prefix="live-faults-"))
    (place / "lib").mkdir()
    for name in LIBRARIES:
        compile_library(place / "lib", name)
    fake = str(compile_c(place / "fake.so", FAKE, SHARED))
    os.environ |= {
        "PYTEST_XSCHED_GPU_DRIVER": fake,
        "PYTEST_XSCHED_GPU_COMPILER": fake,
        "PYTEST_XSCHED_CACHE": "",
        "XSCHED_HOME": str(place),
    }
    print(f"{'fault':<15}{'seconds':>8}{'steps':>7}  broken rule")
    for fault in FAULTS:
        os.environ["PREEMPT_DOUBLE"] = fault
        session = Session(Settings(device="cuda"))
        begin_s = time.monotonic()
        found = first_broken(
            lambda session=session: session.live(scheduler="xsched", patience="1s"),
            settings(max_examples=200, stateful_step_count=15),
            without=NOT_CLAIMED,
            patience="1s",
        )
        took_s = time.monotonic() - begin_s
        session.close()
        if found is None:
            print(f"{fault:<15}{took_s:>8.0f}{'-':>7}  none was found")
            continue
        print(f"{fault:<15}{took_s:>8.0f}{len(found.steps):>7}  {found.rule}")
        for line in found.steps:
            print(f"{'':<32}{line}")


if __name__ == "__main__":
    main()
