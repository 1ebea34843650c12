"""Which control daemons of MPS are somebody else's, as the files of /proc say."""

from pytest_xsched.workers.mps import CONTROL, MARK, running_daemons


def write(proc, number, words, environment=None):
    process = proc / str(number)
    process.mkdir()
    (process / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    if environment is not None:
        (process / "environ").write_bytes(environment)


def test_the_daemons_of_others_are_found(tmp_path):
    write(tmp_path, 9, [f"/usr/bin/{CONTROL}", "-d"], b"HOME=/\0")
    write(tmp_path, 7, ["/bin/sh", f"/usr/bin/{CONTROL}", "-f"], b"")
    write(tmp_path, 3, [f"/usr/bin/{CONTROL}", "-d"], f"HOME=/\0{MARK}=d\0".encode())  # ours
    write(tmp_path, 4, [CONTROL], b"")  # a client of a daemon
    write(tmp_path, 5, ["cat", "-d"], b"")
    (tmp_path / "self").mkdir()
    assert running_daemons(tmp_path) == [7, 9]


def test_a_daemon_that_ends_while_it_is_looked_at_is_nobodys(tmp_path):
    write(tmp_path, 9, [CONTROL, "-d"])  # its environment is gone
    assert running_daemons(tmp_path) == []
