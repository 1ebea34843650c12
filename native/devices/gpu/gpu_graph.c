/* gpu_graph.c - captured graphs on cuda and hip: cut one into segments, time them.
 *
 * A segment is an executable graph made of a clone that lost all other nodes. The clones are
 * halved again and again, so that each node is copied and destroyed once for each level and
 * not once for each segment: a training step has 1,284 nodes, and 1.6 million pairs of them.
 * Edges that a cut severs are those that the order of launches on one stream replaces. That
 * includes edges of programmatic dependent launch: a kernel that waits for the one before then
 * finds it complete.
 *
 * Segments are timed in order, the whole request through, with events between them, and never
 * alone: see xs_graph_open().
 *
 * A segment runs with the priority of the stream that it is launched on. Its kernels carry the
 * context in which they were captured. Cutting keeps it, so a graph that is to run on some of
 * the multiprocessors only must be captured on a stream of theirs; whether the stream of the
 * launch limits it, too, was not measured. Launches of one segment do not overlap. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "devices/gpu/gpu_graph.h"

enum {
    POLL_NS = 50000,   /* sleep between polls */
    LAUNCH_NS = 10000, /* longest time that launching a segment takes: some 5 us on an H200 */
    LEAD_NS = 20000000 /* longest spin before the segments */
};

static struct xs_gpu_graph *graph_from(struct xs_graph *graph)
{
    return (struct xs_gpu_graph *)graph;
}

/* ---- cutting ------------------------------------------------------------------------ */

static void free_timing(struct xs_gpu_graph *g)
{
    xs__gpu_stream_destroy(g->stream); /* waits */
    xs__gpu_kernel_destroy(g->lead);
    for (uint32_t i = 0; g->events != NULL && i <= g->base.info.segments; i++)
        if (g->events[i] != NULL)
            g->gpu->driver.EventDestroy(g->events[i]);
    free(g->events);
    g->stream = NULL;
    g->lead = NULL;
    g->events = NULL;
}

static void free_segments(struct xs_gpu_graph *g)
{
    free_timing(g);
    for (uint32_t i = 0; i < g->base.info.segments; i++)
        if (g->segments[i] != NULL)
            g->gpu->driver.GraphExecDestroy(g->segments[i]);
    free(g->segments);
    g->segments = NULL;
    g->base.info.segments = 0;
}

/* Part of a graph: a clone with the nodes of some of the segments. */
struct part {
    void *clone;
    void **nodes;         /* of the clone, in order */
    uint32_t first, last; /* the segments, from `first` to before `last` */
    uint32_t begin;       /* position of nodes[0] in the whole graph */
};

/* Clone a graph with `count` nodes. The caller frees what was made, also after an error. */
static int clone_graph(const struct xs_gpu *gpu, void *graph, void **nodes, uint32_t count,
                       struct part *out, struct xs_error *err)
{
    out->nodes = calloc(count, sizeof *out->nodes);
    if (out->nodes == NULL)
        return xs__gpu_graph_no_memory("nodes", count, err);
    TRY(gpu, GraphClone(&out->clone, graph), "graph_clone");
    for (uint32_t i = 0; i < count; i++)
        TRY(gpu, GraphNodeFindInClone(&out->nodes[i], nodes[i], out->clone), "graph_find");
    return XS_OK;
}

static void free_part(const struct xs_gpu *gpu, struct part *part)
{
    if (part->clone != NULL)
        gpu->driver.GraphDestroy(part->clone);
    free(part->nodes);
}

static int destroy_nodes(const struct xs_gpu *gpu, void **nodes, uint32_t count,
                         struct xs_error *err)
{
    for (uint32_t i = 0; i < count; i++)
        TRY(gpu, GraphDestroyNode(nodes[i]), "graph_destroy_node");
    return XS_OK;
}

static int build(struct xs_gpu_graph *g, struct part *part, const uint32_t *ends,
                 struct xs_error *err);

/* Copy the part, take the second half of the segments from one of the two and the first half
 * from the other. */
static int halve(struct xs_gpu_graph *g, struct part *part, const uint32_t *ends,
                 struct xs_error *err)
{
    uint32_t middle = part->first + (part->last - part->first) / 2;
    uint32_t end = ends[part->last - 1], cut = ends[middle - 1];
    struct part later = {.first = middle, .last = part->last, .begin = part->begin};
    int rc = clone_graph(g->gpu, part->clone, part->nodes, end - part->begin, &later, err);
    if (rc == XS_OK)
        rc = destroy_nodes(g->gpu, later.nodes, cut - part->begin, err);
    if (rc == XS_OK)
        rc = destroy_nodes(g->gpu, part->nodes + (cut - part->begin), end - cut, err);
    if (rc == XS_OK) {
        memmove(later.nodes, later.nodes + (cut - part->begin), (end - cut) * sizeof *later.nodes);
        later.begin = cut;
        part->last = middle;
        rc = build(g, part, ends, err);
    }
    if (rc == XS_OK)
        rc = build(g, &later, ends, err);
    free_part(g->gpu, &later);
    return rc;
}

static int build(struct xs_gpu_graph *g, struct part *part, const uint32_t *ends,
                 struct xs_error *err)
{
    if (part->last - part->first > 1)
        return halve(g, part, ends, err);
    TRY(g->gpu, GraphInstantiate(&g->segments[part->first], part->clone, 0), "graph_instantiate");
    return XS_OK;
}

static int gpu_graph_cut(struct xs_graph *graph, const uint32_t *ends, uint32_t count,
                         struct xs_error *err)
{
    struct xs_gpu_graph *g = graph_from(graph);
    struct part whole = {.last = count};
    free_segments(g);
    g->segments = calloc(count, sizeof *g->segments);
    if (g->segments == NULL)
        return xs__gpu_graph_no_memory("segments", count, err);
    graph->info.segments = count;
    int rc = clone_graph(g->gpu, g->handle, g->nodes, graph->info.nodes, &whole, err);
    if (rc == XS_OK)
        rc = build(g, &whole, ends, err);
    free_part(g->gpu, &whole);
    if (rc != XS_OK)
        free_segments(g);
    return rc;
}

/* ---- timing ---------------------------------------------------------------------------- */

static int make_timing(struct xs_gpu_graph *g, struct xs_error *err)
{
    int64_t lead_ns = (int64_t)g->base.info.segments * LAUNCH_NS;
    const struct xs_command lead = {.kind = XS_SPIN,
                                    .batch = 1,
                                    .duration_ns = lead_ns < LEAD_NS ? lead_ns : LEAD_NS,
                                    .fill_permille = 1000,
                                    .waves = 1};
    int rc = xs__gpu_stream_create(&g->gpu->base, 0, &g->stream, err);
    if (rc == XS_OK)
        rc = xs__gpu_kernel_create(g->stream, &lead, 0, &g->lead, err);
    if (rc != XS_OK)
        return rc;
    g->events = calloc(g->base.info.segments + 1, sizeof *g->events);
    if (g->events == NULL)
        return xs__gpu_graph_no_memory("events", g->base.info.segments + 1, err);
    for (uint32_t i = 0; i <= g->base.info.segments; i++)
        TRY(g->gpu, EventCreate(&g->events[i], XS_GPU_EVENT_DEFAULT), "event_create");
    return XS_OK;
}

/* A spin goes first. While it runs, the segments are launched, so that the times are those of
 * the device and not those of the launches. */
static int launch_all(struct xs_gpu_graph *g, struct xs_error *err)
{
    void *stream = g->stream->stream;
    int rc = xs__gpu_launch(g->stream, g->lead, 0, err);
    if (rc != XS_OK)
        return rc;
    TRY(g->gpu, EventRecord(g->events[0], stream), "mark");
    for (uint32_t i = 0; i < g->base.info.segments; i++) {
        TRY(g->gpu, GraphLaunch(g->segments[i], stream), "graph_launch");
        TRY(g->gpu, EventRecord(g->events[i + 1], stream), "mark");
    }
    return xs__gpu_mark(g->stream, 0, err);
}

static int gpu_graph_launch(struct xs_graph *graph, struct xs_error *err)
{
    struct xs_gpu_graph *g = graph_from(graph);
    int rc = g->events == NULL ? make_timing(g, err) : XS_OK;
    if (rc == XS_OK)
        rc = launch_all(g, err);
    if (rc != XS_OK)
        free_timing(g);
    g->launched_at = xs__clock_ns();
    return rc;
}

static int read_times(const struct xs_gpu_graph *g, int64_t *segment_ns, struct xs_error *err)
{
    for (uint32_t i = 0; i < g->base.info.segments; i++) {
        float ms = 0;
        TRY(g->gpu, EventElapsedTime(&ms, g->events[i], g->events[i + 1]), "elapsed");
        segment_ns[i] = (int64_t)((double)ms * 1e6 + 0.5);
    }
    return XS_OK;
}

static int gpu_graph_wait(struct xs_graph *graph, int64_t until_ns, int64_t limit_ns,
                          int64_t *segment_ns, struct xs_error *err)
{
    struct xs_gpu_graph *g = graph_from(graph);
    const struct timespec pause = {.tv_nsec = POLL_NS};
    if (g->events == NULL)
        return xs__fail(err, XS_EINVAL, "graph.wait", 0, "the graph has not been launched");
    for (;;) {
        int rc = xs__gpu_passed(g->stream, 0, err);
        if (rc != XS_EAGAIN)
            return rc == XS_OK ? read_times(g, segment_ns, err) : rc;
        xs_ns now = xs__clock_ns();
        if (now - g->launched_at > limit_ns) {
            graph->device->lost = true;
            return xs__fail(err, XS_EDEVICE, "graph.wait", 0,
                            "the GPU hangs: the captured graph, cut into %u, did not complete "
                            "within %.3g s after its launch",
                            graph->info.segments, (double)limit_ns / 1e9);
        }
        if (now >= until_ns)
            return XS_EAGAIN;
        nanosleep(&pause, NULL);
    }
}

/* ---- open, close, commands ---------------------------------------------------------------- */

static void gpu_graph_release(struct xs_graph *graph)
{
    struct xs_gpu_graph *g = graph_from(graph);
    uint32_t left = --graph->uses;
    if (left == 1)
        g->queue = NULL;
    if (left > 0)
        return;
    free_segments(g);
    for (uint32_t i = 0; i < graph->info.kernels; i++)
        free(graph->kernels[i]);
    free(graph->kernels);
    free(graph->kernels_before);
    free(graph->cuts);
    free(g->nodes);
    free(g);
}

static int gpu_graph_open(struct xs_device *dev, void *handle, struct xs_graph **out,
                          struct xs_error *err)
{
    struct xs_gpu *gpu = (struct xs_gpu *)dev;
    *out = NULL;
    int rc = xs__gpu_check_graphs(gpu, err);
    if (rc != XS_OK)
        return rc;
    struct xs_gpu_graph *g = calloc(1, sizeof *g);
    if (g == NULL)
        return xs__gpu_graph_no_memory("nodes", 0, err);
    g->base.device = dev;
    g->base.uses = 1;
    g->gpu = gpu;
    g->handle = handle;
    rc = xs__gpu_graph_read(g, err);
    if (rc != XS_OK) {
        gpu_graph_release(&g->base);
        return rc;
    }
    *out = &g->base;
    return XS_OK;
}

int xs__gpu_segment_create(struct xs_kernel *k, struct xs_error *err)
{
    struct xs_graph *graph = k->command.graph;
    if (graph->device != &k->gpu->base)
        return xs__fail(err, XS_EINVAL, "gpu.kernel_create", 0,
                        "the captured graph was read for another device than that of the queue");
    /* Drivers do not lock executable graphs, and requests of two queues would overwrite each
     * other's memory. */
    struct xs_stream *user = NULL; /* so far */
    if (!atomic_compare_exchange_strong(&graph_from(graph)->queue, &user, k->stream) &&
        user != k->stream)
        return xs__fail(err, XS_EINVAL, "gpu.kernel_create", 0,
                        "another queue uses the captured graph; each queue needs one of its own, "
                        "captured on a stream of its own");
    graph->uses++;
    k->graph = graph;
    k->exec = graph_from(graph)->segments[k->command.n];
    return XS_OK;
}

void xs__gpu_segment_destroy(struct xs_kernel *k)
{
    if (k->graph != NULL)
        gpu_graph_release(k->graph);
}

const struct xs_graph_ops xs__gpu_graphs = {
    .open = gpu_graph_open,
    .cut = gpu_graph_cut,
    .launch = gpu_graph_launch,
    .wait = gpu_graph_wait,
    .release = gpu_graph_release,
    .capture_open = xs__gpu_capture_open,
    .capture_begin = xs__gpu_capture_begin,
    .capture_end = xs__gpu_capture_end,
    .capture_close = xs__gpu_capture_close,
};
