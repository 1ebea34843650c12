/* gpu_streams.c - streams and marks of the cuda and the hip device.
 *
 * Streams do not block each other. Marks are events without timing, and the engine polls
 * them.
 *
 * Stream priority: a queue's priority p becomes -p within the range of the device, where
 * lower numbers go first. Drivers take it as a hint, so this file does not know whether it
 * has an effect (honour_priority -1). */
#include <stdlib.h>

#include "devices/gpu/gpu_device.h"

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
        stream->gpu->destroy_partition(stream);
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
    else if (gpu->create_bound_stream(stream, level, units, words, err) != XS_OK)
        return XS_EDEVICE;
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        TRY(gpu, EventCreate(&stream->marks[i], XS_GPU_EVENT_DISABLE_TIMING), "event_create");
    return XS_OK;
}

/* Check that `units` has at least one multiprocessor, only existing ones, and whole groups. */
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
            return xs__fail(err, XS_EINVAL, where, 0,
                            "there is no multiprocessor %u: the device has %u", i, gpu->units);
        if (is_set != (units[first / 32] >> first % 32 & 1))
            return xs__fail(err, XS_EINVAL, where, 0,
                            "multiprocessors are bound in whole groups of %u, but %u is in another "
                            "state than %u of its group",
                            gpu->unit_step, i, first);
    }
    return given > 0
               ? XS_OK
               : xs__fail(err, XS_EINVAL, where, 0, "a stream needs at least one multiprocessor");
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
