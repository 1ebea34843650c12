"""Finding and calling the function of the user: by file, by module, and every way it can fail."""

import os
import sys
import textwrap

import pytest

from pytest_xsched import ScenarioError
from pytest_xsched.models.factory import Place, find_factory, in_order, refuse_sizes
from pytest_xsched.models.stream_adapter import StreamRequest
from pytest_xsched.scenario.models import Model


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory of the user, without traces in this process afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield Place(directory=str(tmp_path), paths=())
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def build(place, factory, **more):
    return find_factory(Model(factory=factory, **more), place).build()[0].function


def test_a_function_of_a_file_gets_its_arguments(tmp_path, place):
    write(tmp_path, "nets.py", "def net(n, *, half): return lambda: (n, half)")
    request = build(place, "nets.py:net", args=("8",), kwargs=(("half", "true"),))
    assert request() == (8, True)


def test_each_function_of_a_request_gets_the_sizes_that_it_takes(tmp_path, place):
    text = """
        def net():
            return (lambda tokens_in: tokens_in), (lambda n=1, tokens_out=32: (n, tokens_out))
    """
    write(tmp_path, "nets.py", text)
    calls = find_factory(Model(factory="nets.py:net", steps=2), place).build()
    sizes = {"tokens_in": 7, "tokens_out": 3}
    assert [function() for function in in_order(calls, sizes)] == [7, (1, 3), (1, 3)]
    assert [function() for function in in_order(calls)] == [None, (1, 32), (1, 32)]


def test_a_graph_has_no_sizes_of_each_request(tmp_path, place):
    write(tmp_path, "nets.py", "def net(): return lambda tokens_in, tokens_out, n=1: None")
    with pytest.raises(ScenarioError) as error:
        StreamRequest(find_factory(Model(factory="nets.py:net"), place), capture=None)
    assert "takes tokens_in and tokens_out of each request, but a graph has the same shapes" in str(
        error.value
    ) and 'write model(..., mode="eager")' in str(error.value)


def test_a_graph_may_have_the_sizes_that_are_defaults(tmp_path, place):
    write(tmp_path, "nets.py", "def net(): return lambda tokens_out=32: None")
    model = Model(factory="nets.py:net")
    refuse_sizes(model, find_factory(model, place).build())


def test_a_file_of_a_package_may_import_its_neighbours(tmp_path, place):
    write(tmp_path, "pkg/__init__.py", "")
    write(tmp_path, "pkg/layers.py", "SIZE = 3")
    write(tmp_path, "pkg/nets.py", "from .layers import SIZE\ndef net(): return lambda: SIZE")
    assert build(place, "pkg/nets.py:net")() == 3


def test_a_file_finds_what_lies_next_to_it(tmp_path, place):
    write(tmp_path, "sub/parts_of_nets.py", "SIZE = 4")
    write(
        tmp_path,
        "sub/more_nets.py",
        "def net():\n import parts_of_nets as p\n return lambda: p.SIZE",
    )
    assert build(place, "sub/more_nets.py:net")() == 4


def test_two_files_of_one_name_are_two(tmp_path, place):
    write(tmp_path, "a/twin_nets.py", "def net(): return lambda: 'a'")
    write(tmp_path, "b/twin_nets.py", "def net(): return lambda: 'b'")
    assert build(place, "a/twin_nets.py:net")() == "a"
    assert build(place, "b/twin_nets.py:net")() == "b"
    assert build(place, "a/twin_nets.py:net")() == "a"


def test_a_file_that_the_process_has_loaded_is_not_loaded_again(place):
    here = os.path.relpath(__file__, place.directory)
    found = find_factory(Model(factory=f"{here}:a_factory"), place)
    assert found.function is a_factory


def a_factory():
    return lambda: None


def test_a_function_of_a_module_is_found_on_the_paths_of_pytest(tmp_path, place):
    write(tmp_path, "lib/far_nets.py", "def net(): return lambda: 5")
    far = Place(directory=place.directory, paths=(str(tmp_path / "lib"),))
    assert build(far, "far_nets:net")() == 5


def test_it_is_built_in_the_directory_of_pytest(tmp_path, place):
    start = "from pathlib import Path\n"
    write(tmp_path, "nets.py", f"{start}def net(): return lambda t=Path('w.txt').read_text(): t")
    write(tmp_path, "w.txt", "weights")
    before = os.getcwd()
    assert build(place, "nets.py:net")() == "weights"
    assert os.getcwd() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def other(): pass", "nets.py has no function net; its functions: other"),
        ("net = 3", "nets.py has 3, no function, as net; it has none"),
        ("def net(): return 3", "net returned 3, which is not callable; return the function"),
        ("def net(): return None", "net returned None, which is not callable"),
        (
            "def net():\n    raise ValueError('no weights\\nat all')",
            "building it failed: ValueError: no weights (nets.py:2)",
        ),
        ("def net():\n    raise SystemExit(3)", "building it failed: SystemExit: 3 (nets.py:2)"),
        ("def net(n): pass", "building it failed: TypeError: net() missing 1 required positional"),
        ("import no_such_package", "importing nets.py failed: ModuleNotFoundError: No module"),
        ("import pytest\npytest.skip('no GPU', allow_module_level=True)", "Skipped: no GPU"),
        ("def net(:", "importing nets.py failed: SyntaxError: invalid syntax"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(tmp_path, place, text, words):
    write(tmp_path, "nets.py", text)
    with pytest.raises(ScenarioError) as error:
        build(place, "nets.py:net")
    sentence = str(error.value)
    assert sentence.startswith("model(net): ") and words in sentence and "\n" not in sentence


def test_a_file_or_a_module_that_is_not_there(place):
    with pytest.raises(ScenarioError, match=r"model\(net\): there is no file '.*/none.py'"):
        build(place, "none.py:net")
    with pytest.raises(ScenarioError, match="importing none_such failed: ModuleNotFoundError"):
        build(place, "none_such:net")


def test_ctrl_c_while_it_is_built_is_ctrl_c(tmp_path, place):
    write(tmp_path, "nets.py", "def net(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        build(place, "nets.py:net")


def test_the_package_that_only_the_function_imports_is_known_before_it_is_called(tmp_path, place):
    write(
        tmp_path,
        "nets.py",
        """
        def net():
            def inner():
                import nowhere_vision.models
            return inner
        def plain(): return 1
        """,
    )
    assert find_factory(Model(factory="nets.py:net"), place).mentions("nowhere")
    assert not find_factory(Model(factory="nets.py:plain"), place).mentions("nowhere")
