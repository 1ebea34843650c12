/* gpu_streams.c - streams, marks and set-up of the cuda and the hip device.
 * Streams do not block each other; marks are events without timing, polled.
 *
 * Stream priority: a queue's priority p becomes -p within the range of the
 * device (lower numbers go first there). Drivers take it as a hint, so whether
 * it has an effect is not known here (honour_priority -1). */
#include <stdio.h>
#include <stdlib.h>

#include "devices/gpu/gpu_device.h"

/* ---- set-up ---------------------------------------------------------------- */

int xs__gpu_find(struct xs_gpu *gpu, enum xs_gpu_brand brand, const struct xs_device_options *o,
                 struct xs_error *err)
{
    int count = 0;
    pthread_mutex_init(&gpu->modules_lock, NULL);
    int rc = xs__gpu_driver_open(&gpu->driver, brand, o->gpu.driver, err);
    if (rc != XS_OK)
        return rc;
    int result = gpu->driver.Init(0);
    if (result == XS_GPU_SUCCESS)
        result = gpu->driver.DeviceGetCount(&count);
    if (xs__gpu_no_device(result) || (result == XS_GPU_SUCCESS && o->index >= count)) {
        char where[16];
        snprintf(where, sizeof where, "%s.open", xs__gpu_kind(brand));
        return xs__fail(err, XS_ENODEV, where, result,
                        "the driver has %d devices, number %d is wanted", count, o->index);
    }
    return xs__gpu_status(&gpu->driver, result, "init", err);
}

static int load_kernels(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                        struct xs_error *err)
{
    int rc = xs__gpu_compiler_open(gpu, libraries, err);
    if (rc == XS_OK)
        xs__gpu_identify_compiler(gpu);
    if (rc == XS_OK)
        rc = xs__gpu_module_load(gpu, xs__gpu_source, &gpu->module, err);
    if (rc != XS_OK)
        return rc;
    for (int i = 0; i < XS_GPU_FUNCTIONS; i++)
        TRY(gpu, ModuleGetFunction(&gpu->functions[i], gpu->module, xs__gpu_names[i]), "function");
    return XS_OK;
}

static int calibrate_spin(struct xs_gpu *gpu, uint32_t fill_permille, double *per_ns,
                          struct xs_error *err)
{
    const struct xs_command command = {
        .kind = XS_SPIN, .batch = 1, .fill_permille = fill_permille, .waves = 1};
    struct xs_stream *stream = NULL;
    struct xs_kernel *kernel = NULL;
    int rc = xs__gpu_stream_create(&gpu->base, 0, &stream, err);
    if (rc == XS_OK)
        rc = xs__gpu_kernel_create(stream, &command, 0, &kernel, err);
    if (rc == XS_OK)
        rc = xs__gpu_measure_spin(gpu, kernel, per_ns, err);
    xs__gpu_stream_destroy(stream);
    xs__gpu_kernel_destroy(kernel);
    return rc;
}

/* The blocks of a spin slow one another down where there are two on a multiprocessor. */
static int calibrate(struct xs_gpu *gpu, struct xs_error *err)
{
    int rc = calibrate_spin(gpu, 1000, &gpu->iterations_per_ns[1], err);
    return rc == XS_OK ? calibrate_spin(gpu, 500, &gpu->iterations_per_ns[0], err) : rc;
}

int xs__gpu_prepare(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                    struct xs_error *err)
{
    TRY(gpu, GetStreamPriorityRange(&gpu->least, &gpu->greatest), "priority_range");
    TRY(gpu, StreamCreateWithPriority(&gpu->setup, XS_GPU_STREAM_NON_BLOCKING, gpu->least),
        "stream_create");
    int rc = xs__gpu_identify(gpu, err);
    if (rc == XS_OK)
        rc = load_kernels(gpu, libraries, err);
    return rc == XS_OK ? calibrate(gpu, err) : rc;
}

void xs__gpu_release(struct xs_gpu *gpu)
{
    if (gpu->setup != NULL)
        gpu->driver.StreamDestroy(gpu->setup);
    if (gpu->module != NULL)
        gpu->driver.ModuleUnload(gpu->module);
    xs__gpu_compiler_close(gpu);
}

/* ---- streams --------------------------------------------------------------- */

void xs__gpu_stream_destroy(struct xs_stream *stream)
{
    if (stream == NULL)
        return;
    const struct xs_gpu_driver *driver = &stream->gpu->driver;
    if (stream->stream != NULL) {
        driver->StreamSynchronize(stream->stream);
        driver->StreamDestroy(stream->stream);
    }
    if (stream->partition != NULL)
        stream->gpu->unmake_bound(stream);
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        if (stream->marks[i] != NULL)
            driver->EventDestroy(stream->marks[i]);
    free(stream);
}

static int make_stream(struct xs_stream *stream, int32_t priority, const uint32_t *units,
                       uint32_t words, struct xs_error *err)
{
    struct xs_gpu *gpu = stream->gpu;
    int level = -priority < gpu->greatest ? gpu->greatest : -priority;
    if (level > gpu->least)
        level = gpu->least;
    if (words == 0)
        TRY(gpu, StreamCreateWithPriority(&stream->stream, XS_GPU_STREAM_NON_BLOCKING, level),
            "stream_create");
    else if (gpu->make_bound(stream, level, units, words, err) != XS_OK)
        return XS_EDEVICE;
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        TRY(gpu, EventCreate(&stream->marks[i], XS_GPU_EVENT_DISABLE_TIMING), "event_create");
    return XS_OK;
}

/* Some are given, and only such as there are, in whole groups. */
static int check_units(const struct xs_gpu *gpu, const uint32_t *units, uint32_t words,
                       struct xs_error *err)
{
    const char *where = "gpu.stream_create";
    uint32_t given = 0;
    if (gpu->units == 0)
        return xs__fail(err, XS_ENOTSUP, where, 0,
                        "this driver cannot bind a stream to multiprocessors");
    for (uint32_t i = 0; i < 32 * words; i++) {
        bool is_set = units[i / 32] >> i % 32 & 1;
        uint32_t first = i - i % gpu->unit_step;
        given += is_set;
        if (is_set && i >= gpu->units)
            return xs__fail(err, XS_EINVAL, where, 0, "multiprocessor %u of %u", i, gpu->units);
        if (is_set != (units[first / 32] >> first % 32 & 1))
            return xs__fail(err, XS_EINVAL, where, 0,
                            "multiprocessors are given in groups of %u, and %u is not as %u",
                            gpu->unit_step, i, first);
    }
    return given > 0 ? XS_OK : xs__fail(err, XS_EINVAL, where, 0, "no multiprocessor is given");
}

int xs__gpu_stream_create_on(struct xs_device *dev, int32_t priority, const uint32_t *units,
                             uint32_t words, struct xs_stream **out, struct xs_error *err)
{
    *out = NULL;
    int rc = words > 0 ? check_units((struct xs_gpu *)dev, units, words, err) : XS_OK;
    if (rc != XS_OK)
        return rc;
    struct xs_stream *stream = *out = calloc(1, sizeof *stream);
    if (stream == NULL)
        return xs__fail(err, XS_ENOMEM, "gpu.stream_create", 0, "no memory for a stream");
    stream->gpu = (struct xs_gpu *)dev;
    rc = make_stream(stream, priority, units, words, err);
    if (rc != XS_OK) {
        xs__gpu_stream_destroy(stream);
        *out = NULL;
    }
    return rc;
}

int xs__gpu_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                          struct xs_error *err)
{
    return xs__gpu_stream_create_on(dev, priority, NULL, 0, out, err);
}

void *xs__gpu_stream_handle(struct xs_stream *stream)
{
    return stream->stream;
}

/* ---- marks ------------------------------------------------------------------ */

int xs__gpu_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    TRY(stream->gpu, EventRecord(stream->marks[slot], stream->stream), "mark");
    return XS_OK;
}

int xs__gpu_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    int result = stream->gpu->driver.EventQuery(stream->marks[slot]);
    if (result == XS_GPU_NOT_READY)
        return XS_EAGAIN;
    return xs__gpu_status(&stream->gpu->driver, result, "passed", err);
}
