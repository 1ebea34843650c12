"""What makes two runs alike: everything but the scheduler and the draw of the load."""

import copy

import pytest

from pytest_xsched.analysis.comparability import differences, likeness, likeness_digest


@pytest.fixture
def record(made_run, made_queue):
    return made_run(made_queue([5] * 300), made_queue([7] * 300, name="low")).to_dict()


def changed(record, path, value):
    other = copy.deepcopy(record)
    *parents, last = path
    inner = other
    for key in parents:
        inner = inner[key]
    assert inner[last] != value
    inner[last] = value
    return other


LIBCUDA = {"path": "/usr/lib/libcuda.so.1", "bytes": 1}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["scenario", "duration_ns"], 1),
        (["scenario", "warmup_ns"], 1),
        (["scenario", "device"], "cpu"),
        (["scenario", "sim", "launch_ns"], 1),
        (["scenario", "queues", 0, "priority"], 11),
        (["scenario", "queues", 0, "arrivals", "rate_hz"], 21.0),
        (["scenario", "queues", 0, "workload", "commands", 0, "duration_ns"], 1),
        (["fingerprint", "kernel"], "6.2"),
        (["fingerprint", "devices", 0, "driver_version"], "13.1"),
        (["fingerprint", "libraries"], [LIBCUDA]),
        (["fingerprint", "environment", "GPU_MAX_HW_QUEUES"], "8"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_it_counts(record, path, value):
    record["fingerprint"]["environment"]["GPU_MAX_HW_QUEUES"] = "4"
    other = changed(record, path, value)
    assert likeness_digest(other) != likeness_digest(record)
    assert likeness_digest(other, scheduler=True) != likeness_digest(record, scheduler=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["scenario", "seed"], 4),
        (["fingerprint", "python"], "3.13"),
        (["fingerprint", "devices", 0, "core_clock_mhz"], 1980),
        (["fingerprint", "environment"], {"LD_LIBRARY_PATH": "/opt", "CUDA_VISIBLE_DEVICES": "1"}),
        # A compiler is mapped by the run that compiles, and not by the one after it.
        (["fingerprint", "libraries"], [{"path": "/x/libnvrtc-builtins.so.13.0", "bytes": 1}]),
        (["verdicts"], [1]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value[0] != 1 else "",
)
def test_it_does_not_count(record, path, value):
    other = changed(record, path, value)
    assert likeness_digest(other) == likeness_digest(record)
    assert likeness_digest(other, scheduler=True) == likeness_digest(record, scheduler=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["scenario", "scheduler"], "native"),
        (["scenario", "policy"], "none"),
        (["scenario", "stream_priority"], False),
        (["scenario", "queues", 1, "threshold"], 4),
        (["scenario", "queues", 1, "batch_size"], 3),
        (["fingerprint", "environment"], {"LD_PRELOAD": "/opt/libshimhip.so"}),
        (["fingerprint", "libraries"], [{"path": "/opt/libhalhip.so", "bytes": 211_000}]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_it_is_the_scheduler(record, path, value):
    other = changed(record, path, value)
    assert likeness_digest(other) == likeness_digest(record)
    assert likeness_digest(other, scheduler=True) != likeness_digest(record, scheduler=True)


def test_workloads_of_one_label_are_told_apart_by_their_commands(record):
    other = changed(record, ["scenario", "queues", 0, "workload", "commands"], [])
    assert other["queues"][0]["workload"] == record["queues"][0]["workload"]
    fields = likeness(record)
    assert fields["queues.high.workload"].startswith("spin('1ms') (")
    assert fields["queues.high.workload"] != likeness(other)["queues.high.workload"]


@pytest.mark.parametrize("field", ["kernel", "cpu", "cpu_count", "cpus_usable", "cpus"])
def test_every_fact_about_the_host_counts(record, field):
    other = changed(record, ["fingerprint", field], "another")
    assert [str(one).partition(":")[0] for one in differences(record, other)] == [f"host.{field}"]


def test_a_workload_without_milestones_is_the_one_of_a_record_that_knows_none(record):
    """Baselines that are stored stay valid."""
    workload = record["scenario"]["queues"][0]["workload"]
    assert workload.pop("milestones") == []
    older = likeness_digest(record)
    workload["milestones"] = []
    assert likeness_digest(record) == older
    workload["milestones"] = [["token", 1]]
    assert likeness_digest(record) != older


MODEL = {
    **{"queue": "high", "framework": "torch 2.11.0", "nodes": 170, "kernels": 168, "commands": 9},
    **{"kernel_names": [["gemm", 168]], "kernels_digest": "ab" * 8, "outputs": "equal"},
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kernels": 170, "kernels_digest": "cd" * 8}, "queues.high.kernels"),
        ({"framework": "torch 2.12.0"}, "queues.high.framework"),
    ],
)
def test_a_model_that_ran_other_kernels_is_another_program(record, change, field):
    record["fingerprint"]["models"] = [MODEL]
    other = changed(record, ["fingerprint", "models"], [{**MODEL, **change}])
    (difference,) = differences(record, other)
    assert difference.field == field
    assert differences(record, record) == []


def test_a_library_may_choose_other_kernels_for_the_multiprocessors_that_mps_leaves(record):
    record["fingerprint"]["models"] = [MODEL]
    other = changed(record, ["fingerprint", "models"], [{**MODEL, "kernels": 1}])
    (difference,) = differences(record, other)
    name = difference.field.split(".")[1]
    mps = {"active_thread_percentage": [[name, 50.0]], "priority": [], "daemon": "own"}
    other["scenario"] |= {"scheduler": "mps", "mps": mps}
    assert differences(record, other) == []


def test_how_a_graph_was_cut_is_the_schedulers_matter(record):
    record["fingerprint"]["models"] = [MODEL]
    assert (
        differences(record, changed(record, ["fingerprint", "models"], [{**MODEL, "commands": 1}]))
        == []
    )


def test_an_eager_and_a_captured_model_are_different_programs(record):
    model = {
        **{"factory": "nets.py:net", "args": [], "kwargs": [], "mode": "graph"},
        **{"framework": "torch", "commands": "auto", "tolerance": 0.0},
    }
    record["scenario"]["queues"][0]["workload"]["model"] = model
    path = ["scenario", "queues", 0, "workload", "model", "mode"]
    (difference,) = differences(record, changed(record, path, "eager"))
    assert difference.field == "queues.high.workload"
