"""The README's examples are run, and its example is the file it names."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def test_the_example_is_the_file():
    assert blocks()[0] == (ROOT / "examples" / "test_two_models.py").read_text(encoding="utf-8")


def test_the_example_passes_on_the_simulator(pytester, sim):
    pytester.makepyfile(test_two_models=blocks()[0])
    sim().assert_outcomes(passed=4)


def test_what_a_test_can_say(pytester, sim):
    # As it stands, but for check=True: the simulator computes nothing.
    lines = blocks()[1].replace(", check=True", "").splitlines()
    assert sum("assert" in line for line in lines) == 10
    pytester.makepyfile(
        "\n".join(
            [
                "from pytest_xsched import matmul",
                "def test(xsched):",
                "    high = xsched.queue('high', matmul(512), priority=10, rate='20/s')",
                "    low = xsched.queue('low', matmul(1024, batch=8), priority=1)",
                *(f"    {line}" for line in lines),
            ]
        )
    )
    sim().assert_outcomes(passed=1)


def test_what_a_comparison_can_say(pytester, sim):
    (block,) = [block for block in blocks() if "xsched.compare(" in block]
    lines = block.splitlines()
    assert sum("assert" in line for line in lines) == 5
    pytester.makepyfile(
        "\n".join(
            [
                "from pytest_xsched import matmul",
                "def test(xsched):",
                "    high = xsched.queue('high', matmul(512, layers=10), priority=10, rate='20/s')",
                "    low = xsched.queue('low', matmul(1024, batch=8, layers=10), priority=1)",
                *(f"    {line}" for line in lines),
            ]
        )
    )
    sim().assert_outcomes(passed=1)


def test_live_queues(pytester, inside):
    pytester.makepyfile(blocks()[2])
    for device in ("sim", "cpu"):
        inside(f"--xsched-device={device}").assert_outcomes(passed=1)


def test_random_mixes(pytester, sim):
    profile = "import hypothesis\nhypothesis.settings.load_profile('xsched-ci')\n"
    pytester.makepyfile(profile + blocks()[3])
    sim().assert_outcomes(passed=1, skipped=1)


def test_a_program_of_ones_own(pytester, inside):
    program, test = (
        block for block in blocks() if "import requests" in block or "serve.py" in block
    )
    pytester.makepyfile(serve=program)
    pytester.makepyfile(f"import sys\nfrom pytest_xsched import command, spin\n{test}")
    inside("--xsched-device=cpu").assert_outcomes(passed=1)


def test_the_worst_mix(pytester, sim):
    pytester.makepyfile(next(block for block in blocks() if "xsched.search" in block))
    sim().assert_outcomes(passed=1)


def test_the_options_are_all_there(inside):
    shown = inside("--help").stdout.str()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--xsched-[a-z-]+", shown))
    assert options == set(re.findall(r"--xsched-[a-z-]+", readme))


def test_the_workloads_and_loads_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    import pytest_xsched

    for call in re.findall(r"`((?:poisson|gamma|bursts|replay|sequence|trace)\(.*?\))`", readme):
        eval(call, {name: getattr(pytest_xsched, name) for name in pytest_xsched.__all__})
