"""Where compiled kernels are kept: what the environment says."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PYTEST_XSCHED_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"PYTEST_XSCHED_CACHE": "", "XDG_CACHE_HOME": "/x"}, None),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/home/me"}, "/x/pytest-xsched"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/pytest-xsched"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/pytest-xsched"),
        ({"HOME": "/home/me"}, "/home/me/.cache/pytest-xsched"),
        ({"HOME": "here"}, None),
    ],
)
def test_cache_directory(monkeypatch, environment, expected):
    from pytest_xsched.native.binding import cache_directory

    for name in ("PYTEST_XSCHED_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == expected


def test_a_relative_name_is_below_the_current_directory(monkeypatch, tmp_path):
    from pytest_xsched.native.binding import cache_directory

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", "kernels")
    assert cache_directory() == str(tmp_path / "kernels")
