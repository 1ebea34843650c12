"""Optional packages: report a missing one in a sentence, with the command that installs it.

Standard library only, so that the command line can import it before anything else.
"""

from __future__ import annotations

import importlib.util

from pytest_xsched.errors import MissingExtra


def require_extra(package: str, extra: str) -> None:
    """Check that an optional package is installed.

    Args:
        package: name of the package as Python imports it, ``"hypothesis"``.
        extra: extra of pytest-xsched that installs it.

    Raises:
        MissingExtra: the package is not installed.
    """
    __tracebackhide__ = True
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(
            f"The package {package!r} is not installed; install it with: "
            f"pip install 'pytest-xsched[{extra}]'"
        )
