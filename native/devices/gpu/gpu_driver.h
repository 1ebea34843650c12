/* gpu_driver.h - the calls that NVIDIA's and AMD's drivers share, under one set of names: the
 * two differ mostly in the prefix. A row is the member, its symbol in libcuda, its symbol in
 * libamdhip64 and its parameters. Results are int, handles void *, and device memory uint64_t
 * (a pointer in HIP, which is passed in the same way). If libcuda has an old and a new form
 * of a call, the name with _v2 is the new one. Calls that only one of the two has are in
 * device_cuda.c and device_hip.c. */
#ifndef XS_GPU_DRIVER_H
#define XS_GPU_DRIVER_H

#include "base/base.h"

#define XS_GPU_SYMBOLS(X)                                                                          \
    X(Init, "cuInit", "hipInit", (unsigned int flags))                                             \
    X(GetVersion, "cuDriverGetVersion", "hipRuntimeGetVersion", (int *version))                    \
    X(DeviceGetCount, "cuDeviceGetCount", "hipGetDeviceCount", (int *count))                       \
    X(DeviceGetName, "cuDeviceGetName", "hipDeviceGetName", (char *name, int length, int device))  \
    X(DeviceGetAttribute, "cuDeviceGetAttribute", "hipDeviceGetAttribute",                         \
      (int *value, int attribute, int device))                                                     \
    X(DeviceGetPCIBusId, "cuDeviceGetPCIBusId", "hipDeviceGetPCIBusId",                            \
      (char *id, int length, int device))                                                          \
    X(DeviceTotalMem, "cuDeviceTotalMem_v2", "hipDeviceTotalMem", (size_t *bytes, int device))     \
    X(GetStreamPriorityRange, "cuCtxGetStreamPriorityRange", "hipDeviceGetStreamPriorityRange",    \
      (int *least, int *greatest))                                                                 \
    X(StreamCreateWithPriority, "cuStreamCreateWithPriority", "hipStreamCreateWithPriority",       \
      (void **stream, unsigned int flags, int priority))                                           \
    X(StreamDestroy, "cuStreamDestroy_v2", "hipStreamDestroy", (void *stream))                     \
    X(StreamSynchronize, "cuStreamSynchronize", "hipStreamSynchronize", (void *stream))            \
    X(EventCreate, "cuEventCreate", "hipEventCreateWithFlags", (void **event, unsigned int flags)) \
    X(EventDestroy, "cuEventDestroy_v2", "hipEventDestroy", (void *event))                         \
    X(EventRecord, "cuEventRecord", "hipEventRecord", (void *event, void *stream))                 \
    X(EventQuery, "cuEventQuery", "hipEventQuery", (void *event))                                  \
    X(MemAlloc, "cuMemAlloc_v2", "hipMalloc", (uint64_t *pointer, size_t bytes))                   \
    X(MemFree, "cuMemFree_v2", "hipFree", (uint64_t pointer))                                      \
    X(MemsetD8Async, "cuMemsetD8Async", "hipMemsetD8Async",                                        \
      (uint64_t pointer, unsigned char value, size_t count, void *stream))                         \
    X(MemcpyDtoH, "cuMemcpyDtoH_v2", "hipMemcpyDtoH", (void *to, uint64_t from, size_t bytes))     \
    X(ModuleLoadData, "cuModuleLoadData", "hipModuleLoadData", (void **module, const void *image)) \
    X(ModuleUnload, "cuModuleUnload", "hipModuleUnload", (void *module))                           \
    X(ModuleGetFunction, "cuModuleGetFunction", "hipModuleGetFunction",                            \
      (void **function, void *module, const char *name))                                           \
    X(LaunchKernel, "cuLaunchKernel", "hipModuleLaunchKernel",                                     \
      (void *function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,              \
       unsigned int block_x, unsigned int block_y, unsigned int block_z,                           \
       unsigned int shared_bytes, void *stream, void **parameters, void **extra))

/* Older drivers lack these; then the member is NULL. */
#define XS_GPU_OPTIONAL_SYMBOLS(X)                                                                 \
    X(DeviceGetUuid, "cuDeviceGetUuid_v2", "hipDeviceGetUuid", (void *uuid, int device))

/* Captured graphs: an older driver lacks some of these calls, and then graphs are not cut
 * (see xs_gpu_driver.missing). They are those of CUDA 12.3 and of HIP 6. Capturing is
 * thread-local, so that other threads may call whatever they like. */
#define XS_GPU_GRAPH_SYMBOLS(X)                                                                    \
    X(StreamBeginCapture, "cuStreamBeginCapture_v2", "hipStreamBeginCapture",                      \
      (void *stream, int mode))                                                                    \
    X(StreamEndCapture, "cuStreamEndCapture", "hipStreamEndCapture", (void *stream, void **graph)) \
    X(EventElapsedTime, "cuEventElapsedTime", "hipEventElapsedTime",                               \
      (float *ms, void *from, void *to))                                                           \
    X(GraphGetNodes, "cuGraphGetNodes", "hipGraphGetNodes",                                        \
      (void *graph, void **nodes, size_t *count))                                                  \
    X(GraphNodeGetType, "cuGraphNodeGetType", "hipGraphNodeGetType", (void *node, int *type))      \
    X(GraphChildGraphNodeGetGraph, "cuGraphChildGraphNodeGetGraph",                                \
      "hipGraphChildGraphNodeGetGraph", (void *node, void **graph))                                \
    X(GraphKernelNodeGetParams, "cuGraphKernelNodeGetParams_v2", "hipGraphKernelNodeGetParams",    \
      (void *node, void *parameters))                                                              \
    X(GraphClone, "cuGraphClone", "hipGraphClone", (void **clone, void *graph))                    \
    X(GraphNodeFindInClone, "cuGraphNodeFindInClone", "hipGraphNodeFindInClone",                   \
      (void **node, void *original, void *clone))                                                  \
    X(GraphDestroyNode, "cuGraphDestroyNode", "hipGraphDestroyNode", (void *node))                 \
    X(GraphDestroy, "cuGraphDestroy", "hipGraphDestroy", (void *graph))                            \
    X(GraphInstantiate, "cuGraphInstantiateWithFlags", "hipGraphInstantiateWithFlags",             \
      (void **exec, void *graph, unsigned long long flags))                                        \
    X(GraphExecDestroy, "cuGraphExecDestroy", "hipGraphExecDestroy", (void *exec))                 \
    X(GraphLaunch, "cuGraphLaunch", "hipGraphLaunch", (void *exec, void *stream))

/* Edges. Those of kernels that start before the end of the one before (programmatic dependent
 * launch) have data of 8 bytes each; cuGraphGetEdges fails where there is one. */
#define XS_CUDA_EDGES_SYMBOLS(X)                                                                   \
    X(cuda_graph_edges, "cuGraphGetEdges_v2",                                                      \
      (void *graph, void **from, void **to, void *data, size_t *count))
#define XS_HIP_EDGES_SYMBOLS(X)                                                                    \
    X(hip_graph_edges, "hipGraphGetEdges", (void *graph, void **from, void **to, size_t *count))

/* Names of kernels; NULL where the driver lacks them. The two calls of HIP return the name: of
 * a function of a module, and of one that is compiled into the program. */
#define XS_CUDA_NAME_SYMBOLS(X)                                                                    \
    X(cuda_function_name, "cuFuncGetName", (const char **name, void *function))                    \
    X(cuda_kernel_name, "cuKernelGetName", (const char **name, void *kernel))
#define XS_HIP_NAME_SYMBOLS(X)                                                                     \
    X(hip_kernel_name, "hipKernelNameRef", (void *function))                                       \
    X(hip_static_name, "hipKernelNameRefByPtr", (void *function, void *stream))

/* The calls of the compilers, NVRTC and hiprtc. */
#define XS_RTC_SYMBOLS(X)                                                                          \
    X(Version, "nvrtcVersion", "hiprtcVersion", (int *major, int *minor))                          \
    X(CreateProgram, "nvrtcCreateProgram", "hiprtcCreateProgram",                                  \
      (void **program, const char *source, const char *name, int header_count,                     \
       const char *const *headers, const char *const *include_names))                              \
    X(CompileProgram, "nvrtcCompileProgram", "hiprtcCompileProgram",                               \
      (void *program, int option_count, const char *const *options))                               \
    X(GetCodeSize, "nvrtcGetCUBINSize", "hiprtcGetCodeSize", (void *program, size_t *bytes))       \
    X(GetCode, "nvrtcGetCUBIN", "hiprtcGetCode", (void *program, char *code))                      \
    X(GetProgramLogSize, "nvrtcGetProgramLogSize", "hiprtcGetProgramLogSize",                      \
      (void *program, size_t *bytes))                                                              \
    X(GetProgramLog, "nvrtcGetProgramLog", "hiprtcGetProgramLog", (void *program, char *log))      \
    X(DestroyProgram, "nvrtcDestroyProgram", "hiprtcDestroyProgram", (void **program))

#define XS_DECLARE(member, cuda, hip, parameters) int(*member) parameters;
#define XS_DECLARE_ONE(member, symbol, parameters) int(*member) parameters;
#define XS_DECLARE_NAME(member, symbol, parameters) const char *(*member)parameters;

enum xs_gpu_brand {
    XS_BRAND_CUDA,
    XS_BRAND_HIP
};

struct xs_gpu_driver {
    void *library;
    enum xs_gpu_brand brand;
    XS_GPU_SYMBOLS(XS_DECLARE)
    XS_GPU_OPTIONAL_SYMBOLS(XS_DECLARE)
    XS_GPU_GRAPH_SYMBOLS(XS_DECLARE)
    const char *missing; /* the first symbol for graphs that is not there; NULL: none */
    /* The functions of the other brand are NULL. */
    int (*cuda_error_name)(int result, const char **text);
    int (*cuda_error_text)(int result, const char **text);
    const char *(*hip_error_name)(int result);
    const char *(*hip_error_text)(int result);
    XS_CUDA_EDGES_SYMBOLS(XS_DECLARE_ONE)
    XS_CUDA_NAME_SYMBOLS(XS_DECLARE_ONE)
    XS_HIP_EDGES_SYMBOLS(XS_DECLARE_ONE)
    XS_HIP_NAME_SYMBOLS(XS_DECLARE_NAME)
};

struct xs_rtc {
    void *library; /* NULL: the compiler is in the driver's library */
    enum xs_gpu_brand brand;
    XS_RTC_SYMBOLS(XS_DECLARE)
};

/* Both drivers have the same values. */
enum {
    XS_GPU_SUCCESS = 0,
    XS_GPU_OUT_OF_MEMORY = 2,
    XS_GPU_NOT_INITIALIZED = 3,
    XS_GPU_STUB_LIBRARY = 34,
    XS_GPU_DRIVER_TOO_OLD = 35,
    XS_GPU_NO_DEVICE = 100,
    XS_GPU_INVALID_DEVICE = 101,
    XS_GPU_SHARED_OBJECT_INIT_FAILED = 303,
    XS_GPU_NOT_FOUND = 500,
    XS_GPU_NOT_READY = 600,
    XS_GPU_STREAM_NON_BLOCKING = 1,
    XS_GPU_EVENT_DEFAULT = 0,
    XS_GPU_EVENT_DISABLE_TIMING = 2,
    XS_GPU_CAPTURE_THREAD_LOCAL = 1
};

/* "cuda" or "hip": the device kind, with which `where` in errors starts. */
const char *xs__gpu_kind(enum xs_gpu_brand brand);

/* Find the library (see xs__dynlib_open() for `path`) and every function. The caller closes
 * ->library if it is not NULL, also after an error. */
int xs__gpu_driver_open(struct xs_gpu_driver *driver, enum xs_gpu_brand brand, const char *path,
                        struct xs_error *err);
/* Find the compiler. In older HIP runtimes it is in the library of `driver`. */
int xs__rtc_open(struct xs_rtc *rtc, const struct xs_gpu_driver *driver, const char *path,
                 struct xs_error *err);

/* XS_OK, or the text of the driver; `what` is the call, and follows "cuda." or "hip." in
 * `where`. */
int xs__gpu_status(const struct xs_gpu_driver *driver, int result, const char *what,
                   struct xs_error *err);

/* Return whether Init and DeviceGetCount return this value if there is no usable device. */
bool xs__gpu_no_device(int result);

/* Compile a source for an architecture ("sm_90", "gfx90a"). The caller frees *image. Whatever
 * else the code depends on must be in the key in gpu_modules.c. */
int xs__rtc_compile(const struct xs_rtc *rtc, const char *source, const char *architecture,
                    void **image, size_t *bytes, struct xs_error *err);

#endif
