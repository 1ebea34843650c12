"""pytest-xsched: latency and throughput targets for workloads that share a GPU, as pytest tests.

The public names are listed in `__init__.pyi`, next to this file. A name is imported on first use,
so that the plugin costs nothing where no test uses it.
"""

from __future__ import annotations

import importlib
from typing import Any

_homes: dict[str, str] = {}


def _load_homes() -> dict[str, str]:
    """Return the module of each public name, as the stub file says."""
    if not _homes:
        import ast

        with open(__file__.removesuffix(".py") + ".pyi", encoding="utf-8") as file:
            statements = ast.parse(file.read()).body
        for statement in statements:
            if isinstance(statement, ast.ImportFrom) and statement.module:
                _homes.update({alias.name: statement.module for alias in statement.names})
    return _homes


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_load_homes())
    # A submodule is no public name, and Python looks for `__path__` and others at every import.
    home = None if name.startswith("_") else _load_homes().get(name)
    if home is None:
        raise AttributeError(f"module 'pytest_xsched' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_load_homes())
