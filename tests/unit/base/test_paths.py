"""Paths with `~` and variables, wherever a user writes one."""

from __future__ import annotations

import pytest

from pytest_xsched import command
from pytest_xsched.base.paths import expand_path
from pytest_xsched.cli.main import main
from pytest_xsched.errors import ScenarioError
from pytest_xsched.system.driver_files import find_libraries
from pytest_xsched.xsched.installation import find_home


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOT_SET", raising=False)
    return tmp_path


@pytest.mark.parametrize("text", ["~/x", "$HOME/x", "${HOME}/x"])
def test_home_and_variables_are_replaced(home, text):
    assert expand_path(text, "--xsched-json") == f"{home}/x"


@pytest.mark.parametrize("text", ["x", "a/~/x", "/x$", "x$$", "./~x"])
def test_other_paths_stay_as_they_are(text):
    assert expand_path(text, "--xsched-json") == text


@pytest.mark.parametrize("text", ["$NOT_SET/x", "${NOT_SET}", "${}", "~not.there/x", "a\0b"])
def test_what_is_not_known_is_refused_in_one_sentence(text):
    with pytest.raises(ScenarioError) as error:
        expand_path(text, "--xsched-json")
    assert str(error.value).startswith(f"--xsched-json: {text!r} ")


def test_variables_of_the_environment_hold_paths_too(home, monkeypatch):
    (home / "lib.so").touch()
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "~/lib.so")
    monkeypatch.setenv("XSCHED_HOME", "$HOME")
    assert find_libraries("cuda").driver.path == f"{home}/lib.so"
    assert find_home().path == str(home)


def test_the_program_and_the_shim_of_a_command_are_paths(home):
    program = command(["~/serve", "~/x"], preload="$HOME/shim.so").program
    assert program.argv == (f"{home}/serve", "~/x")  # an argument is passed on as it is
    assert program.preload == f"{home}/shim.so"


def test_files_of_the_command_line_are_paths(home, capsys):
    assert main(["compare", "~/a.json", "$HOME/b.json"]) == 2
    assert f"{home}/a.json: No such file" in capsys.readouterr().err
    assert main(["compare", "$NOT_SET", "b.json"]) == 2
    assert "'$NOT_SET' names the variable NOT_SET, which is not set" in capsys.readouterr().err
