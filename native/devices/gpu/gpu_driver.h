/* gpu_driver.h - the calls that NVIDIA's and AMD's drivers have in common, under
 * one set of names: the two differ in little but the prefix. A row is the
 * member, its symbol in libcuda, its symbol in libamdhip64 and its parameters;
 * results are int, handles void *, device memory uint64_t (a pointer in HIP,
 * which is passed alike). Where libcuda has an old and a new form, the name
 * with _v2 is the new one. What only one of the two has is in its device_*.c. */
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

/* What older drivers lack: NULL there. */
#define XS_GPU_OPTIONAL_SYMBOLS(X)                                                                 \
    X(DeviceGetUuid, "cuDeviceGetUuid_v2", "hipDeviceGetUuid", (void *uuid, int device))

/* The compilers, NVRTC and hiprtc. */
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

enum xs_gpu_brand {
    XS_BRAND_CUDA,
    XS_BRAND_HIP
};

struct xs_gpu_driver {
    void *library;
    enum xs_gpu_brand brand;
    XS_GPU_SYMBOLS(XS_DECLARE)
    XS_GPU_OPTIONAL_SYMBOLS(XS_DECLARE)
    /* Of the brand, the others are NULL. */
    int (*cuda_error_name)(int result, const char **text);
    int (*cuda_error_text)(int result, const char **text);
    const char *(*hip_error_name)(int result);
    const char *(*hip_error_text)(int result);
};

struct xs_rtc {
    void *library; /* NULL: the driver's own */
    enum xs_gpu_brand brand;
    XS_RTC_SYMBOLS(XS_DECLARE)
};

/* Equal in both drivers. */
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
    XS_GPU_EVENT_DISABLE_TIMING = 2
};

/* "cuda" or "hip": the device kind, and the start of `where` in errors. */
const char *xs__gpu_kind(enum xs_gpu_brand brand);

/* Find the library (see xs__dynlib_open() for `path`) and every function. The
 * caller closes ->library, also after an error, if it is not NULL. */
int xs__gpu_driver_open(struct xs_gpu_driver *driver, enum xs_gpu_brand brand, const char *path,
                        struct xs_error *err);
/* `driver` may hold the compiler too, as older HIP runtimes do. */
int xs__rtc_open(struct xs_rtc *rtc, const struct xs_gpu_driver *driver, const char *path,
                 struct xs_error *err);

/* XS_OK, or the driver's own words; `what` is the call, behind "cuda." or "hip.". */
int xs__gpu_status(const struct xs_gpu_driver *driver, int result, const char *what,
                   struct xs_error *err);

/* What Init and DeviceGetCount answer where there is no device to use. */
bool xs__gpu_no_device(int result);

/* Compile source for an architecture ("sm_90", "gfx90a"); the caller frees *image.
 * What else the code may come to depend on belongs into the key in gpu_modules.c. */
int xs__rtc_compile(const struct xs_rtc *rtc, const char *source, const char *architecture,
                    void **image, size_t *bytes, struct xs_error *err);

#endif
