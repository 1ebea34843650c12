"""`python -m pytest_xsched`: the same as the command `pytest-xsched`."""

from __future__ import annotations

import sys

from pytest_xsched.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
