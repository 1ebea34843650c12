"""The files of a GPU's driver: who names them, what is seen without loading them, JSON."""

import json

import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.system.driver_files import Libraries, LibraryFile, find_libraries

DRIVER = LibraryFile(path="libcuda.so.1", origin="--xsched-gpu-driver")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.delenv("PYTEST_XSCHED_GPU_DRIVER", raising=False)
    monkeypatch.delenv("PYTEST_XSCHED_GPU_COMPILER", raising=False)


def test_nothing_named():
    assert find_libraries("cuda") == Libraries()


def test_the_environment_is_asked_where_nothing_else_was_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "other.so")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", "lib/nvrtc.so")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "lib" / "nvrtc.so"
    file.parent.mkdir()
    file.touch()
    found = find_libraries("hip", driver=DRIVER)
    assert found.driver == DRIVER
    # Absolute: it is opened in a process with another working directory.
    assert found.compiler == LibraryFile(path=str(file), origin="PYTEST_XSCHED_GPU_COMPILER")


@pytest.mark.parametrize("role", ["DRIVER", "COMPILER"])
def test_an_absent_file_is_one_sentence(monkeypatch, role, tmp_path):
    monkeypatch.setenv(f"PYTEST_XSCHED_GPU_{role}", f"{tmp_path}/x.so")
    with pytest.raises(ScenarioError) as caught:
        find_libraries("cuda")
    assert str(caught.value) == f"PYTEST_XSCHED_GPU_{role}: {tmp_path}/x.so does not exist"


def test_what_is_no_gpu_has_none(monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "/nowhere/x.so")
    assert find_libraries("cpu", driver=DRIVER) == find_libraries("sim") == Libraries()


def test_a_name_without_a_slash_is_left_to_the_loader():
    assert LibraryFile(path="libno-such-thing.so", origin="here").fault == ""


def test_json_there_and_back():
    for libraries in (Libraries(), Libraries(driver=DRIVER), Libraries(compiler=DRIVER)):
        assert Libraries.from_dict(json.loads(json.dumps(libraries.to_dict()))) == libraries


@pytest.mark.parametrize(
    ("call", "remark"),
    [
        ("cuda.open", " (a.so is from --a)"),
        ("hip.open", " (a.so is from --a)"),
        ("nvrtc.open", " (b.so is from --b)"),
        ("hiprtc.compile", " (b.so is from --b)"),
        ("nvrtc", " (b.so is from --b)"),
        ("cuda.kernel_create", ""),
        ("", ""),
    ],
)
def test_an_error_names_what_named_the_file(call, remark):
    a, b = LibraryFile(path="a.so", origin="--a"), LibraryFile(path="b.so", origin="--b")
    assert Libraries(driver=a, compiler=b).remark(call) == remark
    assert Libraries().remark(call) == ""
