/* gpu_graph_read.c - read a captured graph of cuda or hip: the types of its nodes, the names of
 * its kernels, its order, and where it may be cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/gpu/gpu_graph.h"
#include "devices/gpu/graph_order.h"

enum {
    CHILDREN_MAX = 16 /* child graphs in child graphs: a driver allows fewer */
};

int xs__gpu_graph_no_memory(const char *what, size_t count, struct xs_error *err)
{
    return xs__fail(err, XS_ENOMEM, "gpu.graph", 0, "no memory for %zu %s of a graph", count, what);
}

/* ---- nodes, their types, names of kernels ------------------------------- */

static int read_nodes(const struct xs_gpu *gpu, void *handle, void ***nodes, size_t *count,
                      struct xs_error *err)
{
    *nodes = NULL;
    *count = 0;
    TRY(gpu, GraphGetNodes(handle, NULL, count), "graph_nodes");
    *nodes = calloc(*count + 1, sizeof **nodes);
    if (*nodes == NULL)
        return xs__gpu_graph_no_memory("nodes", *count, err);
    if (*count > 0)
        TRY(gpu, GraphGetNodes(handle, *nodes, count), "graph_nodes");
    return XS_OK;
}

/* CUgraphNodeType of cuda.h (CUDA 13.0), and hipGraphNodeType of HIP 6, which has 14 for what
 * is 12 in CUDA, and copies from and to symbols for 12 and 13. */
enum node_type {
    KERNEL = 0,
    HOST = 3,
    CHILD = 4,
    EMPTY = 5,
    EVENT_WAIT = 6,
    EVENT_RECORD = 7,
    SEMAPHORE_SIGNAL = 8,
    SEMAPHORE_WAIT = 9,
    ALLOCATION = 10,
    FREE = 11,
    BATCH = 12,
    CONDITIONAL = 13,
    HIP_COPY_TO_SYMBOL = 13,
    HIP_BATCH = 14,
    REFUSED_MAX = 16 /* kinds of nodes that are refused */
};

/* Return the name of a type of nodes with which a graph cannot be cut or cannot run again; NULL:
 * it can. */
static const char *refused(enum xs_gpu_brand brand, int type)
{
    if (brand == XS_BRAND_HIP && type > FREE) {
        if (type <= HIP_COPY_TO_SYMBOL)
            return NULL;
        type = type == HIP_BATCH ? BATCH : type;
    }
    switch (type) {
    case HOST:
        return "host function";
    case EVENT_WAIT:
        return "event wait";
    case EVENT_RECORD:
        return "event record";
    case SEMAPHORE_SIGNAL:
        return "semaphore signal";
    case SEMAPHORE_WAIT:
        return "semaphore wait";
    case ALLOCATION:
        return "memory allocation";
    case FREE:
        return "memory free";
    case BATCH:
        return "batch memory operation";
    case CONDITIONAL:
        return "conditional";
    default:
        return type >= KERNEL && type <= EMPTY ? NULL : "unknown";
    }
}

/* What a walk over the nodes found. */
struct findings {
    struct {
        const char *name;
        uint32_t count;
    } refused[REFUSED_MAX];
    char **kernels;
    uint32_t kernel_count, kernel_cap;
};

static void add_refused(struct findings *f, const char *name)
{
    size_t i = 0;
    while (f->refused[i].name != NULL && f->refused[i].name != name)
        i++;
    f->refused[i].name = name;
    f->refused[i].count++;
}

/* CUDA_KERNEL_NODE_PARAMS_v2 of cuda.h (72 bytes), with room for more. */
struct cuda_kernel_node {
    void *function;
    unsigned int grid[3], block[3], shared_bytes;
    void **parameters, **extra;
    void *kernel, *context;
    void *more[8];
};

/* hipKernelNodeParams of hip_runtime_api.h (64 bytes), with room for more. */
struct hip_kernel_node {
    uint32_t block[3];
    void **extra;
    void *function;
    uint32_t grid[3];
    void **parameters;
    unsigned int shared_bytes;
    void *more[8];
};

/* HIP's function is that of a module or one of the program. hip_static_name() accepts both and
 * finds only those of the program, so it goes first: the other call accepts only the former. */
static const char *hip_name(const struct xs_gpu_driver *driver, void *node)
{
    struct hip_kernel_node k = {{0}, NULL, NULL, {0}, NULL, 0, {NULL}};
    if (driver->hip_kernel_name == NULL || driver->hip_static_name == NULL ||
        driver->GraphKernelNodeGetParams(node, &k) != XS_GPU_SUCCESS || k.function == NULL)
        return NULL;
    const char *name = driver->hip_static_name(k.function, NULL);
    return name != NULL ? name : driver->hip_kernel_name(k.function);
}

static const char *cuda_name(const struct xs_gpu_driver *driver, void *node)
{
    struct cuda_kernel_node k = {NULL, {0}, {0}, 0, NULL, NULL, NULL, NULL, {NULL}};
    const char *name = NULL;
    int result = XS_GPU_NOT_FOUND;
    if (driver->cuda_function_name == NULL || driver->cuda_kernel_name == NULL ||
        driver->GraphKernelNodeGetParams(node, &k) != XS_GPU_SUCCESS)
        return NULL;
    if (k.function != NULL)
        result = driver->cuda_function_name(&name, k.function);
    else if (k.kernel != NULL)
        result = driver->cuda_kernel_name(&name, k.kernel);
    return result == XS_GPU_SUCCESS ? name : NULL;
}

static int add_kernel(const struct xs_gpu *gpu, struct findings *f, void *node,
                      struct xs_error *err)
{
    const struct xs_gpu_driver *driver = &gpu->driver;
    if (f->kernel_count == f->kernel_cap) {
        uint32_t cap = f->kernel_cap > 0 ? 2 * f->kernel_cap : 64;
        char **grown = realloc(f->kernels, cap * sizeof *grown);
        if (grown == NULL)
            return xs__gpu_graph_no_memory("kernels", cap, err);
        f->kernels = grown;
        f->kernel_cap = cap;
    }
    const char *name =
        driver->brand == XS_BRAND_HIP ? hip_name(driver, node) : cuda_name(driver, node);
    char *copy = strdup(name != NULL ? name : "");
    if (copy == NULL)
        return xs__gpu_graph_no_memory("names of kernels", f->kernel_count, err);
    f->kernels[f->kernel_count++] = copy;
    return XS_OK;
}

static int walk(const struct xs_gpu *gpu, void **nodes, size_t count, int depth, struct findings *f,
                struct xs_error *err);

static int walk_child(const struct xs_gpu *gpu, void *node, int depth, struct findings *f,
                      struct xs_error *err)
{
    void *child = NULL, **nodes = NULL;
    size_t count;
    if (depth >= CHILDREN_MAX)
        return xs__fail(err, XS_EINVAL, "gpu.graph", 0, "child graphs are nested more than %d deep",
                        CHILDREN_MAX);
    TRY(gpu, GraphChildGraphNodeGetGraph(node, &child), "graph_child");
    int rc = read_nodes(gpu, child, &nodes, &count, err);
    if (rc == XS_OK)
        rc = walk(gpu, nodes, count, depth + 1, f, err);
    free(nodes);
    return rc;
}

static int walk(const struct xs_gpu *gpu, void **nodes, size_t count, int depth, struct findings *f,
                struct xs_error *err)
{
    int rc = XS_OK;
    for (size_t i = 0; rc == XS_OK && i < count; i++) {
        int type = -1;
        TRY(gpu, GraphNodeGetType(nodes[i], &type), "graph_node_type");
        const char *name = refused(gpu->driver.brand, type);
        if (name != NULL)
            add_refused(f, name);
        else if (type == KERNEL)
            rc = add_kernel(gpu, f, nodes[i], err);
        else if (type == CHILD)
            rc = walk_child(gpu, nodes[i], depth, f, err);
    }
    return rc;
}

static int refuse(const struct findings *f, struct xs_error *err)
{
    char list[512];
    size_t length = 0;
    for (size_t i = 0; f->refused[i].name != NULL; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%u %s node%s",
                                   i == 0                           ? ""
                                   : f->refused[i + 1].name == NULL ? " and "
                                                                    : ", ",
                                   f->refused[i].count, f->refused[i].name,
                                   f->refused[i].count == 1 ? "" : "s");
    if (length == 0)
        return XS_OK;
    return xs__fail(err, XS_EINVAL, "gpu.graph", 0,
                    "the captured graph has %s; with such nodes it cannot run in segments, again "
                    "and again",
                    list);
}

/* ---- order and cuts ------------------------------------------------------- */

struct node_index {
    uintptr_t node;
    uint32_t index;
};

static int compare_nodes(const void *left, const void *right)
{
    const struct node_index *a = left, *b = right;
    return a->node < b->node ? -1 : a->node > b->node;
}

static int find_index(const struct node_index *sorted, size_t count, void *node, uint32_t *index,
                      struct xs_error *err)
{
    const struct node_index key = {.node = (uintptr_t)node};
    const struct node_index *found = bsearch(&key, sorted, count, sizeof key, compare_nodes);
    if (found == NULL)
        return xs__fail(err, XS_EDEVICE, "gpu.graph", 0,
                        "the driver reports an edge of a node that is not in the graph");
    *index = found->index;
    return XS_OK;
}

static int get_edges(const struct xs_gpu *gpu, void *handle, void **from, void **to, void *data,
                     size_t *count, struct xs_error *err)
{
    if (gpu->driver.brand == XS_BRAND_HIP)
        TRY(gpu, hip_graph_edges(handle, from, to, count), "graph_edges");
    else
        TRY(gpu, cuda_graph_edges(handle, from, to, data, count), "graph_edges");
    return XS_OK;
}

static int number_edges(void **from, void **to, size_t count, const struct node_index *sorted,
                        size_t nodes, struct xs_edge *edges, struct xs_error *err)
{
    int rc = XS_OK;
    for (size_t e = 0; rc == XS_OK && e < count; e++) {
        rc = find_index(sorted, nodes, from[e], &edges[e].from, err);
        if (rc == XS_OK)
            rc = find_index(sorted, nodes, to[e], &edges[e].to, err);
    }
    return rc;
}

/* Read the edges between the nodes; the caller frees *edges, also after an error. */
static int read_edges(const struct xs_gpu_graph *g, const struct node_index *sorted,
                      struct xs_edge **edges, size_t *count, struct xs_error *err)
{
    enum {
        DATA_BYTES = 8 /* sizeof CUgraphEdgeData */
    };
    int rc = get_edges(g->gpu, g->handle, NULL, NULL, NULL, count, err);
    if (rc != XS_OK)
        return rc;
    void **ends = calloc(2 * *count + 1, sizeof *ends), *data = calloc(*count + 1, DATA_BYTES);
    *edges = calloc(*count + 1, sizeof **edges);
    if (ends == NULL || data == NULL || *edges == NULL)
        rc = xs__gpu_graph_no_memory("edges", *count, err);
    else if (*count > 0)
        rc = get_edges(g->gpu, g->handle, ends, ends + *count, data, count, err);
    if (rc == XS_OK)
        rc = number_edges(ends, ends + *count, *count, sorted, g->base.info.nodes, *edges, err);
    free(ends);
    free(data);
    return rc;
}

/* Put the nodes into a topological order. */
static int sort_nodes(struct xs_gpu_graph *g, struct xs_edge *edges, size_t *edge_count,
                      struct xs_error *err)
{
    uint32_t count = g->base.info.nodes;
    uint32_t *order = calloc(count, sizeof *order);
    void **sorted = calloc(count, sizeof *sorted);
    int rc = order == NULL || sorted == NULL
                 ? xs__gpu_graph_no_memory("nodes", count, err)
                 : xs__graph_order(count, edges, edge_count, order, err);
    for (uint32_t i = 0; rc == XS_OK && i < count; i++)
        sorted[i] = g->nodes[order[i]];
    if (rc == XS_OK)
        memcpy(g->nodes, sorted, count * sizeof *sorted);
    free(order);
    free(sorted);
    return rc;
}

static int find_cuts(struct xs_gpu_graph *g, struct xs_error *err)
{
    uint32_t count = g->base.info.nodes;
    struct xs_edge *edges = NULL;
    size_t edge_count = 0;
    struct node_index *sorted = calloc(count, sizeof *sorted);
    g->base.cuts = calloc(count, sizeof *g->base.cuts);
    if (sorted == NULL || g->base.cuts == NULL) {
        free(sorted);
        return xs__gpu_graph_no_memory("nodes", count, err);
    }
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = (struct node_index){(uintptr_t)g->nodes[i], i};
    qsort(sorted, count, sizeof *sorted, compare_nodes);
    int rc = read_edges(g, sorted, &edges, &edge_count, err);
    if (rc == XS_OK)
        rc = sort_nodes(g, edges, &edge_count, err);
    if (rc == XS_OK) {
        g->base.info.cuts = xs__graph_cuts(count, edges, edge_count, g->base.cuts);
        rc = g->base.info.cuts > 0 ? XS_OK : xs__gpu_graph_no_memory("nodes", count, err);
    }
    free(edges);
    free(sorted);
    return rc;
}

int xs__gpu_graph_read(struct xs_gpu_graph *g, struct xs_error *err)
{
    struct findings found = {0};
    size_t count;
    int rc = read_nodes(g->gpu, g->handle, &g->nodes, &count, err);
    if (rc == XS_OK && (count == 0 || count > UINT32_MAX / 2))
        rc =
            xs__fail(err, XS_EINVAL, "gpu.graph", 0,
                     count == 0 ? "the captured graph is empty: nothing was launched on the stream "
                                  "while it was captured"
                                : "the captured graph has more nodes than can be counted");
    if (rc != XS_OK)
        return rc;
    g->base.info.nodes = (uint32_t)count;
    rc = find_cuts(g, err);
    g->base.kernels_before = calloc(count + 1, sizeof *g->base.kernels_before);
    if (rc == XS_OK && g->base.kernels_before == NULL)
        rc = xs__gpu_graph_no_memory("nodes", count, err);
    for (size_t i = 0; rc == XS_OK && i < count; i++) {
        rc = walk(g->gpu, &g->nodes[i], 1, 0, &found, err);
        g->base.kernels_before[i + 1] = found.kernel_count;
    }
    g->base.kernels = found.kernels;
    g->base.info.kernels = found.kernel_count;
    return rc == XS_OK ? refuse(&found, err) : rc;
}
