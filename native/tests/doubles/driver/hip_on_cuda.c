/* hip_on_cuda.c - a libamdhip64 with hiprtc inside that calls libcuda and NVRTC, so that the
 * hip device works on an NVIDIA GPU, or on fake_cuda.c. It has only the functions that the
 * hip device and XSched's library for HIP need, with the types of HIP's headers. Error codes
 * are nearly the same in both and pass unchanged. XS_TEST_CUDA_DRIVER and
 * XS_TEST_CUDA_COMPILER name the libraries that it calls; the default are the installed ones.
 * Built with -DXS_OLD_LAYOUT it is like HIP 5: the properties have the old layout. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *handle;

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NO_DEVICE = 100,
    HIP_MULTIPROCESSOR_COUNT = 63,
    CUDA_MULTIPROCESSOR_COUNT = 16,
    CUDA_MAJOR = 75,
    CUDA_MINOR = 76,
    DEVICES_MAX = 64
};

/* ---- calls that are the same but for the name ------------------------------- */

/* HIP's name, libcuda's, parameters, their names. */
#define SAME(X)                                                                                    \
    X(hipInit, "cuInit", (unsigned flags), (flags))                                                \
    X(hipRuntimeGetVersion, "cuDriverGetVersion", (int *version), (version))                       \
    X(hipGetDeviceCount, "cuDeviceGetCount", (int *count), (count))                                \
    X(hipDeviceGetName, "cuDeviceGetName", (char *name, int length, int device),                   \
      (name, length, device))                                                                      \
    X(hipDeviceGetPCIBusId, "cuDeviceGetPCIBusId", (char *id, int length, int device),             \
      (id, length, device))                                                                        \
    X(hipDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *bytes, int device), (bytes, device))      \
    X(hipCtxGetCurrent, "cuCtxGetCurrent", (handle * context), (context))                          \
    X(hipCtxSetCurrent, "cuCtxSetCurrent", (handle context), (context))                            \
    X(hipDeviceGetUuid, "cuDeviceGetUuid_v2", (void *uuid, int device), (uuid, device))            \
    X(hipStreamDestroy, "cuStreamDestroy_v2", (handle stream), (stream))                           \
    X(hipStreamSynchronize, "cuStreamSynchronize", (handle stream), (stream))                      \
    X(hipEventCreateWithFlags, "cuEventCreate", (handle * event, unsigned flags), (event, flags))  \
    X(hipEventDestroy, "cuEventDestroy_v2", (handle event), (event))                               \
    X(hipEventRecord, "cuEventRecord", (handle event, handle stream), (event, stream))             \
    X(hipEventQuery, "cuEventQuery", (handle event), (event))                                      \
    X(hipMalloc, "cuMemAlloc_v2", (void **pointer, size_t bytes), (pointer, bytes))                \
    X(hipFree, "cuMemFree_v2", (void *pointer), (pointer))                                         \
    X(hipMemsetD8Async, "cuMemsetD8Async",                                                         \
      (void *to, unsigned char value, size_t count, handle stream), (to, value, count, stream))    \
    X(hipMemcpyDtoH, "cuMemcpyDtoH_v2", (void *to, void *from, size_t bytes), (to, from, bytes))   \
    X(hipModuleLoadData, "cuModuleLoadData", (handle * module, const void *image),                 \
      (module, image))                                                                             \
    X(hipModuleUnload, "cuModuleUnload", (handle module), (module))                                \
    X(hipModuleGetFunction, "cuModuleGetFunction",                                                 \
      (handle * function, handle module, const char *name), (function, module, name))              \
    X(hipModuleLaunchKernel, "cuLaunchKernel",                                                     \
      (handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,           \
       unsigned bz, unsigned shared, handle stream, void **parameters, void **extra),              \
      (function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra))

#define SAME_GRAPHS(X)                                                                             \
    X(hipStreamWaitEvent, "cuStreamWaitEvent", (handle stream, handle event, unsigned flags),      \
      (stream, event, flags))                                                                      \
    X(hipStreamBeginCapture, "cuStreamBeginCapture_v2", (handle stream, int mode), (stream, mode)) \
    X(hipStreamEndCapture, "cuStreamEndCapture", (handle stream, handle * graph), (stream, graph)) \
    X(hipEventElapsedTime, "cuEventElapsedTime", (float *ms, handle from, handle to),              \
      (ms, from, to))                                                                              \
    X(hipGraphGetNodes, "cuGraphGetNodes", (handle graph, handle * nodes, size_t *count),          \
      (graph, nodes, count))                                                                       \
    X(hipGraphNodeGetType, "cuGraphNodeGetType", (handle node, int *type), (node, type))           \
    X(hipGraphChildGraphNodeGetGraph, "cuGraphChildGraphNodeGetGraph",                             \
      (handle node, handle * graph), (node, graph))                                                \
    X(hipGraphClone, "cuGraphClone", (handle * clone, handle graph), (clone, graph))               \
    X(hipGraphNodeFindInClone, "cuGraphNodeFindInClone",                                           \
      (handle * node, handle original, handle clone), (node, original, clone))                     \
    X(hipGraphDestroyNode, "cuGraphDestroyNode", (handle node), (node))                            \
    X(hipGraphDestroy, "cuGraphDestroy", (handle graph), (graph))                                  \
    X(hipGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags",                                 \
      (handle * exec, handle graph, unsigned long long flags), (exec, graph, flags))               \
    X(hipGraphExecDestroy, "cuGraphExecDestroy", (handle exec), (exec))                            \
    X(hipGraphLaunch, "cuGraphLaunch", (handle exec, handle stream), (exec, stream))

#define SAME_RTC(X)                                                                                \
    X(hiprtcVersion, "nvrtcVersion", (int *major, int *minor), (major, minor))                     \
    X(hiprtcCreateProgram, "nvrtcCreateProgram",                                                   \
      (handle * program, const char *source, const char *name, int count, const char **headers,    \
       const char **names),                                                                        \
      (program, source, name, count, headers, names))                                              \
    X(hiprtcGetCodeSize, "nvrtcGetCUBINSize", (handle program, size_t *bytes), (program, bytes))   \
    X(hiprtcGetCode, "nvrtcGetCUBIN", (handle program, char *code), (program, code))               \
    X(hiprtcGetProgramLogSize, "nvrtcGetProgramLogSize", (handle program, size_t *bytes),          \
      (program, bytes))                                                                            \
    X(hiprtcGetProgramLog, "nvrtcGetProgramLog", (handle program, char *log), (program, log))      \
    X(hiprtcDestroyProgram, "nvrtcDestroyProgram", (handle * program), (program))

#define DECLARE(hip, cuda, parameters, names) static int(*to_##hip) parameters;
#define FORWARD(hip, cuda, parameters, names)                                                      \
    int hip parameters                                                                             \
    {                                                                                              \
        return to_##hip != NULL ? to_##hip names : NO_DEVICE;                                      \
    }

SAME(DECLARE)
SAME_GRAPHS(DECLARE)
SAME_RTC(DECLARE)
SAME(FORWARD)
SAME_GRAPHS(FORWARD)
SAME_RTC(FORWARD)

/* ---- calls that differ ------------------------------------------------------- */

/* What these calls need of libcuda and NVRTC. */
#define OTHERS(X)                                                                                  \
    X(DeviceGet, "cuDeviceGet", (int *device, int ordinal), )                                      \
    X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, int device), )       \
    X(CtxRetain, "cuDevicePrimaryCtxRetain", (handle * context, int device), )                     \
    X(CtxSetCurrent, "cuCtxSetCurrent", (handle context), )                                        \
    X(PriorityRange, "cuCtxGetStreamPriorityRange", (int *least, int *greatest), )                 \
    X(StreamCreate, "cuStreamCreateWithPriority",                                                  \
      (handle * stream, unsigned flags, int priority), )                                           \
    X(GraphGetEdges, "cuGraphGetEdges_v2",                                                         \
      (handle graph, handle * from, handle * to, void *data, size_t *count), )                     \
    X(KernelNode, "cuGraphKernelNodeGetParams_v2", (handle node, void *parameters), )              \
    X(FunctionName, "cuFuncGetName", (const char **name, handle function), )                       \
    X(KernelName, "cuKernelGetName", (const char **name, handle kernel), )                         \
    X(ErrorName, "cuGetErrorName", (int error, const char **text), )                               \
    X(ErrorString, "cuGetErrorString", (int error, const char **text), )

OTHERS(DECLARE)
static int (*to_compile)(handle program, int count, const char *const *options);

static handle contexts[DEVICES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *library(const char *variable, const char *const *names)
{
    const char *path = getenv(variable);
    if (path != NULL && path[0] == '\0')
        path = NULL;
    void *found = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
    for (; path == NULL && found == NULL && *names != NULL; names++)
        found = dlopen(*names, RTLD_NOW);
    return found;
}

#define FIND(hip, cuda, parameters, names) *(void **)&to_##hip = dlsym(from, cuda);

__attribute__((constructor)) static void find(void)
{
    static const char *const drivers[] = {"libcuda.so.1", NULL};
    static const char *const compilers[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                            "/usr/local/cuda/lib64/libnvrtc.so", NULL};
    void *from = library("XS_TEST_CUDA_DRIVER", drivers);
    if (from == NULL) /* the calls report that there is no device */
        return;
    SAME(FIND)
    SAME_GRAPHS(FIND)
    OTHERS(FIND)
    from = library("XS_TEST_CUDA_COMPILER", compilers);
    if (from == NULL)
        return;
    SAME_RTC(FIND)
    *(void **)&to_compile = dlsym(from, "nvrtcCompileProgram");
}

/* HIP has no contexts: a device is made current. */
int hipSetDevice(int device)
{
    int cuda_device, result = SUCCESS;
    if (device < 0 || device >= DEVICES_MAX)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (contexts[device] == NULL)
        result = to_DeviceGet(&cuda_device, device);
    if (result == SUCCESS && contexts[device] == NULL)
        result = to_CtxRetain(&contexts[device], cuda_device);
    pthread_mutex_unlock(&lock);
    return result == SUCCESS ? to_CtxSetCurrent(contexts[device]) : result;
}

int hipDeviceGetAttribute(int *value, int attribute, int device)
{
    return attribute == HIP_MULTIPROCESSOR_COUNT
               ? to_DeviceGetAttribute(value, CUDA_MULTIPROCESSOR_COUNT, device)
               : INVALID_VALUE;
}

/* An architecture that names the GPU used: sm_90 becomes gfx90 with two features, which the
 * compiler must get, too. */
#define FEATURES ":sramecc+:xnack-"

#ifdef XS_OLD_LAYOUT
#define PROPERTIES hipGetDeviceProperties
enum {
    ARCHITECTURE = 396
};
#else
#define PROPERTIES hipGetDevicePropertiesR0600
enum {
    ARCHITECTURE = 1160
};
#endif

int PROPERTIES(void *properties, int device)
{
    int major, minor;
    int result = to_DeviceGetAttribute(&major, CUDA_MAJOR, device);
    if (result == SUCCESS)
        result = to_DeviceGetAttribute(&minor, CUDA_MINOR, device);
    if (result == SUCCESS)
        snprintf((char *)properties + ARCHITECTURE, 256, "gfx%d%d" FEATURES, major, minor);
    return result;
}

int hiprtcCompileProgram(handle program, int count, const char **options)
{
    static const char prefix[] = "--offload-arch=gfx";
    char option[128];
    const char *translated[] = {option};
    const char *features = count == 1 ? strstr(options[0], FEATURES) : NULL;
    if (features == NULL || strncmp(options[0], prefix, strlen(prefix)) != 0)
        return INVALID_VALUE;
    const char *number = options[0] + strlen(prefix);
    snprintf(option, sizeof option, "--gpu-architecture=sm_%.*s", (int)(features - number), number);
    return to_compile != NULL ? to_compile(program, 1, translated) : NO_DEVICE;
}

/* HIP has three levels, from 1 to -1; lower numbers go first in both APIs. */
int hipDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    int result = to_PriorityRange(least, greatest);
    *least = 1;
    *greatest = -1;
    return result;
}

int hipStreamCreateWithPriority(handle *stream, unsigned flags, int priority)
{
    int least, greatest;
    int result = to_PriorityRange(&least, &greatest);
    if (result != SUCCESS)
        return result;
    int level = priority > 0 ? least : priority < 0 ? greatest : (least + greatest) / 2;
    return to_StreamCreate(stream, flags, level);
}

/* The mask is checked, and has no effect. */
int hipExtStreamCreateWithCUMask(handle *stream, uint32_t words, const uint32_t *mask)
{
    uint32_t any = 0;
    for (uint32_t i = 0; i < words; i++)
        any |= mask[i];
    return any != 0 ? hipStreamCreateWithPriority(stream, 1, 0) : INVALID_VALUE;
}

/* HIP has no data of edges. */
int hipGraphGetEdges(handle graph, handle *from, handle *to, size_t *count)
{
    void *data = from != NULL ? calloc(*count + 1, 8) : NULL;
    int result = to_GraphGetEdges(graph, from, to, data, count);
    free(data);
    return result;
}

struct cuda_kernel_node {
    handle function;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
    handle kernel, context;
};

struct hip_kernel_node {
    uint32_t block[3];
    void **extra;
    handle function;
    uint32_t grid[3];
    void **parameters;
    unsigned shared;
};

/* A CUkernel passes as a function of the program. This is the last one that was read. */
static _Atomic(handle) static_function;

int hipGraphKernelNodeGetParams(handle node, struct hip_kernel_node *out)
{
    struct cuda_kernel_node k = {0};
    int result = to_KernelNode(node, &k);
    if (result != SUCCESS)
        return result;
    static_function = k.function == NULL ? k.kernel : NULL;
    *out = (struct hip_kernel_node){.function = k.function != NULL ? k.function : k.kernel,
                                    .parameters = k.parameters,
                                    .extra = k.extra,
                                    .shared = k.shared};
    memcpy(out->grid, k.grid, sizeof out->grid);
    memcpy(out->block, k.block, sizeof out->block);
    return SUCCESS;
}

const char *hipKernelNameRefByPtr(handle function, handle stream)
{
    const char *name = NULL;
    (void)stream;
    if (function == static_function && to_KernelName != NULL)
        to_KernelName(&name, function);
    return name;
}

const char *hipKernelNameRef(handle function)
{
    const char *name = NULL;
    if (to_FunctionName != NULL)
        to_FunctionName(&name, function);
    return name;
}

const char *hipGetErrorName(int error)
{
    const char *text = NULL;
    if (to_ErrorName != NULL)
        to_ErrorName(error, &text);
    return text != NULL ? text : "hipErrorUnknown";
}

const char *hipGetErrorString(int error)
{
    const char *text = NULL;
    if (to_ErrorString != NULL)
        to_ErrorString(error, &text);
    return text != NULL ? text : "unknown error";
}
