/* device_cuda.c - NVIDIA GPUs through libcuda and NVRTC, both found at run time. It uses the
 * primary context of the device, which all CUDA code in the process shares. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/dynlib.h"
#include "devices/gpu/gpu_device.h"

/* Signatures as in cuda.h. */
#define XS_CUDA_SYMBOLS(X)                                                                         \
    X(DeviceGet, "cuDeviceGet", (int *device, int ordinal))                                        \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (void **context, int device))            \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                       \
    X(CtxSetCurrent, "cuCtxSetCurrent", (void *context))

/* Green contexts, from driver 550 on: each has multiprocessors of its own. */
#define XS_GREEN_SYMBOLS(X)                                                                        \
    X(DeviceGetDevResource, "cuDeviceGetDevResource",                                              \
      (int device, struct resource *resource, int type))                                           \
    X(DevSmResourceSplitByCount, "cuDevSmResourceSplitByCount",                                    \
      (struct resource * groups, unsigned int *group_count, const struct resource *whole,          \
       struct resource *remaining, unsigned int flags, unsigned int least))                        \
    X(DevResourceGenerateDesc, "cuDevResourceGenerateDesc",                                        \
      (void **description, struct resource *resources, unsigned int count))                        \
    X(GreenCtxCreate, "cuGreenCtxCreate",                                                          \
      (void **context, void *description, int device, unsigned int flags))                         \
    X(GreenCtxDestroy, "cuGreenCtxDestroy", (void *context))                                       \
    X(GreenCtxStreamCreate, "cuGreenCtxStreamCreate",                                              \
      (void **stream, void *context, unsigned int flags, int priority))

/* CUdevResource */
struct resource {
    int type;
    unsigned char padding[92];
    unsigned int count, least, step; /* multiprocessors */
    unsigned char more[36];
};

enum {
    XS_CUDA_RESOURCE_SM = 1,
    XS_CUDA_GREEN_DEFAULT_STREAM = 1,
    XS_CUDA_MULTIPROCESSOR_COUNT = 16,
    XS_CUDA_MAJOR = 75,
    XS_CUDA_MINOR = 76
};

#define DECLARE(member, symbol, parameters) int(*member) parameters;
#define ROW(member, symbol, parameters) {symbol, (void **)&cuda->member},

struct cuda {
    struct xs_gpu gpu;
    XS_CUDA_SYMBOLS(DECLARE)
    XS_GREEN_SYMBOLS(DECLARE)
    void *context;
    bool retained;
    struct resource *groups; /* groups of gpu.unit_step multiprocessors; NULL: unavailable */
};

/* Like TRY, for the calls of this file. */
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
        cuda_bind_thread(dev, NULL); /* any thread may close the device */
        xs__gpu_release(&cuda->gpu);
        cuda->DevicePrimaryCtxRelease(cuda->gpu.device);
    }
    if (cuda->gpu.driver.library != NULL)
        dlclose(cuda->gpu.driver.library);
    free(cuda->groups);
    free(cuda);
}

/* ---- streams on some of the multiprocessors ------------------------------- */

static int create_bound_stream(struct xs_stream *stream, int level, const uint32_t *units,
                               uint32_t words, struct xs_error *err)
{
    struct cuda *cuda = (struct cuda *)stream->gpu;
    struct resource *taken = calloc(cuda->gpu.units, sizeof *taken);
    void *description = NULL;
    unsigned int count = 0;
    if (taken == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.stream_create", 0, "no memory for a green context");
    for (uint32_t i = 0; i < 32 * words && i < cuda->gpu.units; i += cuda->gpu.unit_step)
        if (units[i / 32] >> i % 32 & 1)
            taken[count++] = cuda->groups[i / cuda->gpu.unit_step];
    int result = cuda->DevResourceGenerateDesc(&description, taken, count);
    free(taken);
    int rc = xs__gpu_status(&cuda->gpu.driver, result, "green_description", err);
    if (rc != XS_OK)
        return rc;
    TRY_CUDA(cuda,
             GreenCtxCreate(&stream->partition, description, cuda->gpu.device,
                            XS_CUDA_GREEN_DEFAULT_STREAM),
             "green_context");
    TRY_CUDA(
        cuda,
        GreenCtxStreamCreate(&stream->stream, stream->partition, XS_GPU_STREAM_NON_BLOCKING, level),
        "green_stream");
    return XS_OK;
}

static void destroy_partition(struct xs_stream *stream)
{
    ((struct cuda *)stream->gpu)->GreenCtxDestroy(stream->partition);
}

/* Split the device into the smallest groups. A driver that cannot do so is no error here, but
 * only where a stream needs such a group. */
static void find_groups(struct cuda *cuda)
{
    const struct xs_symbol rows[] = {XS_GREEN_SYMBOLS(ROW)};
    struct resource whole = {0}, remaining;
    unsigned int count = 0;
    if (!xs__dynlib_optional(cuda->gpu.driver.library, rows, sizeof rows / sizeof rows[0]) ||
        cuda->DeviceGetDevResource(cuda->gpu.device, &whole, XS_CUDA_RESOURCE_SM) != 0 ||
        cuda->DevSmResourceSplitByCount(NULL, &count, &whole, NULL, 0, 1) != 0 || count == 0)
        return;
    cuda->groups = calloc(count, sizeof *cuda->groups);
    if (cuda->groups == NULL ||
        cuda->DevSmResourceSplitByCount(cuda->groups, &count, &whole, &remaining, 0, 1) != 0)
        return;
    cuda->gpu.unit_step = cuda->groups[0].count;
    cuda->gpu.units = count * cuda->groups[0].count;
    cuda->gpu.create_bound_stream = create_bound_stream;
    cuda->gpu.destroy_partition = destroy_partition;
}

/* ---- open ------------------------------------------------------------------ */

static int find_device(struct cuda *cuda, const struct xs_device_options *options,
                       struct xs_error *err)
{
    const struct xs_symbol rows[] = {XS_CUDA_SYMBOLS(ROW)};
    int rc = xs__gpu_find(&cuda->gpu, XS_BRAND_CUDA, options, err);
    if (rc == XS_OK)
        rc = xs__dynlib_symbols(cuda->gpu.driver.library, rows, sizeof rows / sizeof rows[0],
                                "cuda.open", err);
    if (rc != XS_OK)
        return rc;
    TRY_CUDA(cuda, DeviceGet(&cuda->gpu.device, options->index), "device_get");
    return XS_OK;
}

/* The library stays open, because the device is opened next and must not load it again. */
static int cuda_locate(const struct xs_device_options *options, struct xs_device_place *out,
                       struct xs_error *err)
{
    struct cuda cuda = {0};
    int rc = find_device(&cuda, options, err);
    return rc == XS_OK ? xs__gpu_locate(&cuda.gpu, out, err) : rc;
}

static int retain_context(struct cuda *cuda, struct xs_error *err)
{
    TRY_CUDA(cuda, DevicePrimaryCtxRetain(&cuda->context, cuda->gpu.device), "context");
    cuda->retained = true;
    return cuda_bind_thread(&cuda->gpu.base, err);
}

static int read_properties(struct xs_gpu *gpu, struct xs_error *err)
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
        rc = retain_context(cuda, err);
    if (rc == XS_OK)
        rc = read_properties(&cuda->gpu, err);
    if (rc == XS_OK)
        find_groups(cuda);
    if (rc == XS_OK)
        rc = xs__gpu_prepare(&cuda->gpu, &options->gpu, err);
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
