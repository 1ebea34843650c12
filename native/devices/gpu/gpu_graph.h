/* gpu_graph.h - a captured graph on cuda and hip, as gpu_graph_read.c fills it and gpu_graph.c
 * cuts, times and frees it. */
#ifndef XS_GPU_GRAPH_H
#define XS_GPU_GRAPH_H

#include "devices/gpu/gpu_device.h"

struct xs_gpu_graph {
    struct xs_graph base;
    struct xs_gpu *gpu;
    void *handle;
    void **nodes;    /* the driver's, in order */
    void **segments; /* the driver's executable graphs, base.info.segments of them */
    _Atomic(struct xs_stream *) queue; /* of the run that uses the segments; NULL: none does */
    /* For timing; made by the first launch after a cut. */
    void **events; /* one before each segment and one after the last */
    struct xs_stream *stream;
    struct xs_kernel *lead;
    xs_ns launched_at;
};

/* Fill the nodes, their order, the names of kernels and the cuts of a graph that has device, gpu
 * and handle. The caller frees what was made, also after an error. XS_EINVAL for a graph that
 * cannot be cut or cannot run again. */
int xs__gpu_graph_read(struct xs_gpu_graph *graph, struct xs_error *err);

/* XS_ENOMEM for `count` objects of a kind. */
int xs__gpu_graph_no_memory(const char *what, size_t count, struct xs_error *err);

#endif
