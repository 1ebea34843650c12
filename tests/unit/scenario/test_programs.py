"""Programs as workloads: what is refused, what a label says, what their reports become."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import (
    QueueSpec,
    Scenario,
    ScenarioError,
    XSched,
    at,
    command,
    sequence,
    server,
    spin,
)
from pytest_xsched.native.binding import CENSORED, DRAIN, WARMUP
from pytest_xsched.scenario.arrival_process import Closed, constant
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.workload import Workload, read_workload
from pytest_xsched.workers.program_samples import counts_of, make_samples


def queue(name="q", workload=None, arrivals=None, **more):
    workload = command(["serve"]) if workload is None else workload
    return QueueSpec(name=name, workload=workload, arrivals=arrivals or Closed(), **more)


def scenario(*queues, **changes):
    values = {"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 0, "seed": 0, "device": "cpu"}
    values |= {"scheduler": "native", "policy": "none"}
    return Scenario(queues=queues or (queue(),), **{**values, **changes})


def test_a_label_is_short():
    assert command(["/usr/bin/python3", "my serve.py"]).label == "command(python3 'my serve.py')"
    label = command(["python", "x" * 100]).label
    assert label == f"command({'python ' + 'x' * 30}...)"


def test_it_survives_json_and_python():
    made = command(["a", Path("b")], env={"Z": "1", "A": "x y"}, preload="/p.so", reports=False)
    one = scenario(queue(workload=made))
    assert Scenario.from_dict(one.to_dict()) == one
    assert read_workload(one.to_dict()["queues"][0]["workload"]) == made
    assert eval(python_text(made), {"command": command}) == made
    assert scenario(queue(workload=command(["a"]))).digest() != one.digest()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: command("vllm serve"), "'vllm serve' is not a list; write ['vllm', 'serve']"),
        (lambda: command(""), "command: '' is not a list; write ['python', 'serve.py']"),
        (lambda: command([]), 'command: [] names no program; write ["python", "serve.py"]'),
        (lambda: server("vllm serve", ready="tcp://127.0.0.1:1"), "server: 'vllm serve' is not a"),
        (lambda: server([], ready="tcp://127.0.0.1:1"), "server: [] names no program"),
        (lambda: command(["a", 3]), "3 is neither a text nor a path"),
        (lambda: command([""]), "name of the program is empty"),
        (lambda: command(["a\0"]), "without NUL"),
        (lambda: command(["a"], env=["X=1"]), "is not a mapping"),
        (lambda: command(["a"], env={"X": 1}), "('X', 1) in env is not two texts"),
        (lambda: command(["a"], env={"X=Y": "1"}), "'X=Y' in env cannot name a variable"),
        (lambda: command(["a"], env={"LD_PRELOAD": "x"}), "preload= names a library"),
        (lambda: command(["a"], preload=3), "3 is neither a text nor a path"),
        (lambda: command(["a"], reports="no"), "reports 'no' is not True or False"),
        (lambda: sequence([command(["a"])]), "is not a workload like matmul(512)"),
        (
            lambda: Workload(
                commands=spin("1ms").commands, label="x", program=command(["a"]).program
            ),
            "a program and commands exclude each other",
        ),
        (
            lambda: queue(workload=command(["a"], reports=False), arrivals=constant("2/s")),
            "reports no requests, so it cannot have a load",
        ),
        (lambda: queue(arrivals=Closed(concurrency=2)), "one request at a time"),
        (lambda: queue(sm_share=0.5), "cannot get a share"),
        (lambda: queue(device="cuda:1"), "chooses its device itself"),
        (lambda: scenario(scheduler="priority"), "scheduler 'priority' cannot schedule it"),
        (lambda: scenario(scheduler="builtin", policy="hpf"), "'builtin' cannot schedule it"),
        (lambda: scenario(device="sim"), "no virtual time"),
        (lambda: scenario(changes=(at("1ms", "q", priority=1),)), "changes do not reach it"),
        (
            lambda: scenario(
                queue(), queue("r"), device="cuda", scheduler="xsched", xsched=XSched()
            ),
            'own process only; take XSched(scheduler="global")',
        ),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value)


def test_samples_are_those_of_the_native_runner():
    scheduled = np.array([5, 10, 20, 30, 40, 50, 60])
    # 3 has waited for 2, 4 ends behind the drain, 5 and 6 were never begun.
    samples = make_samples(
        scheduled,
        np.array([5, 11, 20, 36, 44]),
        np.array([8, 12, 36, 44, 99]),
        window_ns=(10, 60),
        over_ns=70,
    )
    assert samples["scheduled_ns"].tolist() == scheduled.tolist()
    assert samples["submitted_ns"].tolist() == [5, 11, 20, 30, 40, -1, -1]
    assert samples["launched_ns"].tolist() == [5, 11, 20, 36, 44, -1, -1]
    assert samples["completed_ns"].tolist() == [8, 12, 36, 44, -1, -1, -1]
    assert samples["flags"].tolist() == [
        *(WARMUP, 0, 0, 0, CENSORED, CENSORED),
        CENSORED | DRAIN,
    ]


def test_the_request_of_a_program_that_never_ends_waits_until_the_end_of_the_run():
    """Nothing of a request is seen between its begin and its end."""
    window = {"window_ns": (10, 60), "over_ns": 70}

    def stall(begun, ended):
        samples = make_samples(np.array(begun), np.array(begun), np.array(ended), **window)
        return counts_of(0, samples, **window).longest_stall_ns

    assert stall([5, 20], [8, 45]) == 25
    assert stall([5, 20], [8]) == 50  # until 70
    assert stall([5], [8]) == 0  # over before the window
    assert stall([65], [69]) == 0  # begun after it


def test_the_helper_is_light():
    # A program under test pays for nothing that it does not use.

    code = "import sys, pytest_xsched.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("pytest_xsched")}
    assert ours == {"pytest_xsched", "pytest_xsched.client"}
    assert not {"numpy", "pytest", "json", "pytest_xsched.native._native"} & set(
        done.stdout.split()
    )
