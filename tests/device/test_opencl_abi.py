"""Our declarations of OpenCL against Khronos's own headers, where those are installed.

For every function of our list a pointer with our signature is set to the real function: any
difference in number, width or signedness of what is passed does not compile. Handles are `void *`
with us, so that is what a copy of the headers calls them. Constants are static assertions.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "native" / "devices" / "opencl"
HEADERS = ("cl_platform.h", "cl_version.h", "cl.h", "cl_ext.h")


def constants():
    """Name and value, as OpenCL calls them, of our constants and of the codes of errors."""
    api_h = (SOURCE / "opencl_api.h").read_text(encoding="utf-8")
    api_c = (SOURCE / "opencl_api.c").read_text(encoding="utf-8")
    found = re.findall(r"^\s+XS_(CL_\w+) = (-?\w+)", api_h, re.MULTILINE)
    found += re.findall(r"^#define XS_(CL_\w+) (\S+)", api_h, re.MULTILINE)
    found += [(name, code) for code, name in re.findall(r'\{(-\d+), XS_\w+, "(CL_\w+)"\}', api_c)]
    return found


def include_dir(tmp_path):
    """Copy the headers, with handles and callbacks as `void *`."""
    place = next(
        (d for d in ("/usr/include", "/usr/local/include") if Path(d, "CL/cl.h").exists()), ""
    )
    if not place:
        pytest.skip("CL/cl.h is not installed (Debian: opencl-c-headers)")
    (tmp_path / "CL").mkdir()
    for name in HEADERS:
        text = Path(place, "CL", name).read_text(encoding="utf-8")
        text = re.sub(r"typedef struct _cl_\w+ *\*", "typedef void *", text)
        text = re.sub(r"void *\(CL_CALLBACK *\* *pfn_notify\)\([^)]*\)", "void *pfn_notify", text)
        (tmp_path / "CL" / name).write_text(text, encoding="utf-8")
    return tmp_path


def compile_errors(lines, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    start = ["#define CL_TARGET_OPENCL_VERSION 300", "#define CL_USE_DEPRECATED_OPENCL_1_2_APIS"]
    start += ["#include <CL/cl.h>", "#include <CL/cl_ext.h>", "#include <stdint.h>"]
    (tmp_path / "abi.c").write_text("\n".join([*start, *lines]) + "\n")
    flags = ["-std=c11", "-Werror", "-Wno-deprecated-declarations"]
    return subprocess.run(
        [compiler, *flags, f"-I{include_dir(tmp_path)}", "-c", "abi.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stderr


def pointer(result, name, parameters):
    return f"{result} (*p_{name})({parameters}) = {name};"


def test_the_lists_are_read(opencl_functions):
    names = [name for _, name, _ in opencl_functions]
    assert len(names) == len(set(names)) == 26
    assert ("int", "clFinish", "void *queue") in opencl_functions
    assert {("CL_PLATFORM_NOT_FOUND_KHR", "-1001"), ("CL_DEVICE_TYPE", "0x1000")} <= set(
        constants()
    )
    assert len(constants()) > 40


def test_functions_are_those_of_the_headers(opencl_functions, tmp_path):
    assert compile_errors([pointer(*row) for row in opencl_functions], tmp_path) == ""


def test_constants_are_those_of_the_headers(tmp_path):
    lines = [f'_Static_assert({name} == {value}, "{name}");' for name, value in constants()]
    assert compile_errors(lines, tmp_path) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ("int", "clFinish", "void *queue, int more"),
        ("int", "clFinish", "uint64_t queue"),
        ("void *", "clFinish", "void *queue"),
        ("int", "clGetPlatformIDs", "unsigned int room, void **platforms, size_t *count"),
        ("void *", "clCreateCommandQueue", "void *c, void *d, unsigned int properties, int *code"),
    ],
)
def test_a_wrong_declaration_is_found(wrong, tmp_path):
    assert "incompatible" in compile_errors([pointer(*wrong)], tmp_path)


def test_a_wrong_constant_is_found(tmp_path):
    assert "static assertion failed" in compile_errors(
        ['_Static_assert(CL_OUT_OF_RESOURCES == -6, "x");'], tmp_path
    )
