"""The profile of a model is recorded on a driver made for tests, and replayed on `sim`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pytest_xsched import ScenarioError, Session, WorkerCrashed, graph, model, recorded, spin
from pytest_xsched.cli.main import main
from pytest_xsched.scenario.profile import load_profile
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers import recording
from pytest_xsched.workers.sent_files import NO_FILES

spec = importlib.util.spec_from_file_location("models", Path(__file__).with_name("test_models.py"))
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The user's directory, with the framework of the tests of models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(models.FRAMEWORK)
    return tmp_path


@pytest.fixture(params=["worker", "inside"])
def gpu(request, fake_gpu, place):
    """A session on the fake driver, in worker processes and in this one."""
    session = Session(Settings(device=fake_gpu, process=request.param))
    yield session
    session.close()


def run_of(session, workload):
    return session.run(session.queue("q", workload, rate="50/s"), duration="100ms", warmup="0s")


def check_chain(profile, commands=11):
    """Two memsets, eight kernels that append to a list, one that waits for the second memset."""
    assert [(c.name, c.kernels) for c in profile.commands] == [
        *[("", 0)] * 2,
        *[("step", 1)] * 8,
        ("turn", 1),
    ]
    assert profile.kernels == 9
    assert all(command.duration_ns > 0 for command in profile.commands)
    assert sum(profile.durations_ns) == profile.request_ns > 0


def test_a_queue_returns_the_times_of_the_smallest_pieces_in_order(gpu, place):
    """A kernel that waits for an earlier node would hang if its piece were timed alone."""
    run = run_of(gpu, graph("nets.py:chain", 8, commands=2))
    profile = run.q.profile()
    check_chain(profile)
    assert profile.requests == 30
    assert profile.model == (
        "graph(chain, 8, commands=2): A request clears its list, appends 1 to count, and takes a "
        "turn at a counter of a library."
    )
    assert profile.device == run.device_name
    profile.save("chain.json")
    assert recorded("chain.json").commands == recorded(profile).commands


def test_what_was_recorded_runs_in_virtual_time(gpu, place):
    run_of(gpu, graph("nets.py:chain", 8)).q.profile().save("chain.json")
    profile = load_profile("chain.json")
    sim = Session(Settings(device="sim"))
    run = sim.run(sim.queue("q", recorded("chain.json"), rate="50/s"), duration="1s")
    assert run.q.latency_ns.min() >= profile.request_ns
    sim.close()


def test_a_session_measures_after_it_has_recorded(gpu):
    work = graph("nets.py:chain", 8)
    run_of(gpu, work).q.profile()
    run_of(gpu, work).require()


def test_a_request_with_steps_is_recorded_in_its_parts(gpu, place):
    run = run_of(gpu, graph("nets.py:llm", 4, steps=2))
    built = (place / "built.txt").read_text()
    with pytest.raises(ScenarioError, match="record prefill and step as models of their own, and"):
        run.q.profile()
    assert (place / "built.txt").read_text() == built  # it is refused before it is built again


def test_what_has_no_commands_is_refused_in_a_sentence(place):
    cpu = Session(Settings(device="cpu", process="inside"))
    queue = run_of(cpu, spin("1us")).q
    with pytest.raises(
        ScenarioError, match=r"q: spin\('1us'\) is no model whose commands could be"
    ):
        queue.profile()
    cpu.close()
    eager = model("nets.py:chain", 8, mode="eager").model
    with pytest.raises(ScenarioError, match="mode 'eager' has no commands whose times could be re"):
        recording.require_recordable(eager, "cuda")
    with pytest.raises(ScenarioError, match="and the device is 'sim'; record where there is a GPU"):
        recording.require_recordable(eager, "sim")


def test_a_crash_of_the_model_is_one_sentence(fake_gpu, place):
    (place / "bad.py").write_text("import os\ndef net(): os.abort()\n")
    session = Session(Settings(device=fake_gpu))
    bad = graph("bad.py:net")
    with pytest.raises(WorkerCrashed, match=r"SIGABRT while it recorded graph\(net\), without a "):
        session.devices.record_profile(bad.model, fake_gpu, NO_FILES)
    session.close()


# ---- pytest-xsched record


@pytest.fixture
def record(fake_gpu, place, capsys):
    """Runs the command on the fake driver; returns exit code, output and errors."""

    def run(*arguments):
        code = main(["record", f"--device={fake_gpu}", "--stream", *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_a_file_that_recorded_reads(record, place):
    arguments = ("nets.py:chain", "-o", "net.json", "--arguments", '{"count": 8}')
    code, out, err = record(*arguments, "--requests=5")
    assert (code, err) == (0, "")
    assert out.startswith("net.json: 11 commands with 9 kernels; a request takes ")
    assert "(medians of 5 requests on " in out
    profile = load_profile("net.json")
    check_chain(profile)
    assert profile.requests == 5 and profile.model.startswith("graph(chain, count=8): ")
    assert len(recorded("net.json").commands) == 11


def test_the_file_is_named_after_the_function(record, place):
    code, out, _ = record("nets.py:chain", "--json")
    assert code == 0 and json.loads(out)["format"] == "pytest-xsched profile"
    assert json.loads(out) == json.loads((place / "chain.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nets.py:chain", "-o", "net.txt"], 2, "--output: the name of the file 'net.txt' must en"),
        (["nets.py:chain", "-o", "no/net.json"], 2, "--output: no/net.json: the directory "),
        (["nets.py:chain", "--requests=0"], 2, "--requests: 0 is outside [1, 1000000]"),
        (["nets.py:chain", "--requests=x"], 2, "--requests: 'x' is not a whole number"),
        (["nets.py:chain", "--arguments=8"], 2, "--arguments: '8' is not a JSON object; write '"),
        (["nets.py:chain", "--arguments={"], 2, "--arguments: '{' is not JSON: "),
        (["chain"], 2, "graph: 'chain' names no module; write \"module:chain\" or "),
        (["nets.py:none"], 2, "graph(none): nets.py has no function none; its functions: "),
        (["nets.py:syncs"], 2, "graph(syncs): a request cannot be captured: RuntimeError: cuStre"),
    ],
)
def test_what_cannot_be_recorded_is_one_sentence(record, place, arguments, code, sentence):
    found, out, err = record(*arguments)
    assert (found, out) == (code, "") and err.startswith(f"pytest-xsched: {sentence}")
    assert err.count("\n") == 1
    assert not list(place.glob("*.json"))


def test_without_a_gpu_the_way_out_is_a_file(place, capsys):
    assert main(["record", "nets.py:chain", "--device=cpu"]) == 2
    assert capsys.readouterr().err == (
        "pytest-xsched: model(chain): models are captured on cuda and hip, and the device is "
        "'cpu'; record where there is a GPU, and replay the file here: recorded(\"chain.json\")\n"
    )


def test_a_process_that_does_not_end_is_killed(fake_gpu, place, monkeypatch):
    (place / "slow.py").write_text("import time\ndef net(): time.sleep(100)\n")
    monkeypatch.setattr(recording, "MODEL_SET_UP_S", 3.0)
    session = Session(Settings(device=fake_gpu))
    with pytest.raises(WorkerCrashed, match="did not end in time and was killed while it recorded"):
        session.devices.record_profile(graph("slow.py:net").model, fake_gpu, NO_FILES)
    session.close()
