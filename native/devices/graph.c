/* graph.c - the public calls for captured graphs: checks that hold for every backend, then the
 * functions of the backend. */
#include <string.h>

#include "base/clock.h"
#include "devices/device.h"

/* Make the device current; XS_EFORKED in a fork. */
static int enter(struct xs_device *dev, const char *where, struct xs_error *err)
{
    int rc = xs__device_check(dev, where, err);
    if (rc != XS_OK)
        return rc;
    if (dev->lost)
        return xs__fail(err, XS_EDEVICE, where, 0, "the device hangs since an earlier call");
    return dev->ops->bind_thread(dev, err);
}

static int check_graphs(const struct xs_device *dev, const char *where, struct xs_error *err)
{
    if (dev->ops->graphs != NULL)
        return XS_OK;
    return xs__fail(err, XS_ENOTSUP, where, 0,
                    "the %s device has no graphs that could be captured; cuda and hip have",
                    dev->ops->kind);
}

int xs_graph_open(struct xs_device *dev, void *handle, struct xs_graph **out, struct xs_error *err)
{
    const char *where = "graph.open";
    *out = NULL;
    int rc = check_graphs(dev, where, err);
    if (rc == XS_OK && handle == NULL)
        rc = xs__fail(err, XS_EINVAL, where, 0, "the handle of the graph is NULL");
    if (rc == XS_OK)
        rc = enter(dev, where, err);
    return rc == XS_OK ? dev->ops->graphs->open(dev, handle, out, err) : rc;
}

void xs_graph_describe(const struct xs_graph *graph, struct xs_graph_info *out)
{
    *out = graph->info;
}

const char *xs_graph_kernel(const struct xs_graph *graph, uint32_t index)
{
    return index < graph->info.kernels ? graph->kernels[index] : "";
}

uint32_t xs_graph_kernels_before(const struct xs_graph *graph, uint32_t position)
{
    uint32_t nodes = graph->info.nodes;
    return graph->kernels_before[position < nodes ? position : nodes];
}

uint32_t xs_graph_cut_at(const struct xs_graph *graph, uint32_t index)
{
    return index < graph->info.cuts ? graph->cuts[index] : graph->info.nodes;
}

static bool is_cut(const struct xs_graph *graph, uint32_t position)
{
    uint32_t low = 0, high = graph->info.cuts;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (graph->cuts[middle] == position)
            return true;
        if (graph->cuts[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static int check_ends(const struct xs_graph *graph, const uint32_t *ends, uint32_t count,
                      struct xs_error *err)
{
    const char *where = "graph.cut";
    if (graph->uses > 1)
        return xs__fail(err, XS_EINVAL, where, 0,
                        "a run still uses the segments of the graph; close it before another cut");
    if (count < 1 || count > XS_COMMANDS_MAX)
        return xs__fail(err, XS_EINVAL, where, 0, "%u segments; a graph has 1 to %d of them", count,
                        XS_COMMANDS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (!is_cut(graph, ends[i]))
            return xs__fail(err, XS_EINVAL, where, 0,
                            "the graph of %u nodes cannot be cut after node %u: nodes on both "
                            "sides of the cut may run at the same time",
                            graph->info.nodes, ends[i]);
        if (i > 0 && ends[i] <= ends[i - 1])
            return xs__fail(err, XS_EINVAL, where, 0,
                            "the ends of the segments must ascend: %u follows %u", ends[i],
                            ends[i - 1]);
    }
    if (ends[count - 1] != graph->info.nodes)
        return xs__fail(err, XS_EINVAL, where, 0,
                        "the last segment ends after node %u, but the graph has %u nodes",
                        ends[count - 1], graph->info.nodes);
    return XS_OK;
}

int xs_graph_cut(struct xs_graph *graph, const uint32_t *ends, uint32_t count, struct xs_error *err)
{
    int rc = check_ends(graph, ends, count, err);
    if (rc == XS_OK)
        rc = enter(graph->device, "graph.cut", err);
    return rc == XS_OK ? graph->device->ops->graphs->cut(graph, ends, count, err) : rc;
}

int xs_graph_launch(struct xs_graph *graph, struct xs_error *err)
{
    if (graph->info.segments == 0)
        return xs__fail(err, XS_EINVAL, "graph.launch", 0, "the graph has not been cut");
    int rc = enter(graph->device, "graph.launch", err);
    return rc == XS_OK ? graph->device->ops->graphs->launch(graph, err) : rc;
}

int xs_graph_wait(struct xs_graph *graph, int64_t timeout_ns, int64_t limit_ns, int64_t *segment_ns,
                  struct xs_error *err)
{
    memset(segment_ns, 0, graph->info.segments * sizeof *segment_ns);
    int rc = enter(graph->device, "graph.wait", err);
    if (rc != XS_OK)
        return rc;
    int64_t until_ns = xs__later(xs__clock_ns(), timeout_ns);
    return graph->device->ops->graphs->wait(graph, until_ns, limit_ns, segment_ns, err);
}

void xs_graph_close(struct xs_graph *graph)
{
    if (graph != NULL && enter(graph->device, "graph.close", NULL) == XS_OK)
        graph->device->ops->graphs->release(graph);
}

/* ---- capturing ------------------------------------------------------------- */

int xs_capture_open(struct xs_device *dev, const uint32_t *units, uint32_t unit_words,
                    struct xs_capture **out, struct xs_error *err)
{
    *out = NULL;
    int rc = check_graphs(dev, "capture.open", err);
    if (rc == XS_OK)
        rc = enter(dev, "capture.open", err);
    return rc == XS_OK ? dev->ops->graphs->capture_open(dev, units, unit_words, out, err) : rc;
}

void *xs_capture_stream(const struct xs_capture *capture)
{
    return capture->device->ops->stream_handle(capture->stream);
}

int xs_capture_begin(struct xs_capture *capture, struct xs_error *err)
{
    if (capture->is_active)
        return xs__fail(err, XS_EINVAL, "capture.begin", 0,
                        "the capture has begun before and has not ended");
    int rc = enter(capture->device, "capture.begin", err);
    return rc == XS_OK ? capture->device->ops->graphs->capture_begin(capture, err) : rc;
}

int xs_capture_end(struct xs_capture *capture, void **graph, struct xs_error *err)
{
    *graph = NULL;
    if (!capture->is_active)
        return xs__fail(err, XS_EINVAL, "capture.end", 0, "the capture has not begun");
    int rc = enter(capture->device, "capture.end", err);
    if (rc == XS_OK)
        rc = capture->device->ops->graphs->capture_end(capture, err);
    if (rc == XS_OK)
        *graph = capture->graphs[capture->graph_count - 1];
    return rc;
}

void xs_capture_close(struct xs_capture *capture)
{
    if (capture != NULL && enter(capture->device, "capture.close", NULL) == XS_OK)
        capture->device->ops->graphs->capture_close(capture);
}
