"""`pytest-xsched compare main pr`: two names, which the ini file and the baselines know.

Two builds are measured alternately: pytest runs the tests with the options that say so. Two
baselines are compared as they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_xsched.session.options import given

EPISODES = "7"
"""As many as `Session.compare` measures without the argument."""
_USAGE, _UNAVAILABLE, _UNDECIDED, _INTERRUPTED = 2, 3, 8, 130
_CODES: dict[int, int] = {
    pytest.ExitCode.INTERRUPTED: _USAGE,  # a test file cannot be imported
    pytest.ExitCode.INTERNAL_ERROR: _UNAVAILABLE,
    pytest.ExitCode.USAGE_ERROR: _USAGE,
    pytest.ExitCode.NO_TESTS_COLLECTED: _UNDECIDED,
}
"""Exit codes of `pytest-xsched` for those of pytest that mean something else there; others stay."""

_LOADED_ALREADY = (
    "-Wignore:Module already imported so cannot be rewritten; pytest_xsched"
    ":pytest.PytestAssertRewriteWarning"
)
"""The command is part of the plugin, which has no assert to rewrite."""


def compare_names(a: str, b: str, arguments: Sequence[str]) -> int:
    """Compare two builds, or two baselines, and return an exit code of `pytest-xsched`.

    Args:
        a: name of the reference.
        b: name of what may be worse.
        arguments: of pytest, which measures builds.
    """
    names = _Names(a, b, arguments)
    code = pytest.main(["-p", "xsched", *arguments, _LOADED_ALREADY], plugins=[names])
    if names.interrupted:
        return _INTERRUPTED
    return _CODES.get(code, int(code))


class _Names:
    """Finds out what the names are, once pytest has read the ini file."""

    def __init__(self, a: str, b: str, arguments: Sequence[str]) -> None:
        self._a, self._b = a, b
        self._arguments = arguments
        self.interrupted = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int | None:
        if config.option.version or config.option.help:
            return None
        if self._a == self._b:
            raise pytest.UsageError(f"compare: {self._a!r} is named twice; name another one")
        from pytest_xsched.session.settings import read_builds

        for name in ("compare", "build"):
            if config.getoption(f"xsched_{name}") is not None:
                raise pytest.UsageError(
                    f"compare {self._a} {self._b}: leave --xsched-{name} out, because the two "
                    "names say it"
                )
        builds = read_builds(config)
        if self._a in builds and self._b in builds:
            config.option.xsched_compare, config.option.xsched_build = self._a, self._b
            if given(config, "baseline_episodes")[0] is None:
                config.option.xsched_baseline_episodes = EPISODES
            return None
        return self._compare_stored(config, builds)

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True

    def _compare_stored(self, config: pytest.Config, builds: dict[str, Any]) -> int:
        from pytest_xsched.comparison.baseline_check import BaselineResult, exit_status
        from pytest_xsched.comparison.baseline_store import Baseline
        from pytest_xsched.comparison.stored_sides import MARGIN, compare_stored
        from pytest_xsched.session.settings import read_settings

        config.option.xsched_compare = self._a
        settings = read_settings(config)
        sides = self._a, self._b
        stored = {name: Baseline(settings.baselines, name) for name in sides}
        for name, other in (sides, sides[::-1]):
            if name in builds:
                continue
            if not stored[name].path.exists():
                known = sorted(path.stem for path in settings.baselines.glob("*.jsonl"))
                raise pytest.UsageError(
                    f"compare: {name!r} is no build of the ini key xsched_builds (known: "
                    f"{', '.join(builds) or 'none'}), no baseline in {settings.baselines} (known: "
                    f"{', '.join(known) or 'none'}) and no file"
                )
            if other in builds and not stored[other].path.exists():
                raise pytest.UsageError(
                    f"compare: {other!r} is a build and {name!r} is stored runs only, so they "
                    f"cannot be measured alternately; name the build {name!r} in the ini key "
                    f"xsched_builds, or run pytest --xsched-build={other} --xsched-compare={name}"
                )
        if self._arguments_measure():
            raise pytest.UsageError(
                f"compare: {self._a!r} and {self._b!r} are stored runs, so nothing is measured; "
                f"leave {' '.join(self._arguments)!r} out"
            )
        first, second = (stored[name].read() for name in sides)
        margin = MARGIN if settings.regression is None else settings.regression
        found = compare_stored(first, second, sides=sides, margin=margin)
        if all(one.status == "damaged" for one in found):
            sentence = f"neither {self._a} nor {self._b} has a stored run that can be read"
            found.append(BaselineResult(status="not compared", sentence=sentence))
        for one in found:
            print(f"{one.status.upper()} {one.sentence}")
        return exit_status([one.to_dict() for one in found])

    def _arguments_measure(self) -> bool:
        """Check whether an argument is about tests, and not about which runs are compared."""
        settings = ("--xsched-baselines", "--xsched-regression", "-o", "-c", "--rootdir")
        words = iter(self._arguments)
        for word in words:
            if word in settings:
                next(words, None)
            elif not word.startswith(settings):
                return True
        return False
