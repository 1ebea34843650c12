"""What the table of a run says of models."""

from pytest_xsched.reporting.run_table import table

MODEL = {
    **{"queue": "high", "framework": "torch 2.11.0", "nodes": 170, "kernels": 168, "commands": 9},
    **{"kernel_names": [["gemm", 168]], "kernels_digest": "ab" * 8},
    "outputs": "equal to the eager request",
}


def record(made_run, made_queue):
    return made_run(made_queue([5.0] * 300)).to_dict()


def test_a_captured_model_is_described_in_a_line(made_run, made_queue):
    run = record(made_run, made_queue)
    run["fingerprint"]["models"] = [
        MODEL,
        {**MODEL, "queue": "low", "commands": 1, "warm_ups": [7, 9, 11]},
    ]
    run["evidence"]["results_checked"] = True
    text = "\n".join(table(run))
    assert (
        "high: 168 kernels in 9 commands (torch 2.11.0), results equal to the eager request" in text
    )
    assert "low: 168 kernels in 1 command (torch 2.11.0), the same after 9 and 11 warm-up" in text
    assert "all results equal those of numpy or of the eager requests" in text


def test_commands_of_an_eager_model_are_not_counted(made_run, made_queue):
    run = record(made_run, made_queue)
    workload = run["scenario"]["queues"][0]["workload"]
    for mode, cell in (("eager", "-"), ("graph", str(run["queues"][0]["commands"]["completed"]))):
        workload["model"] = {"mode": mode}
        assert table(run)[2].split()[-2] == cell


def test_a_record_from_before_models_is_shown(made_run, made_queue):
    run = record(made_run, made_queue)
    del run["fingerprint"]["models"]
    del run["scenario"]["queues"][0]["workload"]["model"]
    assert len(table(run)) >= 3
