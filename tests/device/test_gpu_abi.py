"""Our declarations of the drivers and compilers against the vendors' own headers, where installed.

A wrapper is generated for every function of our lists, which calls the real prototype with our
parameters: a wrong number of them, or a number where a pointer is meant, does not compile. Device
memory, a pointer in HIP and a number with us, is cast to what each of the two has. Constants,
widths and offsets are static assertions.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "native" / "devices" / "gpu"
CUDA_FILES = ("gpu_driver.h", "device_cuda.c", "gpu_graph_read.c")
HIP_FILES = ("gpu_driver.h", "device_hip.c", "gpu_graph_read.c")

CUDA_CONSTANTS = {
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
    "XS_GPU_EVENT_DEFAULT": "CU_EVENT_DEFAULT",
    "XS_GPU_EVENT_DISABLE_TIMING": "CU_EVENT_DISABLE_TIMING",
    "XS_GPU_CAPTURE_THREAD_LOCAL": "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL",
    "XS_CUDA_RESOURCE_SM": "CU_DEV_RESOURCE_TYPE_SM",
    "XS_CUDA_GREEN_DEFAULT_STREAM": "CU_GREEN_CTX_DEFAULT_STREAM",
    "XS_CUDA_MULTIPROCESSOR_COUNT": "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT",
    "XS_CUDA_MAJOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
    "XS_CUDA_MINOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
}
HIP_CONSTANTS = {
    "XS_GPU_SUCCESS": "hipSuccess",
    "XS_GPU_OUT_OF_MEMORY": "hipErrorOutOfMemory",
    "XS_GPU_NOT_INITIALIZED": "hipErrorNotInitialized",
    "XS_GPU_STUB_LIBRARY": "34",  # NVIDIA's only; HIP has no such code
    "XS_GPU_DRIVER_TOO_OLD": "hipErrorInsufficientDriver",
    "XS_GPU_NO_DEVICE": "hipErrorNoDevice",
    "XS_GPU_INVALID_DEVICE": "hipErrorInvalidDevice",
    "XS_GPU_SHARED_OBJECT_INIT_FAILED": "hipErrorSharedObjectInitFailed",
    "XS_GPU_NOT_FOUND": "hipErrorNotFound",
    "XS_GPU_NOT_READY": "hipErrorNotReady",
    "XS_GPU_STREAM_NON_BLOCKING": "hipStreamNonBlocking",
    "XS_GPU_EVENT_DEFAULT": "hipEventDefault",
    "XS_GPU_EVENT_DISABLE_TIMING": "hipEventDisableTiming",
    "XS_GPU_CAPTURE_THREAD_LOCAL": "hipStreamCaptureModeThreadLocal",
    "XS_HIP_MULTIPROCESSOR_COUNT": "hipDeviceAttributeMultiprocessorCount",
    "XS_HIP_ARCHITECTURE_OLD": "OF_LAYOUT(XS_OLD)",
    "XS_HIP_ARCHITECTURE_R0600": "OF_LAYOUT(XS_R0600)",
}
RESOURCE = """
_Static_assert(sizeof(struct resource) == sizeof(CUdevResource), "resource");
_Static_assert(offsetof(struct resource, count) == offsetof(CUdevResource, sm.smCount), "count");
_Static_assert(offsetof(struct resource, least) == offsetof(CUdevResource, sm.minSmPartitionSize),
               "least");
_Static_assert(offsetof(struct resource, step) ==
               offsetof(CUdevResource, sm.smCoscheduledAlignment), "step");
"""
# hipDeviceProp_t of the installed header has one of the two layouts.
LAYOUT = """
enum { XS_OLD = 396, XS_R0600 = 1160 };
#define XS_LAYOUT (HIP_VERSION_MAJOR >= 6 ? XS_R0600 : XS_OLD)
#define OF_LAYOUT(x) (x == XS_LAYOUT ? (int)offsetof(hipDeviceProp_t, gcnArchName) : (int)x)
_Static_assert(sizeof(((hipDeviceProp_t *)0)->gcnArchName) == 256, "gcnArchName");
_Static_assert(sizeof(hipDeviceProp_t) < 8192, "properties");
"""
CUDA_NODES = """
#define SAME(ours, theirs) _Static_assert(offsetof(struct cuda_kernel_node, ours) == \\
    offsetof(CUDA_KERNEL_NODE_PARAMS, theirs), #ours);
SAME(function, func) SAME(grid, gridDimX) SAME(block, blockDimX) SAME(shared_bytes, sharedMemBytes)
SAME(parameters, kernelParams) SAME(extra, extra) SAME(kernel, kern) SAME(context, ctx)
_Static_assert(sizeof(struct cuda_kernel_node) >= sizeof(CUDA_KERNEL_NODE_PARAMS), "node");
_Static_assert(sizeof(CUgraphEdgeData) == 8, "edge");
"""
CUDA_TYPES = {
    "KERNEL": "KERNEL",
    "HOST": "HOST",
    "CHILD": "GRAPH",
    "EMPTY": "EMPTY",
    "EVENT_WAIT": "WAIT_EVENT",
    "EVENT_RECORD": "EVENT_RECORD",
    "SEMAPHORE_SIGNAL": "EXT_SEMAS_SIGNAL",
    "SEMAPHORE_WAIT": "EXT_SEMAS_WAIT",
    "ALLOCATION": "MEM_ALLOC",
    "FREE": "MEM_FREE",
    "BATCH": "BATCH_MEM_OP",
    "CONDITIONAL": "CONDITIONAL",
}
HIP_NODES = """
#define SAME(ours, theirs) _Static_assert(offsetof(struct hip_kernel_node, ours) == \\
    offsetof(hipKernelNodeParams, theirs), #ours);
SAME(block, blockDim) SAME(extra, extra) SAME(function, func) SAME(grid, gridDim)
SAME(parameters, kernelParams) SAME(shared_bytes, sharedMemBytes)
_Static_assert(sizeof(struct hip_kernel_node) >= sizeof(hipKernelNodeParams), "node");
"""
# Before HIP 6, whose types have other numbers, graphs are not cut.
HIP_TYPES = {
    "KERNEL": "Kernel",
    "HOST": "Host",
    "CHILD": "Graph",
    "EMPTY": "Empty",
    "EVENT_WAIT": "WaitEvent",
    "EVENT_RECORD": "EventRecord",
    "SEMAPHORE_SIGNAL": "ExtSemaphoreSignal",
    "SEMAPHORE_WAIT": "ExtSemaphoreWait",
    "ALLOCATION": "MemAlloc",
    "FREE": "MemFree",
    "HIP_COPY_TO_SYMBOL": "MemcpyToSymbol",
}


def same_types(types, prefix):
    return "".join(
        f'_Static_assert((int){ours} == (int){prefix}{theirs}, "{ours}");\n'
        for ours, theirs in types.items()
    )


ERRORS = {"name": "Name", "text": "String"}
CUDA_HANDLES = ("CUcontext", "CUstream", "CUevent", "CUmodule", "CUfunction")
HIP_HANDLES = ("hipStream_t", "hipEvent_t", "hipModule_t", "hipFunction_t", "hipDeviceptr_t")
HEADERS = {
    "cuda.h": {
        "start": "cu",
        "files": CUDA_FILES,
        "constants": CUDA_CONSTANTS,
        "widths": {
            "CUresult": "int",
            "CUdevice": "int",
            "CUdeviceptr": "uint64_t",
            **dict.fromkeys(CUDA_HANDLES, "void *"),
        },
        "more": RESOURCE + CUDA_NODES + same_types(CUDA_TYPES, "CU_GRAPH_NODE_TYPE_"),
    },
    "nvrtc.h": {
        "start": "nvrtc",
        "files": CUDA_FILES,
        "widths": {"nvrtcResult": "int", "nvrtcProgram": "void *"},
    },
    "hip/hip_runtime_api.h": {
        "start": "hip(?!rtc)",
        "files": HIP_FILES,
        "constants": HIP_CONSTANTS,
        "widths": {
            "hipError_t": "int",
            "hipDevice_t": "int",
            "void *": "uint64_t",  # device memory
            **dict.fromkeys(HIP_HANDLES, "void *"),
        },
        "more": LAYOUT
        + HIP_NODES
        + "#if HIP_VERSION_MAJOR >= 6\n"
        + same_types(HIP_TYPES, "hipGraphNodeType")
        + "#endif\n",
    },
    "hip/hiprtc.h": {
        "start": "hiprtc",
        "files": HIP_FILES,
        "widths": {"hiprtcResult": "int", "hiprtcProgram": "void *"},
    },
}


def text_of(files):
    return "".join((SOURCE / name).read_text(encoding="utf-8") for name in files)


def constants(files):
    return re.findall(r"^\s+(XS_(?:GPU|CUDA|HIP)_\w+) = (\d+)", text_of(files), re.MULTILINE)


def rows(header):
    """Name and parameters of every function in our lists that a header has."""
    start, files = HEADERS[header]["start"], HEADERS[header]["files"]
    text = text_of(files).replace("\\\n", " ")
    found = [
        (name, parameters)
        for names, parameters in re.findall(r'X\(\w+,\s*((?:"\w+",\s*)+)\(([^()]*)\)\)', text)
        for name in re.findall(r'"(\w+)"', names)
    ]
    # What stands in no list: the errors, and what only HIP has, named as the symbol is.
    found += [
        (f"{'cu' if brand == 'cuda' else brand}GetError{ERRORS[what]}", parameters)
        for brand, what, parameters in re.findall(
            r"\(\*(cuda|hip)_error_(name|text)\)\(([^()]*)\);", text
        )
    ]
    found += [
        (f"hip{name}", parameters)
        for name, parameters in re.findall(r"^    int \(\*([A-Z]\w+)\)\(([^()]*)\);", text, re.M)
        if header == "hip/hip_runtime_api.h"
    ]
    return [
        (name, [" ".join(p.split()) for p in parameters.split(",")])
        for name, parameters in found
        if re.match(start, name)
    ]


def include_dir(header, cuda_files):
    if header.startswith("hip/"):
        for home in (os.environ.get("ROCM_PATH", "/opt/rocm"), "/usr"):
            if (Path(home) / "include" / header).exists():
                return Path(home) / "include"
        pytest.skip(f"{header} is not here (ROCM_PATH, /opt/rocm, Debian's libamdhip64-dev)")
    return Path(cuda_files(f"include/{header}")).parent


@pytest.fixture
def compile_errors(tmp_path, cuda_files):
    def run(program, header):
        compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
        (tmp_path / "abi.c").write_text(program)
        flags = ["-Wno-all", "-Wno-incompatible-pointer-types", "-Wno-discarded-qualifiers"]
        flags += [
            "-D__HIP_PLATFORM_AMD__",
            "-Werror=int-conversion",
            "-Werror=implicit-function-declaration",
        ]
        return subprocess.run(
            [compiler, "-std=c11", *flags, f"-I{include_dir(header, cuda_files)}", "-c", "abi.c"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        ).stderr

    return run


def argument(parameter, header):
    """Give what a wrapper passes on: device memory as the vendor has it, the rest as it is."""
    name = re.findall(r"(\w+)$", parameter)[0]
    if header.startswith("hip/") and parameter.startswith("uint64_t "):
        return f"(void *){name}"
    return name


def program(functions, header):
    facts = HEADERS[header]
    lines = [f"#include <{header}>", "#include <stdint.h>", "#include <stddef.h>"]
    shared = r"^(?:struct (?:resource|cuda_kernel_node|hip_kernel_node)|enum node_type) {.*?^};"
    lines += re.findall(shared, text_of(facts["files"]), re.S | re.M) if "more" in facts else []
    lines.append(facts.get("more", ""))
    for ours, value in constants(facts["files"]) if "constants" in facts else ():
        lines.append(f'_Static_assert({value} == (int){facts["constants"][ours]}, "{ours}");')
    for theirs, ours in facts["widths"].items():
        lines.append(f'_Static_assert(sizeof({theirs}) == sizeof({ours}), "{theirs}");')
    for name, parameters in functions:
        result = "const char *" if name.startswith(("hipGetError", "hipKernelName")) else "int"
        passed = ", ".join(argument(parameter, header) for parameter in parameters)
        body = f"return ({result}){name}({passed});"
        lines.append(f"{result} call_{name}({', '.join(parameters)}) {{ {body} }}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("header", "count", "row"),
    [
        ("cuda.h", 53, ("cuInit", ["unsigned int flags"])),
        ("nvrtc.h", 8, ("nvrtcDestroyProgram", ["void **program"])),
        ("hip/hip_runtime_api.h", 46, ("hipSetDevice", ["int device"])),
        ("hip/hiprtc.h", 8, ("hiprtcDestroyProgram", ["void **program"])),
    ],
)
def test_the_lists_are_read(header, count, row):
    names = [name for name, _ in rows(header)]
    assert len(names) == len(set(names)) == count
    assert row in rows(header)


@pytest.mark.parametrize("header", ["cuda.h", "hip/hip_runtime_api.h"])
def test_every_constant_is_compared(header):
    found = {name for name, _ in constants(HEADERS[header]["files"])}
    assert found == set(HEADERS[header]["constants"])


@pytest.mark.parametrize("header", HEADERS)
def test_declarations_are_those_of_the_headers(header, compile_errors):
    assert compile_errors(program(rows(header), header), header) == ""


@pytest.mark.parametrize(
    ("header", "wrong", "complaint"),
    [
        ("cuda.h", ("cuInit", ["unsigned int flags", "int more"]), "too many arguments"),
        ("cuda.h", ("cuInit", ["void *flags"]), "makes integer from pointer"),
        ("cuda.h", ("cuMemFree_v2", ["void *pointer"]), "makes integer from pointer"),
        ("cuda.h", ("cuStreamDestroy_v9", ["void *stream"]), "cuStreamDestroy_v9"),
        ("hip/hip_runtime_api.h", ("hipInit", ["void *flags"]), "makes integer from pointer"),
        ("hip/hip_runtime_api.h", ("hipStreamDestroy", ["int s"]), "makes pointer from integer"),
        ("hip/hip_runtime_api.h", ("hipEventDestroy_v2", ["void *e"]), "hipEventDestroy_v2"),
    ],
)
def test_a_wrong_declaration_is_found(header, wrong, complaint, compile_errors):
    assert complaint in compile_errors(program([wrong], header), header)
