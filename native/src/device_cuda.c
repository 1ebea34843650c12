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

#include "clock.h"
#include "cuda_api.h"
#include "device.h"
#include "gpu_kernels.h"

struct cuda {
    struct xs_device base;
    struct xs_cuda_api api;
    int device; /* CUdevice */
    bool retained;
    void *context, *module;
    void *fill, *matmul, *vector_add, *spin; /* functions of the module */
    int least, greatest;                     /* stream priorities */
    uint32_t processors;
    double iterations_per_ns; /* of xs_spin */
    char name[96];
};

struct xs_stream {
    struct cuda *cuda;
    void *stream;
    void *marks[XS_THRESHOLD_MAX]; /* events */
};

struct xs_kernel {
    struct cuda *cuda;
    struct xs_stream *stream; /* gone before the kernel is */
    struct xs_command command;
    uint64_t items;
    uint64_t a, b, out, checksum; /* device memory */
    uint64_t iterations;
};

#define TRY(cuda, call, where)                                                                     \
    do {                                                                                           \
        int try_rc = xs__cuda_status(&(cuda)->api, (cuda)->api.call, "cuda." where, err);          \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

/* ---- open and close ------------------------------------------------------ */

static void cuda_close(struct xs_device *dev)
{
    struct cuda *cuda = (struct cuda *)dev;
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

static int calibrate(struct cuda *cuda, struct xs_error *err);

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

/* ---- kernels ------------------------------------------------------------- */

static void cuda_kernel_destroy(struct xs_kernel *kernel)
{
    if (kernel == NULL)
        return;
    const uint64_t memory[] = {kernel->a, kernel->b, kernel->out, kernel->checksum};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i] != 0)
            kernel->cuda->api.MemFree(memory[i]);
    free(kernel);
}

static int fill(struct xs_kernel *k, uint64_t to, uint32_t seed, uint32_t which,
                struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    void *parameters[] = {&to, &k->items, &seed, &which};
    uint32_t blocks = (uint32_t)((k->items + XS_GPU_BLOCK - 1) / XS_GPU_BLOCK);
    TRY(cuda,
        LaunchKernel(cuda->fill, blocks, 1, 1, XS_GPU_BLOCK, 1, 1, 0, k->stream->stream, parameters,
                     NULL),
        "fill");
    return XS_OK;
}

static int make_kernel(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    uint64_t bytes = k->items * sizeof(float);
    TRY(cuda, MemAlloc(&k->checksum, sizeof(int64_t)), "kernel_create");
    TRY(cuda, MemsetD8Async(k->checksum, 0, sizeof(int64_t), k->stream->stream), "kernel_create");
    if (bytes > 0) {
        TRY(cuda, MemAlloc(&k->a, bytes), "kernel_create");
        TRY(cuda, MemAlloc(&k->b, bytes), "kernel_create");
        TRY(cuda, MemAlloc(&k->out, bytes), "kernel_create");
        int rc = fill(k, k->a, seed, 0, err);
        if (rc == XS_OK)
            rc = fill(k, k->b, seed, 1, err);
        if (rc != XS_OK)
            return rc;
        /* All bits set is NaN: what no command wrote must not look right. */
        TRY(cuda, MemsetD8Async(k->out, 0xff, bytes, k->stream->stream), "kernel_create");
    }
    TRY(cuda, StreamSynchronize(k->stream->stream), "kernel_create");
    return XS_OK;
}

static int cuda_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                              uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    *out = NULL;
    if (command->kind == XS_MATMUL && command->batch > XS_GPU_BATCH_MAX)
        return xs__fail(err, XS_EINVAL, "cuda.kernel_create", 0,
                        "a batch of %u is more than a launch can have, %d", command->batch,
                        XS_GPU_BATCH_MAX);
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.kernel_create", 0, "no memory for a kernel");
    kernel->cuda = stream->cuda;
    kernel->stream = stream;
    kernel->command = *command;
    kernel->items = xs__command_items(command);
    kernel->iterations = (uint64_t)((double)command->duration_ns * stream->cuda->iterations_per_ns);
    int rc = make_kernel(kernel, seed, err);
    if (rc != XS_OK) {
        cuda_kernel_destroy(kernel);
        *out = NULL;
    }
    return rc;
}

/* A spin takes all of the device: two full blocks a multiprocessor. */
static int launch_spin(const struct xs_kernel *k, uint32_t argument, struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    uint64_t iterations = k->iterations, checksum = k->checksum;
    void *parameters[] = {&iterations, &argument, &checksum};
    uint32_t blocks = iterations == 0 ? 1 : 2 * cuda->processors;
    TRY(cuda,
        LaunchKernel(cuda->spin, blocks, 1, 1, iterations == 0 ? 32 : 1024, 1, 1, 0,
                     k->stream->stream, parameters, NULL),
        "launch");
    return XS_OK;
}

static int cuda_launch(struct xs_stream *stream, struct xs_kernel *k, uint32_t argument,
                       struct xs_error *err)
{
    struct cuda *cuda = stream->cuda;
    if (k->command.kind == XS_SPIN)
        return launch_spin(k, argument, err);
    uint32_t n = k->command.n;
    uint64_t at = argument * UINT32_C(2654435761) % k->items;
    void *parameters[] = {&k->a, &k->b, &k->out, &n, &argument, &at, &k->checksum};
    uint32_t tiles = (n + XS_GPU_TILE - 1) / XS_GPU_TILE;
    if (k->command.kind == XS_MATMUL)
        TRY(cuda,
            LaunchKernel(cuda->matmul, tiles, tiles, k->command.batch, XS_GPU_TILE, XS_GPU_ROWS, 1,
                         0, stream->stream, parameters, NULL),
            "launch");
    else
        TRY(cuda,
            LaunchKernel(cuda->vector_add, (n + XS_GPU_BLOCK - 1) / XS_GPU_BLOCK, 1, 1,
                         XS_GPU_BLOCK, 1, 1, 0, stream->stream, parameters, NULL),
            "launch");
    return XS_OK;
}

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

static int cuda_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err)
{
    struct cuda *cuda = kernel->cuda;
    TRY(cuda, StreamSynchronize(kernel->stream->stream), "checksum");
    TRY(cuda, MemcpyDtoH(out, kernel->checksum, sizeof *out), "checksum");
    return XS_OK;
}

static int cuda_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err)
{
    struct cuda *cuda = kernel->cuda;
    if (count > kernel->items)
        return xs__fail(err, XS_EINVAL, "cuda.output", 0, "%llu of %llu elements",
                        (unsigned long long)count, (unsigned long long)kernel->items);
    TRY(cuda, StreamSynchronize(kernel->stream->stream), "output");
    if (count > 0)
        TRY(cuda, MemcpyDtoH(out, kernel->out, count * sizeof *out), "output");
    return XS_OK;
}

/* ---- how long is an iteration of xs_spin? -------------------------------- */

static int time_spin(struct cuda *cuda, struct xs_kernel *k, uint64_t iterations, double *ns,
                     struct xs_error *err)
{
    xs_ns start = xs__clock_ns();
    k->iterations = iterations;
    int rc = launch_spin(k, 0, err);
    if (rc != XS_OK)
        return rc;
    TRY(cuda, StreamSynchronize(k->stream->stream), "calibrate");
    *ns = (double)(xs__clock_ns() - start);
    return XS_OK;
}

/* The difference of a long and a short spin, so that the launch cancels out;
 * the first ones wake the clocks up. The fastest of three: others disturb. */
static int measure_spin(struct cuda *cuda, struct xs_kernel *k, struct xs_error *err)
{
    const uint64_t some = 200000, more = 2200000;
    double shorter, longer, best = 0;
    int rc = XS_OK;
    for (int i = 0; i < 5 && rc == XS_OK; i++) {
        rc = time_spin(cuda, k, some, &shorter, err);
        if (rc == XS_OK)
            rc = time_spin(cuda, k, more, &longer, err);
        double rate =
            rc == XS_OK && longer > shorter ? (double)(more - some) / (longer - shorter) : 0;
        if (i >= 2 && rate > best)
            best = rate;
    }
    if (rc == XS_OK && !(best > 0))
        rc = xs__fail(err, XS_EDEVICE, "cuda.calibrate", 0, "a longer spin took no longer");
    cuda->iterations_per_ns = best;
    return rc;
}

static int calibrate(struct cuda *cuda, struct xs_error *err)
{
    const struct xs_command command = {.kind = XS_SPIN, .batch = 1, .duration_ns = 0};
    struct xs_stream *stream = NULL;
    struct xs_kernel *kernel = NULL;
    int rc = cuda_stream_create(&cuda->base, 0, &stream, err);
    if (rc == XS_OK)
        rc = cuda_kernel_create(stream, &command, 0, &kernel, err);
    if (rc == XS_OK)
        rc = measure_spin(cuda, kernel, err);
    cuda_stream_destroy(stream);
    cuda_kernel_destroy(kernel);
    return rc;
}

const struct xs_device_ops xs_device_cuda = {
    .kind = "cuda",
    .open = cuda_open,
    .describe = cuda_describe,
    .close = cuda_close,
    .bind_thread = cuda_bind_thread,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .kernel_create = cuda_kernel_create,
    .kernel_destroy = cuda_kernel_destroy,
    .launch = cuda_launch,
    .mark = cuda_mark,
    .passed = cuda_passed,
    .checksum = cuda_checksum,
    .output = cuda_output,
};
