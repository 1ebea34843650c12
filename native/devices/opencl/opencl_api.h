/* opencl_api.h - the calls of OpenCL that the opencl device makes, found at run time. A row
 * is the result, the call without "cl", and its parameters. Results and cl_int are int,
 * handles void *, cl_ulong and bit fields uint64_t. OpenCL has no texts for its errors, so a
 * table has the names of their codes. */
#ifndef XS_OPENCL_API_H
#define XS_OPENCL_API_H

#include "base/base.h"

#define XS_OPENCL_SYMBOLS(X)                                                                       \
    X(int, GetPlatformIDs, (unsigned int room, void **platforms, unsigned int *count))             \
    X(int, GetPlatformInfo,                                                                        \
      (void *platform, unsigned int what, size_t room, void *value, size_t *bytes))                \
    X(int, GetDeviceIDs,                                                                           \
      (void *platform, uint64_t types, unsigned int room, void **devices, unsigned int *count))    \
    X(int, GetDeviceInfo,                                                                          \
      (void *device, unsigned int what, size_t room, void *value, size_t *bytes))                  \
    X(void *, CreateContext,                                                                       \
      (const intptr_t *properties, unsigned int count, void *const *devices, void *callback,       \
       void *data, int *code))                                                                     \
    X(int, ReleaseContext, (void *context))                                                        \
    X(void *, CreateCommandQueue, (void *context, void *device, uint64_t properties, int *code))   \
    X(void *, CreateCommandQueueWithProperties,                                                    \
      (void *context, void *device, const uint64_t *properties, int *code))                        \
    X(int, ReleaseCommandQueue, (void *queue))                                                     \
    X(int, Flush, (void *queue))                                                                   \
    X(int, Finish, (void *queue))                                                                  \
    X(void *, CreateProgramWithSource,                                                             \
      (void *context, unsigned int count, const char **texts, const size_t *lengths, int *code))   \
    X(int, BuildProgram,                                                                           \
      (void *program, unsigned int count, void *const *devices, const char *options,               \
       void *callback, void *data))                                                                \
    X(int, GetProgramBuildInfo,                                                                    \
      (void *program, void *device, unsigned int what, size_t room, void *value, size_t *bytes))   \
    X(int, ReleaseProgram, (void *program))                                                        \
    X(void *, CreateKernel, (void *program, const char *name, int *code))                          \
    X(int, SetKernelArg, (void *kernel, unsigned int index, size_t bytes, const void *value))      \
    X(int, ReleaseKernel, (void *kernel))                                                          \
    X(void *, CreateBuffer, (void *context, uint64_t flags, size_t bytes, void *host, int *code))  \
    X(int, ReleaseMemObject, (void *buffer))                                                       \
    X(int, EnqueueFillBuffer,                                                                      \
      (void *queue, void *buffer, const void *pattern, size_t pattern_bytes, size_t offset,        \
       size_t bytes, unsigned int wait_count, void *const *wait, void **event))                    \
    X(int, EnqueueReadBuffer,                                                                      \
      (void *queue, void *buffer, unsigned int blocking, size_t offset, size_t bytes, void *to,    \
       unsigned int wait_count, void *const *wait, void **event))                                  \
    X(int, EnqueueNDRangeKernel,                                                                   \
      (void *queue, void *kernel, unsigned int axes, const size_t *offset, const size_t *items,    \
       const size_t *group, unsigned int wait_count, void *const *wait, void **event))             \
    X(int, GetEventInfo,                                                                           \
      (void *event, unsigned int what, size_t room, void *value, size_t *bytes))                   \
    X(int, RetainEvent, (void *event))                                                             \
    X(int, ReleaseEvent, (void *event))

#define XS_OPENCL_DECLARE(type, member, parameters) type(*member) parameters;

struct xs_opencl_api {
    void *library;
    XS_OPENCL_SYMBOLS(XS_OPENCL_DECLARE)
};

#define XS_CL_DEVICE_TYPE_ALL UINT64_C(0xFFFFFFFF) /* too wide for an enum */

enum {
    XS_CL_SUCCESS = 0,
    XS_CL_DEVICE_NOT_FOUND = -1,
    XS_CL_PLATFORM_NOT_FOUND_KHR = -1001,
    XS_CL_PLATFORM_NAME = 0x0902,
    XS_CL_DEVICE_TYPE = 0x1000,
    XS_CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
    XS_CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
    XS_CL_DEVICE_NAME = 0x102B,
    XS_CL_DEVICE_EXTENSIONS = 0x1030,
    XS_CL_DEVICE_TYPE_CPU = 0x2,
    XS_CL_QUEUE_PRIORITY_KHR = 0x1096,
    XS_CL_QUEUE_PRIORITY_HIGH_KHR = 0x1,
    XS_CL_QUEUE_PRIORITY_MED_KHR = 0x2,
    XS_CL_QUEUE_PRIORITY_LOW_KHR = 0x4,
    XS_CL_PROGRAM_BUILD_LOG = 0x1183,
    XS_CL_MEM_READ_WRITE = 0x1,
    XS_CL_MEM_COPY_HOST_PTR = 0x20,
    XS_CL_EVENT_COMMAND_EXECUTION_STATUS = 0x11D3,
    XS_CL_COMPLETE = 0
};

/* Find the ICD loader (see xs__dynlib_open() for `path`) and every call. */
int xs__opencl_open(struct xs_opencl_api *api, const char *path, struct xs_error *err);

/* XS_OK, XS_ENOMEM or XS_EDEVICE with the code and its name. `what` is the call, and follows
 * "opencl." in `where`. */
int xs__opencl_status(int code, const char *what, struct xs_error *err);

#endif
