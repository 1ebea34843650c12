"""Libraries of two installations of XSched in one process: those of the wrong one are found."""

import os

import pytest

from pytest_xsched import ScenarioError, XSched
from pytest_xsched.xsched.activation import Activity, File
from pytest_xsched.xsched.installation import files_of_others, home_of


@pytest.fixture
def homes(tmp_path):
    """Two installations, the second with a link to the first for its libhalcuda."""
    for name in ("main", "pr"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "libpreempt.so").touch()
    (tmp_path / "main" / "lib" / "libhalcuda.so").touch()
    (tmp_path / "pr" / "lib" / "libhalcuda.so").symlink_to(tmp_path / "main/lib/libhalcuda.so")
    return tmp_path / "main", tmp_path / "pr"


def test_a_library_that_the_loader_found_elsewhere_is_a_fault(homes):
    main, pr = homes
    paths = [str(main / "lib" / name) for name in ("libpreempt.so", "libhalcuda.so")]
    files = tuple(File(path=path, bytes=0, sha256="") for path in [*paths, "/usr/lib/libcuda.so"])
    activity = Activity(report="", order=(), commands={}, files=files)
    assert activity.faults({}, XSched(home=main)) == []
    assert activity.faults({}, XSched()) == []
    assert activity.faults({}, XSched(home=pr)) == [
        f"{paths[0]} is mapped, which is not of XSched(home={str(pr)!r})"
    ]


def test_a_library_that_the_installation_lacks_is_of_another(homes, tmp_path):
    main, _ = homes
    home = home_of(XSched(home=main))
    assert files_of_others(home, ["/else/libshimcuda.so", str(main / "lib/libpreempt.so")]) == [
        "/else/libshimcuda.so"
    ]


def test_a_relative_home_is_where_pytest_is(homes, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert home_of(XSched(home="pr")).path == os.path.join(os.getcwd(), "pr")
    assert home_of(XSched()) is None


@pytest.mark.parametrize("home", ["", 5, b"bytes", "a\0b"])
def test_no_path(home):
    with pytest.raises(ScenarioError, match=r"XSched: home .* is not the path of a directory"):
        XSched(home=home)
