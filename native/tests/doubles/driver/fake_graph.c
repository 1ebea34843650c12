/* fake_graph.c - captured graphs of the fake driver, with the semantics of the real one: forks of
 * a capture onto other streams, clones, nodes that are destroyed, executable graphs.
 *
 * A launch executes the nodes at once, in a topological order, as fake_cuda.c does with
 * kernels. A kernel that `counts` uses a counter until the end of its launch: if another launch
 * uses it at that time on another stream, both would run into each other on a GPU, and the
 * later one hangs. xs_fake_hangs() returns how many launches hang. xs_fake_node() captures a
 * node of any type; xs_fake_reverse() lists the nodes of a graph the other way round. FAKE_CUDA_LOG
 * gets "graph" and the number of nodes for each launch. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum {
    KERNEL = 0,
    MEMSET = 2,
    CHILD = 4,
    ALLOCATION = 10,
    FREE = 11,
    CONDITIONAL = 13,
    THREAD_LOCAL = 1,
    PROGRAMMATIC = 1,
    STREAMS_MAX = 16,
    COUNTERS_MAX = 64
};

struct fake_graph {
    struct fake_node **nodes;
    size_t count;
    struct edge {
        struct fake_node *from, *to;
        bool is_early;
    } *edges;
    size_t edge_count;
};

struct fake_node {
    int type;
    struct fake_node *original; /* what it is a clone of */
    struct fake_graph *graph;
    const struct fake_kernel *kernel;
    unsigned grid[3], block[3];
    uint64_t values[FAKE_PARAMETERS_MAX];
    void *parameters[FAKE_PARAMETERS_MAX];
    struct fake_graph *child;
    uint64_t to; /* of a memset */
    size_t bytes;
    int value;
};

struct fake_capture {
    uint64_t number;
    pthread_t thread; /* that began it */
    struct fake_graph *graph;
    struct fake_stream *origin, *streams[STREAMS_MAX];
    size_t stream_count;
    bool is_spoiled;
};

static struct fake_capture *active[STREAMS_MAX];
static uint64_t captures;
static _Atomic int hangs;

int xs_fake_hangs(void)
{
    return hangs;
}

/* ---- graphs as values --------------------------------------------------------- */

static void *grow(void *array, size_t count, size_t bytes)
{
    void *grown = realloc(array, (count + 1) * bytes);
    if (grown == NULL)
        abort();
    return grown;
}

static struct fake_node *add_node(struct fake_graph *graph, int type)
{
    struct fake_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        abort();
    node->type = type;
    node->graph = graph;
    graph->nodes = grow(graph->nodes, graph->count, sizeof node);
    graph->nodes[graph->count++] = node;
    return node;
}

static void add_edge(struct fake_graph *graph, struct edge edge)
{
    graph->edges = grow(graph->edges, graph->edge_count, sizeof edge);
    graph->edges[graph->edge_count++] = edge;
}

static void free_graph(struct fake_graph *graph);

static void free_node(struct fake_node *node)
{
    if (node->child != NULL)
        free_graph(node->child);
    free(node);
}

static void free_graph(struct fake_graph *graph)
{
    for (size_t i = 0; i < graph->count; i++)
        free_node(graph->nodes[i]);
    free(graph->nodes);
    free(graph->edges);
    fake_drop(graph);
}

static void point_to_values(struct fake_node *node)
{
    for (size_t i = 0; node->kernel != NULL && node->kernel->sizes[i] > 0; i++)
        node->parameters[i] = &node->values[i];
}

static struct fake_node *copy_of(const struct fake_graph *clone, const struct fake_node *original)
{
    for (size_t i = 0; i < clone->count; i++)
        if (clone->nodes[i]->original == original)
            return clone->nodes[i];
    return NULL;
}

static struct fake_graph *copy_graph(const struct fake_graph *graph)
{
    struct fake_graph *made = fake_make(sizeof *made);
    for (size_t i = 0; i < graph->count; i++) {
        struct fake_node *node = add_node(made, 0);
        *node = *graph->nodes[i];
        node->graph = made;
        node->original = graph->nodes[i];
        node->child = node->child != NULL ? copy_graph(node->child) : NULL;
        point_to_values(node);
    }
    for (size_t i = 0; i < graph->edge_count; i++) {
        struct edge edge = graph->edges[i];
        edge.from = copy_of(made, edge.from);
        edge.to = copy_of(made, edge.to);
        add_edge(made, edge);
    }
    return made;
}

/* ---- capturing ------------------------------------------------------------------ */

struct fake_capture *fake_capture_here(void)
{
    struct fake_capture *found = NULL;
    fake_lock();
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (active[i] != NULL && pthread_equal(active[i]->thread, pthread_self()))
            found = active[i];
    fake_unlock();
    return found;
}

int fake_capture_spoil(struct fake_capture *capture)
{
    capture->is_spoiled = true;
    return CAPTURE_UNSUPPORTED;
}

static void add_to_set(struct fake_set *set, struct fake_node *node)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->nodes[i] == node)
            return;
    if (set->count == FAKE_SET_MAX)
        abort();
    set->nodes[set->count++] = node;
}

static struct fake_node *capture_node(struct fake_stream *stream, int type)
{
    struct fake_graph *graph = stream->capture->graph;
    struct fake_node *node = add_node(graph, type);
    for (size_t i = 0; i < stream->last.count; i++)
        add_edge(graph, (struct edge){.from = stream->last.nodes[i], .to = node});
    stream->last.nodes[0] = node;
    stream->last.count = 1;
    return node;
}

int fake_capture_kernel(struct fake_stream *stream, const struct fake_kernel *kernel,
                        const unsigned grid[3], const unsigned block[3], void **parameters)
{
    if (stream->capture->is_spoiled)
        return CAPTURE_INVALIDATED;
    struct fake_node *node = capture_node(stream, KERNEL);
    struct fake_graph *graph = node->graph;
    node->kernel = kernel;
    memcpy(node->grid, grid, sizeof node->grid);
    memcpy(node->block, block, sizeof node->block);
    for (size_t i = 0; kernel->sizes[i] > 0; i++)
        memcpy(&node->values[i], parameters[i], kernel->sizes[i]);
    point_to_values(node);
    for (size_t i = 0; i < graph->edge_count; i++)
        if (graph->edges[i].to == node && graph->edges[i].from->type == KERNEL)
            graph->edges[i].is_early = kernel->is_early;
    return SUCCESS;
}

int fake_capture_memset(struct fake_stream *stream, uint64_t to, int value, size_t count)
{
    if (stream->capture->is_spoiled)
        return CAPTURE_INVALIDATED;
    struct fake_node *node = capture_node(stream, MEMSET);
    node->to = to;
    node->value = value;
    node->bytes = count;
    return SUCCESS;
}

int xs_fake_node(struct fake_stream *stream, int type)
{
    return stream->capture != NULL && capture_node(stream, type) != NULL ? SUCCESS : ILLEGAL_STATE;
}

void fake_capture_event(struct fake_event *event, struct fake_stream *stream)
{
    event->capture = stream->capture->number;
    event->last = stream->last;
}

static void join(struct fake_capture *capture, struct fake_stream *stream)
{
    if (capture->stream_count == STREAMS_MAX)
        abort();
    stream->capture = capture;
    stream->last.count = 0;
    capture->streams[capture->stream_count++] = stream;
}

static struct fake_capture *find_capture(uint64_t number)
{
    for (size_t i = 0; number != 0 && i < STREAMS_MAX; i++)
        if (active[i] != NULL && active[i]->number == number)
            return active[i];
    return NULL;
}

/* A stream that waits for an event of a capture becomes a part of it. */
int cuStreamWaitEvent(struct fake_stream *stream, struct fake_event *event, unsigned flags)
{
    WITH_CONTEXT;
    if (flags != 0)
        return INVALID_VALUE;
    fake_lock();
    struct fake_capture *capture = find_capture(event->capture);
    int result = SUCCESS;
    if (capture != stream->capture && stream->capture != NULL)
        result = CAPTURE_ISOLATION;
    else if (capture == NULL && stream->end_ns < event->at_ns)
        stream->end_ns = event->at_ns;
    else if (capture != NULL) {
        if (stream->capture == NULL)
            join(capture, stream);
        for (size_t i = 0; i < event->last.count; i++)
            add_to_set(&stream->last, event->last.nodes[i]);
    }
    fake_unlock();
    return result;
}

int cuStreamBeginCapture_v2(struct fake_stream *stream, int mode)
{
    WITH_CONTEXT;
    size_t i = 0;
    if (mode != THREAD_LOCAL)
        return INVALID_VALUE;
    if (stream->capture != NULL)
        return ILLEGAL_STATE;
    struct fake_capture *capture = calloc(1, sizeof *capture);
    if (capture == NULL)
        abort();
    capture->graph = fake_make(sizeof *capture->graph);
    capture->origin = stream;
    capture->thread = pthread_self();
    fake_lock();
    capture->number = ++captures;
    while (i < STREAMS_MAX && active[i] != NULL)
        i++;
    if (i == STREAMS_MAX)
        abort();
    active[i] = capture;
    join(capture, stream);
    fake_unlock();
    return SUCCESS;
}

/* Every node must lead to one that the first stream waits for. */
static bool is_joined(const struct fake_capture *capture)
{
    const struct fake_graph *graph = capture->graph;
    for (size_t i = 0; i < graph->count; i++) {
        bool has_next = false;
        for (size_t e = 0; e < graph->edge_count; e++)
            has_next |= graph->edges[e].from == graph->nodes[i];
        for (size_t j = 0; j < capture->origin->last.count; j++)
            has_next |= capture->origin->last.nodes[j] == graph->nodes[i];
        if (!has_next)
            return false;
    }
    return true;
}

int cuStreamEndCapture(struct fake_stream *stream, struct fake_graph **graph)
{
    int fault = fake_misbehave(__func__); /* ends the capture all the same */
    struct fake_capture *capture = stream->capture;
    *graph = NULL;
    if (capture == NULL)
        return fault != 0 ? fault : ILLEGAL_STATE;
    if (capture->origin != stream || !pthread_equal(capture->thread, pthread_self()))
        return CAPTURE_UNMATCHED;
    int result = capture->is_spoiled  ? CAPTURE_INVALIDATED
                 : is_joined(capture) ? SUCCESS
                                      : CAPTURE_UNJOINED;
    fake_lock();
    for (size_t i = 0; i < capture->stream_count; i++)
        capture->streams[i]->capture = NULL;
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (active[i] == capture)
            active[i] = NULL;
    fake_unlock();
    if (result == SUCCESS && fault == 0)
        *graph = capture->graph;
    else
        free_graph(capture->graph);
    free(capture);
    return fault != 0 ? fault : result;
}

/* A driver may list the nodes in any order. */
int xs_fake_reverse(struct fake_graph *graph)
{
    for (size_t i = 0; 2 * i + 1 < graph->count; i++) {
        struct fake_node *node = graph->nodes[i];
        graph->nodes[i] = graph->nodes[graph->count - 1 - i];
        graph->nodes[graph->count - 1 - i] = node;
    }
    return SUCCESS;
}

/* ---- what a graph consists of -------------------------------------------------------- */

int cuGraphGetNodes(const struct fake_graph *graph, struct fake_node **nodes, size_t *count)
{
    WITH_CONTEXT;
    for (size_t i = 0; nodes != NULL && i < graph->count && i < *count; i++)
        nodes[i] = graph->nodes[i];
    *count = graph->count;
    return SUCCESS;
}

/* The data of an edge: from_port, to_port, type, five reserved bytes. */
int cuGraphGetEdges_v2(const struct fake_graph *graph, struct fake_node **from,
                       struct fake_node **to, unsigned char (*data)[8], size_t *count)
{
    WITH_CONTEXT;
    for (size_t i = 0; from != NULL && i < graph->edge_count && i < *count; i++) {
        from[i] = graph->edges[i].from;
        to[i] = graph->edges[i].to;
        if (graph->edges[i].is_early && data == NULL)
            return LOSSY_QUERY;
        if (data != NULL) {
            memset(data[i], 0, sizeof data[i]);
            data[i][0] = data[i][2] = graph->edges[i].is_early ? PROGRAMMATIC : 0;
        }
    }
    *count = graph->edge_count;
    return SUCCESS;
}

int cuGraphNodeGetType(const struct fake_node *node, int *type)
{
    WITH_CONTEXT;
    *type = node->type;
    return SUCCESS;
}

int cuGraphChildGraphNodeGetGraph(const struct fake_node *node, struct fake_graph **graph)
{
    WITH_CONTEXT;
    *graph = node->child;
    return node->child != NULL ? SUCCESS : INVALID_VALUE;
}

/* CUDA_KERNEL_NODE_PARAMS_v2 */
struct kernel_node {
    const void *function;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
    const void *kernel, *context;
};

int cuGraphKernelNodeGetParams_v2(struct fake_node *node, struct kernel_node *out)
{
    WITH_CONTEXT;
    if (node->type != KERNEL)
        return INVALID_VALUE;
    *out = (struct kernel_node){.parameters = node->parameters};
    memcpy(out->grid, node->grid, sizeof out->grid);
    memcpy(out->block, node->block, sizeof out->block);
    *(node->kernel->is_library ? &out->kernel : &out->function) = node->kernel;
    return SUCCESS;
}

int cuFuncGetName(const char **name, const struct fake_kernel *function)
{
    WITH_CONTEXT;
    *name = function->name;
    return function->is_library ? INVALID_HANDLE : SUCCESS;
}

int cuKernelGetName(const char **name, const struct fake_kernel *kernel)
{
    WITH_CONTEXT;
    *name = kernel->name;
    return kernel->is_library ? SUCCESS : INVALID_HANDLE;
}

/* ---- clones, executable graphs ----------------------------------------------------------- */

int cuGraphClone(struct fake_graph **out, const struct fake_graph *graph)
{
    WITH_CONTEXT;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i]->type == ALLOCATION || graph->nodes[i]->type == FREE ||
            graph->nodes[i]->type == CONDITIONAL)
            return NOT_SUPPORTED;
    *out = copy_graph(graph);
    return SUCCESS;
}

int cuGraphNodeFindInClone(struct fake_node **out, const struct fake_node *original,
                           const struct fake_graph *in)
{
    WITH_CONTEXT;
    *out = copy_of(in, original);
    return *out != NULL ? SUCCESS : INVALID_VALUE;
}

int cuGraphDestroyNode(struct fake_node *node)
{
    WITH_CONTEXT;
    struct fake_graph *graph = node->graph;
    size_t kept = 0, edges = 0;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i] != node)
            graph->nodes[kept++] = graph->nodes[i];
    for (size_t i = 0; i < graph->edge_count; i++)
        if (graph->edges[i].from != node && graph->edges[i].to != node)
            graph->edges[edges++] = graph->edges[i];
    graph->count = kept;
    graph->edge_count = edges;
    free_node(node);
    return SUCCESS;
}

int cuGraphDestroy(struct fake_graph *graph)
{
    if (graph == NULL)
        return INVALID_VALUE;
    free_graph(graph);
    return SUCCESS;
}

/* Return whether a node has a predecessor from place `placed` on. */
static bool has_to_wait(const struct fake_graph *graph, const struct fake_node *node, size_t placed)
{
    for (size_t e = 0; e < graph->edge_count; e++)
        for (size_t i = placed; graph->edges[e].to == node && i < graph->count; i++)
            if (graph->nodes[i] == graph->edges[e].from)
                return true;
    return false;
}

/* Put the nodes into a topological order. */
static void sort(struct fake_graph *graph)
{
    for (size_t placed = 0; placed < graph->count; placed++) {
        size_t next = placed;
        while (has_to_wait(graph, graph->nodes[next], placed))
            next++;
        struct fake_node *node = graph->nodes[next];
        memmove(&graph->nodes[placed + 1], &graph->nodes[placed], (next - placed) * sizeof node);
        graph->nodes[placed] = node;
    }
}

/* An executable graph is a clone in order. */
int cuGraphInstantiateWithFlags(struct fake_graph **exec, const struct fake_graph *graph,
                                unsigned long long flags)
{
    WITH_CONTEXT;
    if (flags != 0)
        return INVALID_VALUE;
    *exec = copy_graph(graph);
    sort(*exec);
    return SUCCESS;
}

int cuGraphExecDestroy(struct fake_graph *exec)
{
    return cuGraphDestroy(exec);
}

/* ---- launching ------------------------------------------------------------------------------ */

static struct {
    uint64_t address;
    const struct fake_stream *stream;
    int64_t until_ns;
} counters[COUNTERS_MAX];

void fake_forget_counter(uint64_t address)
{
    fake_lock();
    for (size_t i = 0; i < COUNTERS_MAX; i++)
        if (counters[i].address == address)
            counters[i].until_ns = 0;
    fake_unlock();
}

/* Return whether another launch on another stream uses the counter; else it is ours. */
static bool is_taken(uint64_t address, const struct fake_stream *stream, int64_t until_ns)
{
    size_t i = 0;
    while (i < COUNTERS_MAX && counters[i].address != address && counters[i].address != 0)
        i++;
    if (i == COUNTERS_MAX)
        abort();
    bool is_other = counters[i].address == address && counters[i].stream != stream;
    if (is_other && counters[i].until_ns > fake_now_ns())
        return true;
    counters[i].address = address;
    counters[i].stream = stream;
    counters[i].until_ns = until_ns;
    return false;
}

/* Execute the nodes, and return the time of all. */
static int64_t execute(const struct fake_graph *graph)
{
    int64_t total_ns = 0;
    for (size_t i = 0; i < graph->count; i++) {
        struct fake_node *n = graph->nodes[i];
        struct fake_grid grid = {n->grid[0], n->grid[1], n->grid[2],
                                 (uint64_t)n->block[0] * n->block[1] * n->block[2]};
        int64_t ns = n->type == KERNEL  ? n->kernel->run(grid, n->parameters)
                     : n->type == CHILD ? execute(n->child)
                                        : 1000;
        if (n->type == MEMSET)
            memset((void *)(uintptr_t)n->to, n->value, n->bytes);
        if (ns < 0)
            return ns;
        total_ns += ns;
    }
    return total_ns;
}

static bool meets_another(const struct fake_graph *graph, const struct fake_stream *stream)
{
    for (size_t i = 0; i < graph->count; i++) {
        const struct fake_node *n = graph->nodes[i];
        if (n->type == CHILD && meets_another(n->child, stream))
            return true;
        if (n->type == KERNEL && n->kernel->counts &&
            is_taken(n->values[0], stream, stream->end_ns))
            return true;
    }
    return false;
}

int cuGraphLaunch(struct fake_graph *exec, struct fake_stream *stream)
{
    WITH_CONTEXT;
    if (stream->capture != NULL) { /* it becomes a node of the graph that is captured */
        capture_node(stream, CHILD)->child = copy_graph(exec);
        return SUCCESS;
    }
    fake_note("graph %zu", exec->count);
    fake_lock();
    int64_t duration_ns = execute(exec);
    if (duration_ns != FAKE_BAD_GRID)
        fake_work(stream, duration_ns);
    if (duration_ns != FAKE_BAD_GRID && meets_another(exec, stream))
        fake_work(stream, FAKE_HANGS);
    hangs += stream->end_ns == INT64_MAX;
    fake_unlock();
    return duration_ns != FAKE_BAD_GRID ? SUCCESS : INVALID_VALUE;
}
