"""Files that users name for output: what cannot be written is found out early, nothing is lost."""

import os
import stat
import threading
from pathlib import Path

import pytest

from pytest_xsched.base.output_file import (
    append,
    directory_fault,
    output_fault,
    read_regular,
    write_whole,
)

pytestmark = pytest.mark.timeout(30)  # nothing waits for a pipe
OTHER = 12345  # a user


@pytest.fixture
def shared(tmp_path):
    """A directory like /tmp, with a link of another user to a file of ours."""
    if os.geteuid() != 0:
        pytest.skip("files of another user can be made by root only")
    directory = tmp_path / "shared"
    directory.mkdir()
    os.chown(directory, OTHER + 1, -1)
    directory.chmod(0o1777)
    (tmp_path / "precious").write_text("precious")
    link = directory / "out.json"
    link.symlink_to(tmp_path / "precious")
    os.lchown(link, OTHER, OTHER)
    return directory


def test_a_path_that_can_be_written(tmp_path):
    assert output_fault(tmp_path / "new.json") == ""
    (tmp_path / "old.json").write_text("old")
    assert output_fault(tmp_path / "old.json") == output_fault(tmp_path.parent / "x") == ""
    assert directory_fault(tmp_path) == directory_fault(tmp_path / "new") == ""


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout"])
def test_devices_can_be_written(path, tmp_path):
    assert output_fault(Path(path)) == ""
    write_whole(Path(path), "")
    assert Path(path).exists()


def test_directories_are_not_made_of_typing_errors(tmp_path):
    path = tmp_path / "reslts" / "out.json"
    expected = f"{path}: the directory {path.parent} does not exist; make it first"
    assert output_fault(path) == expected
    with pytest.raises(FileNotFoundError):
        write_whole(path, "x")
    assert directory_fault(path) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "is not a file; write to a file, or to /dev/stdout or /dev/fd/N of a pipe"),
        (lambda path: path.symlink_to(path), "cannot be written: Too many levels of symbolic"),
    ],
    ids=["directory", "pipe", "circle"],
)
def test_what_is_no_file(tmp_path, make, fault):
    path = tmp_path / "out.json"
    make(path)
    assert fault in output_fault(path)
    before = stat.S_IFMT(os.lstat(path).st_mode)
    if before != stat.S_IFIFO:
        with pytest.raises(OSError):
            append(path, "x")
    assert stat.S_IFMT(os.lstat(path).st_mode) == before


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 30), "a\0b"])
def test_names_that_no_file_can_have(tmp_path, name):
    fault = output_fault(tmp_path / name)
    assert fault and len(fault) < 450 and "\n" not in fault
    assert directory_fault(tmp_path / name)


def test_a_name_as_long_as_names_can_be(tmp_path):
    write_whole(tmp_path / ("x" * 255), "whole")
    assert (tmp_path / ("x" * 255)).read_text() == "whole"


def test_a_directory_that_cannot_be_written():
    if os.access("/proc/sys", os.W_OK):
        pytest.skip("/proc/sys is no read-only directory here")
    assert output_fault(Path("/proc/sys/out.json")).endswith("/proc/sys cannot be written")


def test_links_that_others_left_in_a_shared_directory_are_not_followed(shared, tmp_path):
    link = shared / "out.json"
    assert output_fault(link) == f"{link} goes through {link}, a symbolic link of another user"
    for write in (write_whole, append):
        with pytest.raises(OSError, match="a symbolic link of another user"):
            write(link, "x")
    assert (tmp_path / "precious").read_text() == "precious"
    (shared / "down").symlink_to(tmp_path)
    os.lchown(shared / "down", OTHER, OTHER)
    assert f"goes through {shared / 'down'}, " in output_fault(shared / "down" / "out.json")
    assert f"goes through {shared / 'down'}, " in directory_fault(shared / "down" / "corpus")


def test_predictable_names_of_partial_files_are_not_used(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.json.partial").symlink_to(tmp_path / "precious")
    write_whole(tmp_path / "out.json", "new")
    assert (tmp_path / "precious").read_text() == "precious"


def test_links_of_our_own_are_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert output_fault(tmp_path / "link" / "out.json") == ""
    write_whole(tmp_path / "link" / "out.json", "x")
    assert (tmp_path / "real" / "out.json").read_text() == "x"


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    write_whole(path, "old")

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "out.json", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o640


def test_text_that_no_encoding_has_is_written_escaped(tmp_path):
    write_whole(tmp_path / "out", "a\udcffb")
    append(tmp_path / "out", "\ud800")
    assert (tmp_path / "out").read_text() == "a\\udcffb\\ud800"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        read_regular(tmp_path / "pipe")
    with pytest.raises(OSError):  # no reader
        append(tmp_path / "pipe", "x")


def test_a_pipe_that_was_handed_down_gets_all_of_it(tmp_path):
    read_fd, write_fd = os.pipe()
    got = []

    def read():
        while data := os.read(read_fd, 65536):
            got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    path = Path(f"/proc/self/fd/{write_fd}")
    assert output_fault(path) == ""
    write_whole(path, "x" * 1_000_000)
    os.close(write_fd)
    reader.join()
    os.close(read_fd)
    assert b"".join(got) == b"x" * 1_000_000


def test_a_pipe_whose_reader_does_not_read_is_an_error(monkeypatch):
    monkeypatch.setattr("pytest_xsched.base.output_file._PIPE_S", 0.1)
    read_fd, write_fd = os.pipe()
    with pytest.raises(OSError, match="nothing read it"):
        write_whole(Path(f"/proc/self/fd/{write_fd}"), "x" * 1_000_000)
    os.close(read_fd)
    os.close(write_fd)
