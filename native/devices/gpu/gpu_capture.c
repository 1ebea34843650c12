/* gpu_capture.c - capture what is launched on a stream into a graph of the driver. */
#include <stdlib.h>

#include "devices/gpu/gpu_device.h"

static struct xs_gpu *gpu_from(const struct xs_capture *capture)
{
    return (struct xs_gpu *)capture->device;
}

int xs__gpu_check_graphs(const struct xs_gpu *gpu, struct xs_error *err)
{
    const char *missing = gpu->driver.missing;
    if (missing == NULL)
        return XS_OK;
    return xs__fail(err, XS_ENOTSUP, "gpu.graph", 0,
                    "this driver cannot cut captured graphs, because it has no %s; %s has it",
                    missing,
                    gpu->driver.brand == XS_BRAND_HIP ? "the runtime of ROCm 6 or later"
                                                      : "NVIDIA's driver 545 (CUDA 12.3) or later");
}

int xs__gpu_capture_open(struct xs_device *dev, const uint32_t *units, uint32_t words,
                         struct xs_capture **out, struct xs_error *err)
{
    *out = NULL;
    int rc = xs__gpu_check_graphs((struct xs_gpu *)dev, err);
    if (rc != XS_OK)
        return rc;
    struct xs_capture *capture = calloc(1, sizeof *capture);
    if (capture == NULL)
        return xs__fail(err, XS_ENOMEM, "gpu.capture", 0, "no memory for a capture");
    capture->device = dev;
    rc = xs__gpu_stream_create_on(dev, 0, units, words, &capture->stream, err);
    if (rc != XS_OK) {
        free(capture);
        return rc;
    }
    *out = capture;
    return XS_OK;
}

int xs__gpu_capture_begin(struct xs_capture *capture, struct xs_error *err)
{
    TRY(gpu_from(capture), StreamBeginCapture(capture->stream->stream, XS_GPU_CAPTURE_THREAD_LOCAL),
        "capture_begin");
    capture->is_active = true;
    return XS_OK;
}

/* Also after an error, the stream does not capture any more. */
int xs__gpu_capture_end(struct xs_capture *capture, struct xs_error *err)
{
    void *graph = NULL;
    capture->is_active = false;
    TRY(gpu_from(capture), StreamEndCapture(capture->stream->stream, &graph), "capture_end");
    void **grown = realloc(capture->graphs, (capture->graph_count + 1) * sizeof *grown);
    if (grown == NULL) {
        gpu_from(capture)->driver.GraphDestroy(graph);
        return xs__fail(err, XS_ENOMEM, "gpu.capture", 0, "no memory for a graph");
    }
    capture->graphs = grown;
    capture->graphs[capture->graph_count++] = graph;
    return XS_OK;
}

void xs__gpu_capture_close(struct xs_capture *capture)
{
    if (capture->is_active)
        xs__gpu_capture_end(capture, NULL);
    for (uint32_t i = 0; i < capture->graph_count; i++)
        gpu_from(capture)->driver.GraphDestroy(capture->graphs[i]);
    free(capture->graphs);
    xs__gpu_stream_destroy(capture->stream);
    free(capture);
}
