"""Which files a process has mapped: of this one, of another, of made-up ones."""

import os
import sys

import pytest

from pytest_xsched.system.process_maps import mapped_files

MAPS = """\
55d0-55d1 r--p 00000000 fd:00 1    /usr/bin/python3.12
7f00-7f01 r--p 00000000 fd:00 2    /usr/lib/libcuda.so.580.178
7f01-7f02 r-xp 00001000 fd:00 2    /usr/lib/libcuda.so.580.178
7f02-7f03 r--p 00000000 fd:00 3    /opt/my rocm/libamdhip64.so.6.4.43484
7ffd-7ffe rw-p 00000000 00:00 0    [stack]
7ffe-7fff rw-p 00000000 00:00 0\x20
"""


def test_files_of_a_process(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "maps").write_text(MAPS)
    assert mapped_files(7, tmp_path) == [
        "/opt/my rocm/libamdhip64.so.6.4.43484",
        "/usr/bin/python3.12",
        "/usr/lib/libcuda.so.580.178",
    ]


def test_files_of_this_process():
    found = mapped_files()
    assert os.path.realpath(sys.executable) in found or any("libpython" in path for path in found)
    assert found == mapped_files(os.getpid())


def test_a_name_that_is_no_utf8(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "maps").write_bytes(b"7f00-7f01 r--p 00000000 fd:00 2    /usr/l\xff.so\n")
    assert [os.fsencode(path) for path in mapped_files(7, tmp_path)] == [b"/usr/l\xff.so"]


def test_a_process_that_has_ended(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        mapped_files(7, tmp_path)
