/* cuda_api.h - the part of libcuda and NVRTC that device_cuda.c uses: one list
 * makes the declarations, the look-up and the report of a missing symbol.
 * Signatures as in cuda.h and nvrtc.h; handles are void *, results int. Where
 * libcuda has an old and a new form, the name with _v2 is the new one. */
#ifndef XS_CUDA_API_H
#define XS_CUDA_API_H

#include "base.h"

#define XS_CUDA_SYMBOLS(X)                                                                         \
    X(Init, "cuInit", (unsigned int flags))                                                        \
    X(DeviceGetCount, "cuDeviceGetCount", (int *count))                                            \
    X(DeviceGet, "cuDeviceGet", (int *device, int ordinal))                                        \
    X(DeviceGetName, "cuDeviceGetName", (char *name, int length, int device))                      \
    X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))         \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (void **context, int device))            \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                       \
    X(CtxSetCurrent, "cuCtxSetCurrent", (void *context))                                           \
    X(CtxGetStreamPriorityRange, "cuCtxGetStreamPriorityRange", (int *least, int *greatest))       \
    X(StreamCreateWithPriority, "cuStreamCreateWithPriority",                                      \
      (void **stream, unsigned int flags, int priority))                                           \
    X(StreamDestroy, "cuStreamDestroy_v2", (void *stream))                                         \
    X(StreamSynchronize, "cuStreamSynchronize", (void *stream))                                    \
    X(EventCreate, "cuEventCreate", (void **event, unsigned int flags))                            \
    X(EventDestroy, "cuEventDestroy_v2", (void *event))                                            \
    X(EventRecord, "cuEventRecord", (void *event, void *stream))                                   \
    X(EventQuery, "cuEventQuery", (void *event))                                                   \
    X(MemAlloc, "cuMemAlloc_v2", (uint64_t *pointer, size_t bytes))                                \
    X(MemFree, "cuMemFree_v2", (uint64_t pointer))                                                 \
    X(MemsetD8Async, "cuMemsetD8Async",                                                            \
      (uint64_t pointer, unsigned char value, size_t count, void *stream))                         \
    X(MemcpyDtoH, "cuMemcpyDtoH_v2", (void *to, uint64_t from, size_t bytes))                      \
    X(ModuleLoadData, "cuModuleLoadData", (void **module, const void *image))                      \
    X(ModuleUnload, "cuModuleUnload", (void *module))                                              \
    X(ModuleGetFunction, "cuModuleGetFunction", (void **function, void *module, const char *name)) \
    X(LaunchKernel, "cuLaunchKernel",                                                              \
      (void *function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,              \
       unsigned int block_x, unsigned int block_y, unsigned int block_z,                           \
       unsigned int shared_bytes, void *stream, void **parameters, void **extra))                  \
    X(GetErrorName, "cuGetErrorName", (int error, const char **text))                              \
    X(GetErrorString, "cuGetErrorString", (int error, const char **text))

#define XS_NVRTC_SYMBOLS(X)                                                                        \
    X(CreateProgram, "nvrtcCreateProgram",                                                         \
      (void **program, const char *source, const char *name, int header_count,                     \
       const char *const *headers, const char *const *include_names))                              \
    X(CompileProgram, "nvrtcCompileProgram",                                                       \
      (void *program, int option_count, const char *const *options))                               \
    X(GetCUBINSize, "nvrtcGetCUBINSize", (void *program, size_t *bytes))                           \
    X(GetCUBIN, "nvrtcGetCUBIN", (void *program, char *image))                                     \
    X(GetProgramLogSize, "nvrtcGetProgramLogSize", (void *program, size_t *bytes))                 \
    X(GetProgramLog, "nvrtcGetProgramLog", (void *program, char *log))                             \
    X(DestroyProgram, "nvrtcDestroyProgram", (void **program))

#define XS_DECLARE(member, name, arguments) int(*member) arguments;

struct xs_cuda_api {
    void *library;
    XS_CUDA_SYMBOLS(XS_DECLARE)
};

struct xs_nvrtc_api {
    void *library;
    XS_NVRTC_SYMBOLS(XS_DECLARE)
};

enum {
    XS_CUDA_SUCCESS = 0,
    XS_CUDA_OUT_OF_MEMORY = 2,
    XS_CUDA_NOT_INITIALIZED = 3,
    XS_CUDA_STUB_LIBRARY = 34,
    XS_CUDA_DRIVER_TOO_OLD = 35,
    XS_CUDA_NO_DEVICE = 100,
    XS_CUDA_INVALID_DEVICE = 101,
    XS_CUDA_SHARED_OBJECT_INIT_FAILED = 303,
    XS_CUDA_NOT_READY = 600,
    XS_CUDA_STREAM_NON_BLOCKING = 1,
    XS_CUDA_EVENT_DISABLE_TIMING = 2,
    XS_CUDA_MULTIPROCESSOR_COUNT = 16,
    XS_CUDA_MAJOR = 75,
    XS_CUDA_MINOR = 76
};

/* `path`: see xs__library_open(). The caller closes api->library, also after an
 * error, if it is not NULL. */
int xs__cuda_api_open(struct xs_cuda_api *api, const char *path, struct xs_error *err);
int xs__nvrtc_api_open(struct xs_nvrtc_api *api, const char *path, struct xs_error *err);

/* XS_OK, or the driver's own words behind the call's. */
int xs__cuda_status(const struct xs_cuda_api *api, int result, const char *where,
                    struct xs_error *err);

/* What cuInit and cuDeviceGetCount answer where there is no device to use. */
int xs__cuda_no_device(int result);

/* Compile source for an architecture ("sm_90"); the caller frees *image. */
int xs__nvrtc_compile(const struct xs_nvrtc_api *api, const char *source, const char *architecture,
                      void **image, struct xs_error *err);

#endif
