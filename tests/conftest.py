"""For all tests: pytester, and what must not be imported twice in one process.

pytester drops the modules that a run inside this process imported; numpy's C core and the native
module cannot be imported again, so they are imported here, where they stay.
"""

import numpy as np  # noqa: F401

import pytest_xsched._binding  # noqa: F401

pytest_plugins = ["pytester"]
