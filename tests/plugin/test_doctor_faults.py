"""`pytest-xsched doctor` names each fault that has cost somebody a day, where it belongs.

The faults are libraries made for the purpose: the double of XSched with a part replaced, and a HIP
driver of a few lines.
"""

from __future__ import annotations

import ctypes.util
import json
import re
import shutil
import subprocess

import pytest

DRIVER = """
#include <unistd.h>
static int owner;
int hipInit(unsigned flags)
{
    if (owner == 0)
        owner = getpid();
    return 0;
}
int hipStreamCreate(void **stream) { *stream = 0; return owner == getpid() ? 0 : 709; }
int hipLaunchKernel(void) { return 0; }
int hipModuleLaunchKernel(void) { return 0; }
"""
DRIVER_VERSIONS = "hip_4.2 { global: hip*; local: *; };"
SHIM = "int hipModuleLaunchKernel(void) { return 1; }\nint XShim(void) { return 0; }\n"


@pytest.fixture
def make(tmp_path):
    """Makes a shared library from C source, with a version script given as text."""

    def library(path, source, *flags, script=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made.c").write_text(source)
        if script is not None:
            (tmp_path / "made.map").write_text(script)
            flags = (*flags, f"-Wl,--version-script={tmp_path / 'made.map'}")
        command = ["cc", "-shared", "-fPIC", "-o", str(path), str(tmp_path / "made.c"), *flags]
        subprocess.run([*command, f"-Wl,-soname,{path.name}"], check=True)
        return path

    return library


@pytest.fixture
def home(xsched_double, tmp_path):
    """A copy of the double, to be spoilt."""
    return shutil.copytree(xsched_double, tmp_path / "xsched")


@pytest.fixture
def shim(make, home):
    """Replaces the shim for HIP."""

    def replace(source=SHIM, *flags, script=None):
        of_xsched = ("-Wl,--no-as-needed", f"-L{home}/lib", "-lhalhip", "-lpreempt")
        run = (*of_xsched, "-Wl,-rpath,$ORIGIN", *flags)
        return make(home / "lib" / "libshimhip.so", source, *run, script=script)

    return replace


@pytest.fixture
def tree(make, tmp_path):
    """A ROCm tree with a driver."""
    make(tmp_path / "rocm-6.4.0/lib/libamdhip64.so.6", DRIVER, script=DRIVER_VERSIONS)
    return tmp_path / "rocm-6.4.0" / "lib"


@pytest.fixture
def doctor(pytester, alone, doctor_command, home, tree, monkeypatch):
    """Runs the doctor on HIP; gives its findings by number, as (status, seen, remedy)."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tree))
    monkeypatch.setenv("XSCHED_HOME", str(home))
    # Or XSched's own search finds the driver of this machine, if it has one.
    monkeypatch.setenv("XSCHED_HIP_LIB", f"{tree}/libamdhip64.so.6")
    for name in ("XLOG_LEVEL", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)

    def look(limit_s=100.0):
        words = doctor_command("--json", "--device=hip", limit_s=limit_s)
        result = pytester.run(*words, timeout=200)
        data = json.loads(result.stdout.str())
        assert result.ret == int(not data["ok"])
        return {check["number"]: check for check in data["checks"]}

    return look


def failures(found):
    """Of the checks that look at files and processes: the driver made here does not compute."""
    looked = (1, 2, 3, 4, 10, 12)
    return {n: found[n]["seen"] for n in looked if found[n]["status"] == "failed"}


def test_nothing_is_wrong(doctor, home, tree):
    found = doctor()

    assert failures(found) == {}
    assert found[1]["seen"] == (
        f"libhalhip.so, libpreempt.so, libshimhip.so of {home}/lib can be loaded; "
        f"the driver is {tree}/libamdhip64.so.6"
    )
    assert found[2]["seen"] == "libshimhip.so exports hipModuleLaunchKernel"
    assert found[3]["seen"] == (
        f"a process under LD_PRELOAD={home}/lib/libshimhip.so maps it and one driver, "
        f"{tree}/libamdhip64.so.6"
    )
    assert found[4]["seen"] == f"XSCHED_HIP_LIB={tree}/libamdhip64.so.6, XSCHED_HOME={home}"
    assert found[10]["status"] == "ok" and "no GPU driver loaded" in found[10]["seen"]
    assert found[5]["status"] == "failed" and "is not the cause" in found[5]["remedy"]
    assert found[12]["seen"] == (
        "a process that has loaded shim and driver ends with exit status 0"
    )
    assert all(check["remedy"] == "" for check in found.values() if check["status"] == "ok")


def test_p1_a_preload_that_ld_so_ignores(doctor, home, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/nowhere/libshimhip.so")

    found = doctor()

    assert failures(found).keys() == {3}
    assert found[3]["seen"] == (
        "ld.so says: object '/nowhere/libshimhip.so' from LD_PRELOAD cannot be preloaded "
        "(cannot open shared object file): ignored."
    )
    assert found[3]["remedy"].startswith(f"LD_PRELOAD has to be {home}/lib/libshimhip.so")


def test_p2_a_hal_whose_symbols_were_hidden(doctor, make, home, shim):
    needs = "extern char _ZTIN6xsched3hip10HipCommandE[];\nchar *t = _ZTIN6xsched3hip10HipCommandE;"
    hal = "char _ZTIN6xsched3hip10HipCommandE[8];\nint HipQueueCreate(void) { return 0; }"
    make(home / "lib/libhalhip.so", hal, script="{ global: Hip*; local: *; };")
    shim(SHIM + needs)

    found = doctor()

    assert 1 in failures(found)
    assert re.fullmatch(
        rf"{home}/lib/libshimhip.so needs (typeinfo for xsched::hip::HipCommand "
        r"\(_ZTIN6xsched3hip10HipCommandE\)|_ZTIN6xsched3hip10HipCommandE), "
        rf"which no library in {home}/lib exports",
        found[1]["seen"],
    )
    assert "'local: *' belongs to the shim alone" in found[1]["remedy"]


def test_p3_stale_objects_linked_again(doctor, home, shim):
    """A function: with lazy binding nothing would tell before it is called."""
    shim(SHIM + "int _ZN6xsched3hip7XMallocEPPvm(void);\n"
         "int late(void) { return _ZN6xsched3hip7XMallocEPPvm(); }")  # fmt: skip

    found = doctor()

    assert 1 in failures(found)
    assert "_ZN6xsched3hip7XMallocEPPvm" in found[1]["seen"]
    assert found[1]["remedy"].startswith("rebuild all of XSched from one commit")


def test_p4_versions_that_rocblas_needs_and_the_shim_has_not(doctor, make, home, tree, shim):
    uses = "int hipModuleLaunchKernel(void);\nint gemm(void) { return hipModuleLaunchKernel(); }"
    driver = str(tree / "libamdhip64.so.6")
    make(tree / "librocblas.so.4", uses, driver)
    shim(script="hip_6.0 { global: hip*; X*; local: *; };")

    found = doctor()

    assert failures(found).keys() == {2}
    assert found[2]["seen"] == (
        f"{tree}/librocblas.so.4 needs hipModuleLaunchKernel@hip_4.2, which the shim has only "
        "as hip_6.0: those calls go past libshimhip.so to the driver"
    )
    assert "hip_4.2 { global: hipModuleLaunchKernel; };" in found[2]["remedy"]


def test_what_rocblas_needs_without_a_version_is_met(doctor, make, tree, shim):
    uses = "int hipModuleLaunchKernel(void);\nint gemm(void) { return hipModuleLaunchKernel(); }"
    make(tree / "librocblas.so.4", uses, str(tree / "libamdhip64.so.6"))

    found = doctor()

    assert failures(found) == {}
    assert found[2]["seen"] == (
        "libshimhip.so exports hipModuleLaunchKernel; it has all that librocblas.so.4 need, "
        "1 times by a symbol without a version"
    )


def test_what_is_no_function_of_the_driver_does_not_count(doctor, make, tree, shim, tmp_path):
    """A symbol of another library that the shim happens to have, as of the C++ runtime."""
    other = make(tmp_path / "libother.so.1", "int other(void) { return 0; }", script="V1 { *; };")
    make(tree / "librocblas.so.4", "int other(void);\nint f(void) { return other(); }", str(other))
    shim(SHIM + "int other(void) { return 0; }", script="V2 { *; };")

    found = doctor()

    assert failures(found) == {}
    assert found[2]["seen"].endswith("it has all that librocblas.so.4 need")


def test_a_shim_that_hides_what_it_intercepts(doctor, home, shim):
    """It is loaded, says so, and every call goes to the driver."""
    shim(script="{ global: X*; local: *; };")

    found = doctor()

    assert failures(found).keys() == {2, 3}
    assert found[2]["seen"] == (
        f"{home}/lib/libshimhip.so exports none of hipLaunchKernel, hipModuleLaunchKernel, "
        "hipExtModuleLaunchKernel: it can be loaded, and every launch goes past it to the driver"
    )
    assert "hipLaunchKernel is that of" in found[3]["seen"]


def test_p5_a_library_that_hangs_when_it_is_loaded(doctor, home, shim):
    shim("#include <unistd.h>\n" + SHIM
         + "__attribute__((constructor)) static void hang(void) { for (;;) pause(); }")  # fmt: skip

    for limit_s in (0, 60):  # on a busy machine other libraries may take longer than the 3 s, too
        found = doctor(limit_s)
        if failures(found).keys() == {1}:
            break

    assert failures(found).keys() == {1}
    assert found[1]["seen"] == (
        f"loading {home}/lib/libshimhip.so did not end within {limit_s or 3} s: its initialisation "
        "hangs"
    )
    assert found[3]["seen"] == "it hangs when it is loaded"


def test_p10_a_driver_that_pytest_itself_has_initialised(doctor, pytester, tree):
    pytester.makeconftest(f"""
        import ctypes

        hip = ctypes.CDLL("{tree}/libamdhip64.so.6")
        assert hip.hipInit(0) == 0
        """)

    found = doctor()

    assert failures(found).keys() == {10}
    assert found[10]["seen"] == (
        f"a conftest.py or a plugin has initialised {tree}/libamdhip64.so.6 in pytest's own "
        "process: in a forked child hipStreamCreate returns error 709, context is destroyed"
    )
    assert "spawn" in found[10]["remedy"]


def test_a_driver_that_is_loaded_but_not_initialised(doctor, pytester, tree):
    pytester.makeconftest(f'import ctypes\nctypes.CDLL("{tree}/libamdhip64.so.6")')

    found = doctor()

    assert failures(found) == {}
    assert found[10]["seen"] == (
        f"pytest's own process has loaded {tree}/libamdhip64.so.6, and a forked child can use it"
    )


def test_p15_a_log_level_that_is_none(doctor, monkeypatch):
    monkeypatch.setenv("XLOG_LEVEL", "DEBUG")
    monkeypatch.setenv("XSCHED_SCHED", "LCL")

    found = doctor()

    assert failures(found).keys() == {4}
    assert found[4]["seen"] == (
        "XLOG_LEVEL='DEBUG' is unknown to XSched 1.2, which uses INFO; known: ERRO, WARN, "
        "INFO, DEBG; XSCHED_SCHED is not a variable of XSched, which ignores it; did you mean "
        "XSCHED_SCHEDULER?"
    )


def test_p19_two_rocm_trees_in_one_process(doctor, make, tree, tmp_path, monkeypatch):
    other = tmp_path / "rocm-7.2.0" / "lib"
    make(other / "libhsa-runtime64.so.1", "int hsa_init(void) { return 0; }")
    needs = DRIVER + "int hsa_init(void);\nint hip_hsa(void) { return hsa_init(); }"
    make(tree / "libamdhip64.so.6", needs, str(other / "libhsa-runtime64.so.1"),
         script=DRIVER_VERSIONS)  # fmt: skip
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{other}:{tree}")

    found = doctor()

    assert failures(found).keys() == {3}
    assert found[3]["seen"] == (
        "libraries of 2 ROCm trees are in one process: "
        f"libamdhip64.so.6 of {tree.parent}, libhsa-runtime64.so.1 of {other.parent}"
    )


def test_p7_two_drivers_in_one_process(doctor, make, tree, tmp_path, monkeypatch):
    """XSched looks for its own, by a variable or where ROCm usually is."""
    other = make(tmp_path / "other/lib/libamdhip64.so", DRIVER, script=DRIVER_VERSIONS)
    monkeypatch.setenv("XSCHED_HIP_LIB", str(other))

    found = doctor()

    assert failures(found).keys() == {3}
    assert "libraries of 2 ROCm trees are in one process" in found[3]["seen"]

    other.rename(tree / "libamdhip64.so")
    monkeypatch.setenv("XSCHED_HIP_LIB", f"{tree}/libamdhip64.so")

    found = doctor()

    assert failures(found).keys() == {3}
    assert found[3]["seen"] == (
        f"2 drivers are in one process: {tree}/libamdhip64.so, {tree}/libamdhip64.so.6"
    )
    assert found[3]["remedy"].startswith(
        f"set XSCHED_HIP_LIB to the file that programs use, {tree}/libamdhip64.so.6"
    )


def test_p19_a_library_that_the_driver_needs_is_missing(doctor, make, tree, tmp_path):
    register = make(tmp_path / "librocprofiler-register.so.0", "int registers(void) { return 0; }")
    if (other := ctypes.util.find_library("amdhip64")) is not None:
        pytest.skip(f"another driver can be loaded here, {other}")
    needs = DRIVER + "int registers(void);\nint hip_uses(void) { return registers(); }"
    make(tree / "libamdhip64.so.6", needs, str(register), script=DRIVER_VERSIONS)
    register.unlink()

    found = doctor()

    assert failures(found).keys() == {1}
    assert found[1]["seen"] == (
        "the driver of hip cannot be loaded: librocprofiler-register.so.0: cannot open shared "
        "object file: No such file or directory"
    )
    assert found[3]["status"] == "skipped"


def test_p20_a_crash_at_exit_is_a_category_of_its_own(doctor, shim):
    shim(SHIM + "__attribute__((destructor)) static void crash(void) { *(volatile int *)0 = 1; }")

    found = doctor()

    assert failures(found).keys() == {12}
    assert found[12]["seen"] == (
        "a process that has loaded shim and driver was ended by SIGSEGV, after its work was done"
    )


def test_a_part_of_another_build(doctor, xsched_double, home, monkeypatch):
    """As after a rebuild of one library, with the old ones still on the path."""
    (home / "lib/libpreempt.so").rename(home / "lib/libpreempt.so.old")
    shutil.copy(xsched_double / "lib/libpreempt.so", home / "libpreempt.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{xsched_double}/lib:{home.parent}/rocm-6.4.0/lib")

    found = doctor()

    assert 1 in failures(found)
    assert f"loads {xsched_double}/lib/libpreempt.so, which is of another build" in found[1]["seen"]
