"""Models of the user in a run, on `cpu`, where they run eagerly in processes of their own."""

import json

FILE = """
    import numpy as np
    import pytest
    from pytest_xsched import model

    def net(n, scale=1.0):
        a = np.full((n, n), scale)
        return lambda: a @ a

    @pytest.fixture(scope="module")
    def run(xsched):
        high = xsched.queue("high", model(net, 32, scale=2.0), rate="50/s", priority=10)
        low = xsched.queue("low", model("nets.py:net", 64), priority=1)
        return xsched.run(high, low, duration="1500ms", warmup="100ms")

    def test_high(run):
        assert run.high.n == 75 and run.low.n > 0

    def test_low(run):
        run.low.assert_no_errors()
"""

NETS = """
    import numpy as np

    def net(n):
        a = np.ones((n, n))
        return lambda: a @ a
"""

BAD = """
    from pytest_xsched import model

    def raises():
        raise ValueError("no weights here")

    def makes_a_number():
        return 3

    def fails_later():
        requests = iter(range(3))
        def request():
            if next(requests, None) is None:
                raise RuntimeError("out of requests")
        return request

    def test_raises(xsched):
        xsched.run(xsched.queue("high", model(raises), rate="50/s"), duration="1s")

    def test_number(xsched):
        xsched.run(xsched.queue("high", model(makes_a_number), rate="50/s"), duration="1s")

    def test_later(xsched):
        xsched.run(xsched.queue("high", model(fails_later), rate="50/s"), duration="1s")
"""

ON_CPU = ("--xsched-device=cpu", "--xsched-scheduler=native")


def test_a_model_of_the_test_file_runs_from_any_directory(pytester, fresh):
    pytester.makepyfile(**{"sub/test_mix": FILE, "nets": NETS})
    result = fresh(*ON_CPU, "--xsched-json=out.json", "sub/test_mix.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*high*model(net, 32, scale=2.0, mode='eager')*"])
    document = json.loads((pytester.path / "out.json").read_text())
    one = document["xsched"]["runs"][0]["scenario"]["queues"][0]["workload"]
    assert one["model"]["factory"] == "sub/test_mix.py:net"
    assert one["model"]["mode"] == "eager" and one["commands"] == [] and one["program"] is None


def test_what_is_wrong_with_a_model_is_one_sentence(pytester, fresh):
    pytester.makepyfile(test_bad=BAD)
    result = fresh(*ON_CPU, "test_bad.py")
    result.assert_outcomes(failed=3)
    start = "E *ScenarioError: queue 'high': model"
    result.stdout.fnmatch_lines(
        [
            f"{start}(raises): building it failed: ValueError: no weights here (test_bad.py:*)",
            f"{start}(makes_a_number): makes_a_number returned 3, which is not callable; *",
            f"{start}(fails_later): a request failed: RuntimeError: out of requests (test_*)",
        ]
    )


def test_a_model_on_the_processor_names_the_scheduler_that_it_can_have(pytester, fresh):
    pytester.makepyfile(**{"test_mix": FILE, "nets": NETS})
    result = fresh("--xsched-device=cpu", "test_mix.py")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*'builtin' cannot schedule it; 'native' (--xsched-scheduler=n*"])
