"""Our declarations of libcuda and NVRTC against NVIDIA's own headers, where those are installed.

A wrapper is generated for every function of our lists, which calls the real prototype with our
parameters: a wrong number of them, or a number where a pointer is meant, does not compile.
Constants and widths are static assertions.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "native" / "src"

CONSTANTS = {
    "XS_GPU_SUCCESS": "CUDA_SUCCESS",
    "XS_GPU_OUT_OF_MEMORY": "CUDA_ERROR_OUT_OF_MEMORY",
    "XS_GPU_NOT_INITIALIZED": "CUDA_ERROR_NOT_INITIALIZED",
    "XS_GPU_STUB_LIBRARY": "CUDA_ERROR_STUB_LIBRARY",
    "XS_GPU_DRIVER_TOO_OLD": "35",  # cudaErrorInsufficientDriver, of the runtime's header
    "XS_GPU_NO_DEVICE": "CUDA_ERROR_NO_DEVICE",
    "XS_GPU_INVALID_DEVICE": "CUDA_ERROR_INVALID_DEVICE",
    "XS_GPU_SHARED_OBJECT_INIT_FAILED": "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED",
    "XS_GPU_NOT_FOUND": "CUDA_ERROR_NOT_FOUND",
    "XS_GPU_NOT_READY": "CUDA_ERROR_NOT_READY",
    "XS_GPU_STREAM_NON_BLOCKING": "CU_STREAM_NON_BLOCKING",
    "XS_GPU_EVENT_DISABLE_TIMING": "CU_EVENT_DISABLE_TIMING",
    "XS_CUDA_RESOURCE_SM": "CU_DEV_RESOURCE_TYPE_SM",
    "XS_CUDA_GREEN_DEFAULT_STREAM": "CU_GREEN_CTX_DEFAULT_STREAM",
    "XS_CUDA_MULTIPROCESSOR_COUNT": "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT",
    "XS_CUDA_MAJOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
    "XS_CUDA_MINOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
}
RESOURCE = """
_Static_assert(sizeof(struct resource) == sizeof(CUdevResource), "resource");
_Static_assert(offsetof(struct resource, count) == offsetof(CUdevResource, sm.smCount), "count");
_Static_assert(offsetof(struct resource, least) == offsetof(CUdevResource, sm.minSmPartitionSize),
               "least");
_Static_assert(offsetof(struct resource, step) ==
               offsetof(CUdevResource, sm.smCoscheduledAlignment), "step");
"""
WIDTHS = {
    "cuda.h": {
        "CUresult": "int",
        "CUdevice": "int",
        "CUdeviceptr": "uint64_t",
        "CUcontext": "void *",
        "CUstream": "void *",
        "CUevent": "void *",
        "CUmodule": "void *",
        "CUfunction": "void *",
    },
    "nvrtc.h": {"nvrtcResult": "int", "nvrtcProgram": "void *"},
}


def declarations():
    files = ("gpu_driver.h", "device_cuda.c")
    return "".join((SOURCE / name).read_text(encoding="utf-8") for name in files)


def constants():
    return re.findall(r"^\s+(XS_(?:GPU|CUDA)_\w+) = (\d+)", declarations(), re.MULTILINE)


def rows():
    """Name and parameters of every function in the lists."""
    text = declarations().replace("\\\n", " ")
    found = re.findall(r'X\(\w+,\s*"(\w+)",(?:\s*"\w+",)?\s*\(([^()]*)\)\)', text)
    return [
        (name, [" ".join(p.split()) for p in parameters.split(",")]) for name, parameters in found
    ]


def include_dir(header):
    for home in (os.environ.get("CUDA_HOME", ""), *map(str, Path("/usr/local").glob("cuda*"))):
        if home and (Path(home) / "include" / header).exists():
            return Path(home) / "include"
    pytest.skip(f"{header} is not installed (CUDA_HOME, /usr/local/cuda*)")


def compile_errors(program, header, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    (tmp_path / "abi.c").write_text(program)
    includes = (SOURCE, SOURCE.parent, include_dir(header))
    flags = ["-Wno-all", "-Wno-incompatible-pointer-types"]
    flags += ["-Werror=int-conversion", "-Werror=implicit-function-declaration"]
    return subprocess.run(
        [compiler, "-std=c11", *flags, *(f"-I{path}" for path in includes), "-c", "abi.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stderr


def program(functions, header):
    lines = [f"#include <{header}>", "#include <stdint.h>", "#include <stddef.h>"]
    lines.append(
        re.search(r"^struct resource {.*?^};", declarations(), re.DOTALL | re.MULTILINE)[0]
    )
    if header == "cuda.h":
        lines.append(RESOURCE)
    for ours, value in constants() if header == "cuda.h" else ():
        lines.append(f'_Static_assert({value} == (int){CONSTANTS[ours]}, "{ours}");')
    for theirs, ours in WIDTHS[header].items():
        lines.append(f'_Static_assert(sizeof({theirs}) == sizeof({ours}), "{theirs}");')
    for name, parameters in functions:
        names = ", ".join(re.findall(r"(\w+)$", parameter)[0] for parameter in parameters)
        lines.append(f"int call_{name}({', '.join(parameters)}) {{ return (int){name}({names}); }}")
    return "\n".join(lines) + "\n"


def test_the_lists_are_read():
    names = [name for name, _ in rows()]
    assert len(names) == len(set(names)) == 42
    assert ("cuInit", ["unsigned int flags"]) in rows()


def test_every_constant_is_compared():
    assert {name for name, _ in constants()} == set(CONSTANTS)


@pytest.mark.parametrize(("header", "start"), [("cuda.h", "cu"), ("nvrtc.h", "nvrtc")])
def test_declarations_are_those_of_the_headers(header, start, tmp_path):
    functions = [row for row in rows() if row[0].startswith(start)]
    assert functions
    assert compile_errors(program(functions, header), header, tmp_path) == ""


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (("cuInit", ["unsigned int flags", "int more"]), "too many arguments"),
        (("cuInit", ["void *flags"]), "makes integer from pointer"),
        (("cuMemFree_v2", ["void *pointer"]), "makes integer from pointer"),
        (("cuStreamDestroy_v9", ["void *stream"]), "cuStreamDestroy_v9"),
    ],
)
def test_a_wrong_declaration_is_found(wrong, complaint, tmp_path):
    assert complaint in compile_errors(program([wrong], "cuda.h"), "cuda.h", tmp_path)
