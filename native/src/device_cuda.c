/* device_cuda.c - NVIDIA GPUs through libcuda and NVRTC, both found at run
 * time. The device's primary context, which the process shares with whatever
 * else uses it; non-blocking streams; marks are events without timing, polled.
 *
 * Stream priority: a queue's priority p becomes -p within the range of the
 * device (lower numbers go first there). Drivers take it as a hint, so whether
 * it has an effect is not known here (honour_priority -1). */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda_device.h"
#include "gpu_kernels.h"

/* ---- open and close ------------------------------------------------------ */

static void cuda_close(struct xs_device *dev)
{
    struct cuda *cuda = (struct cuda *)dev;
    if (cuda->setup != NULL)
        cuda->api.StreamDestroy(cuda->setup);
    if (cuda->module != NULL)
        cuda->api.ModuleUnload(cuda->module);
    if (cuda->retained)
        cuda->api.DevicePrimaryCtxRelease(cuda->device);
    if (cuda->api.library != NULL)
        dlclose(cuda->api.library);
    free(cuda);
}

static int find_device(struct cuda *cuda, int32_t index, struct xs_error *err)
{
    int count = 0;
    int result = cuda->api.Init(0);
    if (result == XS_CUDA_SUCCESS)
        result = cuda->api.DeviceGetCount(&count);
    if (xs__cuda_no_device(result) || (result == XS_CUDA_SUCCESS && index >= count))
        return xs__fail(err, XS_ENODEV, "cuda.open", result,
                        "the driver has %d devices, number %d is wanted", count, index);
    int rc = xs__cuda_status(&cuda->api, result, "cuda.init", err);
    if (rc != XS_OK)
        return rc;
    TRY(cuda, DeviceGet(&cuda->device, index), "device_get");
    TRY(cuda, DevicePrimaryCtxRetain(&cuda->context, cuda->device), "context");
    cuda->retained = true;
    TRY(cuda, CtxSetCurrent(cuda->context), "context");
    return XS_OK;
}

static int ask_device(struct cuda *cuda, char *architecture, size_t length, struct xs_error *err)
{
    int major = 0, minor = 0, processors = 0;
    TRY(cuda, DeviceGetName(cuda->name, sizeof cuda->name, cuda->device), "name");
    TRY(cuda, DeviceGetAttribute(&major, XS_CUDA_MAJOR, cuda->device), "attribute");
    TRY(cuda, DeviceGetAttribute(&minor, XS_CUDA_MINOR, cuda->device), "attribute");
    TRY(cuda, DeviceGetAttribute(&processors, XS_CUDA_MULTIPROCESSOR_COUNT, cuda->device),
        "attribute");
    TRY(cuda, CtxGetStreamPriorityRange(&cuda->least, &cuda->greatest), "priority_range");
    TRY(cuda, StreamCreateWithPriority(&cuda->setup, XS_CUDA_STREAM_NON_BLOCKING, cuda->least),
        "stream_create");
    cuda->processors = (uint32_t)processors;
    snprintf(architecture, length, "sm_%d%d", major, minor);
    return XS_OK;
}

static int load_kernels(struct cuda *cuda, const char *compiler, const char *architecture,
                        struct xs_error *err)
{
    struct xs_nvrtc_api nvrtc = {0};
    void *image = NULL;
    int rc = xs__nvrtc_api_open(&nvrtc, compiler, err);
    if (rc == XS_OK)
        rc = xs__nvrtc_compile(&nvrtc, xs__gpu_source, architecture, &image, err);
    if (rc == XS_OK)
        rc = xs__cuda_status(&cuda->api, cuda->api.ModuleLoadData(&cuda->module, image),
                             "cuda.module", err);
    free(image);
    if (nvrtc.library != NULL)
        dlclose(nvrtc.library);
    if (rc != XS_OK)
        return rc;
    TRY(cuda, ModuleGetFunction(&cuda->fill, cuda->module, "xs_fill"), "function");
    TRY(cuda, ModuleGetFunction(&cuda->matmul, cuda->module, "xs_matmul"), "function");
    TRY(cuda, ModuleGetFunction(&cuda->vector_add, cuda->module, "xs_vector_add"), "function");
    TRY(cuda, ModuleGetFunction(&cuda->spin, cuda->module, "xs_spin"), "function");
    return XS_OK;
}

static void cuda_describe(struct xs_device *dev, struct xs_device_info *out)
{
    const struct cuda *cuda = (const struct cuda *)dev;
    snprintf(out->kind, sizeof out->kind, "cuda");
    snprintf(out->name, sizeof out->name, "%s", cuda->name);
    out->computes = 1;
    out->honour_priority = -1;
}

static int cuda_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    struct cuda *cuda = (struct cuda *)dev;
    TRY(cuda, CtxSetCurrent(cuda->context), "bind_thread");
    return XS_OK;
}

/* ---- streams ------------------------------------------------------------- */

static void cuda_stream_destroy(struct xs_stream *stream)
{
    if (stream == NULL)
        return;
    const struct xs_cuda_api *api = &stream->cuda->api;
    if (stream->stream != NULL) {
        api->StreamSynchronize(stream->stream);
        api->StreamDestroy(stream->stream);
    }
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        if (stream->marks[i] != NULL)
            api->EventDestroy(stream->marks[i]);
    free(stream);
}

static int make_stream(struct xs_stream *stream, int32_t priority, struct xs_error *err)
{
    struct cuda *cuda = stream->cuda;
    int level = -priority < cuda->greatest ? cuda->greatest : -priority;
    if (level > cuda->least)
        level = cuda->least;
    TRY(cuda, StreamCreateWithPriority(&stream->stream, XS_CUDA_STREAM_NON_BLOCKING, level),
        "stream_create");
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        TRY(cuda, EventCreate(&stream->marks[i], XS_CUDA_EVENT_DISABLE_TIMING), "event_create");
    return XS_OK;
}

static int cuda_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                              struct xs_error *err)
{
    struct xs_stream *stream = *out = calloc(1, sizeof *stream);
    if (stream == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.stream_create", 0, "no memory for a stream");
    stream->cuda = (struct cuda *)dev;
    int rc = make_stream(stream, priority, err);
    if (rc != XS_OK) {
        cuda_stream_destroy(stream);
        *out = NULL;
    }
    return rc;
}

/* ---- all of opening, which makes a stream -------------------------------- */

static int calibrate(struct cuda *cuda, struct xs_error *err)
{
    const struct xs_command command = {.kind = XS_SPIN, .batch = 1, .duration_ns = 0};
    struct xs_stream *stream = NULL;
    struct xs_kernel *kernel = NULL;
    int rc = cuda_stream_create(&cuda->base, 0, &stream, err);
    if (rc == XS_OK)
        rc = xs__cuda_kernel_create(stream, &command, 0, &kernel, err);
    if (rc == XS_OK)
        rc = xs__cuda_measure_spin(cuda, kernel, err);
    cuda_stream_destroy(stream);
    xs__cuda_kernel_destroy(kernel);
    return rc;
}

static int open_device(struct cuda *cuda, const struct xs_device_options *options,
                       struct xs_error *err)
{
    char architecture[32];
    int rc = xs__cuda_api_open(&cuda->api, options->gpu.driver, err);
    if (rc == XS_OK)
        rc = find_device(cuda, options->index, err);
    if (rc == XS_OK)
        rc = ask_device(cuda, architecture, sizeof architecture, err);
    if (rc == XS_OK)
        rc = load_kernels(cuda, options->gpu.compiler, architecture, err);
    return rc == XS_OK ? calibrate(cuda, err) : rc;
}

static int cuda_open(const struct xs_device_options *options, struct xs_device **out,
                     struct xs_error *err)
{
    struct cuda *cuda = calloc(1, sizeof *cuda);
    if (cuda == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.open", 0, "no memory for the cuda device");
    int rc = open_device(cuda, options, err);
    if (rc != XS_OK) {
        cuda_close(&cuda->base);
        return rc;
    }
    *out = &cuda->base;
    return XS_OK;
}

/* ---- marks ---------------------------------------------------------------- */

static int cuda_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    TRY(stream->cuda, EventRecord(stream->marks[slot], stream->stream), "mark");
    return XS_OK;
}

static int cuda_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    int result = stream->cuda->api.EventQuery(stream->marks[slot]);
    if (result == XS_CUDA_NOT_READY)
        return XS_EAGAIN;
    return xs__cuda_status(&stream->cuda->api, result, "cuda.passed", err);
}

const struct xs_device_ops xs_device_cuda = {
    .kind = "cuda",
    .open = cuda_open,
    .describe = cuda_describe,
    .close = cuda_close,
    .bind_thread = cuda_bind_thread,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .kernel_create = xs__cuda_kernel_create,
    .kernel_destroy = xs__cuda_kernel_destroy,
    .launch = xs__cuda_launch,
    .mark = cuda_mark,
    .passed = cuda_passed,
    .checksum = xs__cuda_checksum,
    .output = xs__cuda_output,
};
