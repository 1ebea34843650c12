"""Options of GPUs: which of several, the files of its driver, how long to wait for it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("option", "variable", "ini", "expected"),
    [
        ("a.so", "b.so", "c.so", "a.so (--xsched-gpu-driver)"),
        (None, "b.so", "c.so", "b.so (PYTEST_XSCHED_GPU_DRIVER)"),
        (None, "", "c.so", "c.so (ini option xsched_gpu_driver)"),
        (None, "", "", "none"),
    ],
)
def test_libraries(pytester, sim, monkeypatch, option, variable, ini, expected):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", variable)
    pytester.makeini(f"[pytest]\nxsched_gpu_driver = {ini}")
    pytester.makepyfile(f"""
        def test_it(xsched):
            driver = xsched.devices.libraries("cuda").driver
            said = f"{{driver.path}} ({{driver.origin}})" if driver else "none"
            assert said == {expected!r}
        """)

    sim(*[f"--xsched-gpu-driver={option}"] * (option is not None)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("override", "ini", "expected_s"),
    [("2s", "3s", 2), ("0s", "3s", 0), (None, "3s", 3), (None, "", 600)],
)
def test_lock_timeout(pytester, sim, override, ini, expected_s):
    pytester.makeini(f"[pytest]\nxsched_lock_timeout = {ini}")
    pytester.makepyfile(f"""
        def test_it(xsched):
            assert xsched.settings.lock_timeout_ns == {expected_s} * 10**9
        """)

    sim(*[f"-oxsched_lock_timeout={override}"] * (override is not None)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "option", "ini", "expected"),
    [
        ("cuda:2", "cuda:1", "cuda", "cuda:2"),
        ("", "cuda:1", "cuda", "cuda:1"),
        ("", None, "cuda:3", "cuda:3"),
        ("cuda:0", "cuda:1", "", "cuda"),
    ],
)
def test_which_of_several_gpus(pytester, inside, marker, option, ini, expected):
    pytester.makeini(f"[pytest]\nxsched_device = {ini}")
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.xsched({f"device={marker!r}" if marker else ""})
        def test_it(xsched):
            assert (xsched.device, xsched.device_kind) == ({expected!r}, "cuda")
        """)

    inside(*[f"--xsched-device={option}"] * (option is not None)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("device", "required", "is_it"),
    [
        ("cuda:1", "cuda", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:0", "cuda:0", True),
        ("cuda", "cuda:0", True),
        ("cuda:1", "cuda:0", False),
        ("cuda", "cuda:1", False),
        ("hip:1", "cuda:1", False),
    ],
)
def test_required_device_with_an_index(pytester, inside, device, required, is_it):
    pytester.makepyfile("def test_it(xsched): assert xsched.device")

    result = inside(f"--xsched-device={device}", f"--xsched-require-device={required}")

    result.assert_outcomes(passed=int(is_it), failed=int(not is_it))
    if not is_it:
        shown = device.removesuffix(":0")
        result.stdout.fnmatch_lines(
            [f"*--xsched-require-device={required}, but the device is {shown}"]
        )
