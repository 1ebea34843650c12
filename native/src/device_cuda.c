/* device_cuda.c - NVIDIA GPUs through libcuda and NVRTC, both found at run
 * time. The device's primary context, which the process shares with whatever
 * else uses it. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu_device.h"
#include "library.h"

/* Signatures as in cuda.h. */
#define XS_CUDA_SYMBOLS(X)                                                                         \
    X(DeviceGet, "cuDeviceGet", (int *device, int ordinal))                                        \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (void **context, int device))            \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                       \
    X(CtxSetCurrent, "cuCtxSetCurrent", (void *context))

enum {
    XS_CUDA_MULTIPROCESSOR_COUNT = 16,
    XS_CUDA_MAJOR = 75,
    XS_CUDA_MINOR = 76
};

#define DECLARE(member, symbol, parameters) int(*member) parameters;
#define ROW(member, symbol, parameters) {symbol, (void **)&cuda->member},

struct cuda {
    struct xs_gpu gpu;
    XS_CUDA_SYMBOLS(DECLARE)
    void *context;
    bool retained;
};

/* As TRY, for the calls of this file. */
#define TRY_CUDA(cuda, call, what)                                                                 \
    do {                                                                                           \
        int try_rc = xs__gpu_status(&(cuda)->gpu.driver, (cuda)->call, what, err);                 \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

static int cuda_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    struct cuda *cuda = (struct cuda *)dev;
    TRY_CUDA(cuda, CtxSetCurrent(cuda->context), "bind_thread");
    return XS_OK;
}

static void cuda_close(struct xs_device *dev)
{
    struct cuda *cuda = (struct cuda *)dev;
    if (cuda->retained) {
        cuda_bind_thread(dev, NULL); /* whichever thread closes */
        xs__gpu_release(&cuda->gpu);
        cuda->DevicePrimaryCtxRelease(cuda->gpu.device);
    }
    if (cuda->gpu.driver.library != NULL)
        dlclose(cuda->gpu.driver.library);
    free(cuda);
}

static int find_device(struct cuda *cuda, const struct xs_device_options *options,
                       struct xs_error *err)
{
    const struct xs_symbol rows[] = {XS_CUDA_SYMBOLS(ROW)};
    int rc = xs__gpu_find(&cuda->gpu, XS_BRAND_CUDA, options, err);
    if (rc == XS_OK)
        rc = xs__library_symbols(cuda->gpu.driver.library, rows, sizeof rows / sizeof rows[0],
                                 "cuda.open", err);
    if (rc != XS_OK)
        return rc;
    TRY_CUDA(cuda, DeviceGet(&cuda->gpu.device, options->index), "device_get");
    return XS_OK;
}

/* The library stays open: it is opened again next, and need not start twice. */
static int cuda_locate(const struct xs_device_options *options, struct xs_device_place *out,
                       struct xs_error *err)
{
    struct cuda cuda = {0};
    int rc = find_device(&cuda, options, err);
    return rc == XS_OK ? xs__gpu_locate(&cuda.gpu, out, err) : rc;
}

static int take_context(struct cuda *cuda, struct xs_error *err)
{
    TRY_CUDA(cuda, DevicePrimaryCtxRetain(&cuda->context, cuda->gpu.device), "context");
    cuda->retained = true;
    return cuda_bind_thread(&cuda->gpu.base, err);
}

static int ask_device(struct xs_gpu *gpu, struct xs_error *err)
{
    int major = 0, minor = 0, processors = 0;
    TRY(gpu, DeviceGetName(gpu->name, sizeof gpu->name, gpu->device), "name");
    TRY(gpu, DeviceGetAttribute(&major, XS_CUDA_MAJOR, gpu->device), "attribute");
    TRY(gpu, DeviceGetAttribute(&minor, XS_CUDA_MINOR, gpu->device), "attribute");
    TRY(gpu, DeviceGetAttribute(&processors, XS_CUDA_MULTIPROCESSOR_COUNT, gpu->device),
        "attribute");
    gpu->processors = (uint32_t)processors;
    snprintf(gpu->architecture, sizeof gpu->architecture, "sm_%d%d", major, minor);
    return XS_OK;
}

static int cuda_open(const struct xs_device_options *options, struct xs_device **out,
                     struct xs_error *err)
{
    struct cuda *cuda = calloc(1, sizeof *cuda);
    if (cuda == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.open", 0, "no memory for the cuda device");
    int rc = find_device(cuda, options, err);
    if (rc == XS_OK)
        rc = take_context(cuda, err);
    if (rc == XS_OK)
        rc = ask_device(&cuda->gpu, err);
    if (rc == XS_OK)
        rc = xs__gpu_prepare(&cuda->gpu, options->gpu.compiler, err);
    if (rc != XS_OK) {
        cuda_close(&cuda->gpu.base);
        return rc;
    }
    *out = &cuda->gpu.base;
    return XS_OK;
}

const struct xs_device_ops xs_device_cuda = {
    .kind = "cuda",
    .locate = cuda_locate,
    .open = cuda_open,
    .close = cuda_close,
    .bind_thread = cuda_bind_thread,
    XS_GPU_OPS,
};
