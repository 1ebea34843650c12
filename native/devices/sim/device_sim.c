/* device_sim.c - the sim device: a model of a GPU in virtual time.
 *
 * Streams are in order. `slots` commands execute at once, and none is preempted. A launch
 * reaches the device launch_ns after its call, or after the arrival of the previous launch of
 * its stream if that is later. A free slot takes one of the stream heads that have arrived:
 * the one with the highest stream priority (if the device honours priority), among equals the
 * one that arrived first, then the one launched first. If streams interleave, the one that could
 * start first takes the place of the one that arrived first: a command can start when it has
 * arrived and the command before it in its stream is complete. In the last tail_ns of a command
 * its slot is free for commands of other streams, as the last blocks of a kernel leave
 * multiprocessors to others. A command costs
 *
 *     max(flops / flops_per_s, bytes / bytes_per_s) / min(1, items / full_items)
 *
 * rounded to whole nanoseconds, where items are the elements of its result: a small command
 * does not fill the device. A spin costs its duration and keeps one slot, regardless of its
 * share of the device and its waves. The device computes nothing. It is single-threaded: the
 * engine moves time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/device.h"

enum {
    SLOTS_MAX = 64
};

struct launch {
    xs_ns arrives;
    xs_ns cost;
    uint64_t order;
    xs_ns began; /* -1: not yet */
};

struct xs_kernel {
    xs_ns cost;
};

struct xs_stream {
    struct sim *sim;
    struct xs_stream *next;
    int32_t priority;
    struct launch ring[XS_THRESHOLD_MAX]; /* launch n at n % XS_THRESHOLD_MAX */
    uint64_t launched, started, completed;
    xs_ns launch_ns; /* in addition to that of the model */
    xs_ns last_arrival;
    xs_ns ends;     /* of the command that executes; XS_NEVER: none does */
    xs_ns last_end; /* of a completed command */
    uint64_t marks[XS_THRESHOLD_MAX];
};

struct slot {
    struct xs_stream *stream; /* NULL: free */
    xs_ns free_at;
};

struct sim {
    struct xs_device base;
    struct xs_sim_model model;
    xs_ns now;
    uint64_t orders;
    struct slot slots[SLOTS_MAX];
    struct xs_stream *streams;
};

static int sim_open(const struct xs_device_options *options, struct xs_device **out,
                    struct xs_error *err)
{
    const struct xs_sim_model *m = &options->sim;
    if (options->index != 0)
        return xs__fail(err, XS_ENODEV, "sim.open", 0,
                        "there is only one sim device, sim:0, so there is no sim:%d",
                        options->index);
    if (m->slots < 1 || m->slots > SLOTS_MAX || m->launch_ns < 0 || m->tail_ns < 0 ||
        !(m->flops_per_s > 0) || !(m->bytes_per_s > 0) || !(m->full_items >= 1))
        return xs__fail(err, XS_EINVAL, "sim.open", 0,
                        "the sim device cannot have %u slots, launch %lld ns, tail %lld ns, %g "
                        "flop/s, %g byte/s, full at %g items; needed are 1 to 64 slots, launch and "
                        "tail of at least 0 ns, speeds above 0 and at least 1 item",
                        m->slots, (long long)m->launch_ns, (long long)m->tail_ns, m->flops_per_s,
                        m->bytes_per_s, m->full_items);
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return xs__fail(err, XS_ENOMEM, "sim.open", 0, "no memory for the sim device");
    sim->model = *m;
    *out = &sim->base;
    return XS_OK;
}

static void sim_describe(struct xs_device *dev, struct xs_device_info *out)
{
    const struct xs_sim_model *model = &((struct sim *)dev)->model;
    snprintf(out->kind, sizeof out->kind, "sim");
    snprintf(out->name, sizeof out->name, "simulated device, virtual time, %u slot%s", model->slots,
             model->slots == 1 ? "" : "s");
    out->virtual_time = 1;
    out->honour_priority = model->honour_priority != 0;
    out->least_priority = XS_PRIORITY_MIN;
    out->most_priority = XS_PRIORITY_MAX;
    out->parallel = model->slots;
}

static void sim_close(struct xs_device *dev)
{
    free(dev);
}

static int sim_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    (void)dev;
    (void)err;
    return XS_OK;
}

static int sim_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                             struct xs_error *err)
{
    struct sim *sim = (struct sim *)dev;
    struct xs_stream *stream = *out = calloc(1, sizeof *stream);
    if (stream == NULL)
        return xs__fail(err, XS_ENOMEM, "sim.stream_create", 0, "no memory for a stream");
    if (sim->streams == NULL) { /* without streams, time starts again at 0 */
        sim->now = 0;
        sim->orders = 0;
    }
    stream->sim = sim;
    stream->priority = priority;
    stream->ends = XS_NEVER;
    stream->next = sim->streams;
    sim->streams = stream;
    return XS_OK;
}

/* It drops launched commands and does not wait for them: there is no memory to protect. */
static void sim_stream_destroy(struct xs_stream *stream)
{
    if (stream == NULL)
        return;
    struct sim *sim = stream->sim;
    for (uint32_t i = 0; i < sim->model.slots; i++)
        if (sim->slots[i].stream == stream)
            sim->slots[i].stream = NULL;
    struct xs_stream **link = &sim->streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    free(stream);
}

static xs_ns cost_of(const struct xs_sim_model *m, const struct xs_command *c)
{
    double n = c->n, items = (double)xs__command_items(c), flops, bytes;
    switch (c->kind) {
    case XS_MATMUL:
        flops = 2.0 * n * n * n * c->batch;
        bytes = 12.0 * n * n * c->batch;
        break;
    case XS_VECTOR_ADD:
        flops = n;
        bytes = 12.0 * n;
        break;
    default:
        return c->duration_ns;
    }
    double seconds = fmax(flops / m->flops_per_s, bytes / m->bytes_per_s);
    double cost = 1e9 * seconds / fmin(1.0, items / m->full_items);
    return cost < 9e18 ? (xs_ns)llround(cost) : XS_NEVER - 1;
}

static int sim_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                             uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    (void)seed;
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "sim.kernel_create", 0, "no memory for a kernel");
    kernel->cost = cost_of(&stream->sim->model, command);
    return XS_OK;
}

static void sim_kernel_destroy(struct xs_kernel *kernel)
{
    free(kernel);
}

static int sim_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                      struct xs_error *err)
{
    struct sim *sim = stream->sim;
    (void)argument;
    (void)err;
    XS_ASSERT(stream->launched - stream->completed < XS_THRESHOLD_MAX);
    xs_ns from = stream->last_arrival > sim->now ? stream->last_arrival : sim->now;
    stream->last_arrival = xs__later(xs__later(from, stream->launch_ns), sim->model.launch_ns);
    stream->ring[stream->launched % XS_THRESHOLD_MAX] = (struct launch){
        .arrives = stream->last_arrival, .cost = kernel->cost, .order = sim->orders++, .began = -1};
    stream->launched++;
    return XS_OK;
}

static int sim_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    (void)err;
    stream->marks[slot] = stream->launched;
    return XS_OK;
}

static int sim_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    (void)err;
    return stream->completed >= stream->marks[slot] ? XS_OK : XS_EAGAIN;
}

/* A command takes exactly its cost. */
static void sim_executed(const struct xs_stream *stream, uint64_t number, int64_t *began,
                         int64_t *ended)
{
    const struct launch *launch = &stream->ring[number % XS_THRESHOLD_MAX];
    *began = launch->began;
    *ended = number < stream->completed ? xs__later(launch->began, launch->cost) : -1;
}

static const struct launch *head(const struct xs_stream *stream)
{
    bool free_to_start = stream->started < stream->launched && stream->started == stream->completed;
    return free_to_start ? &stream->ring[stream->started % XS_THRESHOLD_MAX] : NULL;
}

/* Return since when the head of a stream waits, as the order of the device counts it. */
static xs_ns can_start_at(const struct sim *sim, const struct xs_stream *stream,
                          const struct launch *launch)
{
    bool after_end = sim->model.interleave && stream->last_end > launch->arrives;
    return after_end ? stream->last_end : launch->arrives;
}

static bool goes_first(const struct sim *sim, const struct xs_stream *a, const struct xs_stream *b)
{
    const struct launch *la = head(a), *lb = head(b);
    if (sim->model.honour_priority && a->priority != b->priority)
        return a->priority > b->priority;
    xs_ns from_a = can_start_at(sim, a, la), from_b = can_start_at(sim, b, lb);
    if (from_a != from_b)
        return from_a < from_b;
    return la->order < lb->order;
}

/* Return the next end of a command, the next time at which a slot becomes free or, with a free
 * slot, also the next arrival of a head. */
static xs_ns sim_next_due(const struct xs_device *dev)
{
    const struct sim *sim = (const struct sim *)dev;
    xs_ns due = XS_NEVER;
    bool free_slot = false;
    for (uint32_t i = 0; i < sim->model.slots; i++) {
        if (sim->slots[i].stream == NULL)
            free_slot = true;
        else if (sim->slots[i].free_at < due)
            due = sim->slots[i].free_at;
    }
    for (const struct xs_stream *s = sim->streams; s != NULL; s = s->next) {
        if (s->ends < due)
            due = s->ends;
        if (free_slot && head(s) != NULL && head(s)->arrives < due)
            due = head(s)->arrives;
    }
    return due;
}

static void start_commands(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->model.slots; i++) {
        struct xs_stream *best = NULL;
        if (sim->slots[i].stream != NULL)
            continue;
        for (struct xs_stream *s = sim->streams; s != NULL; s = s->next)
            if (head(s) != NULL && head(s)->arrives <= sim->now &&
                (best == NULL || goes_first(sim, s, best)))
                best = s;
        if (best == NULL)
            return;
        struct launch *first = &best->ring[best->started % XS_THRESHOLD_MAX];
        first->began = sim->now;
        xs_ns alone = first->cost > sim->model.tail_ns ? first->cost - sim->model.tail_ns : 0;
        sim->slots[i] = (struct slot){.stream = best, .free_at = xs__later(sim->now, alone)};
        best->ends = xs__later(sim->now, first->cost);
        best->started++;
    }
}

/* Commands end before others start, so a slot that becomes free is taken at once. */
static void sim_advance(struct xs_device *dev, xs_ns now)
{
    struct sim *sim = (struct sim *)dev;
    xs_ns due;
    while ((due = sim_next_due(dev)) <= now) {
        if (due > sim->now)
            sim->now = due;
        for (uint32_t i = 0; i < sim->model.slots; i++)
            if (sim->slots[i].stream != NULL && sim->slots[i].free_at <= sim->now)
                sim->slots[i].stream = NULL;
        for (struct xs_stream *s = sim->streams; s != NULL; s = s->next)
            if (s->ends <= sim->now) {
                s->completed++;
                s->ends = XS_NEVER;
                s->last_end = sim->now;
            }
        start_commands(sim);
    }
    sim->now = now;
}

static void sim_slow_launches(struct xs_stream *stream, xs_ns launch_ns)
{
    stream->launch_ns = launch_ns;
}

static const struct xs_virtual_time_ops virtual_time = {
    .next_due = sim_next_due,
    .advance = sim_advance,
    .slow_launches = sim_slow_launches,
};

const struct xs_device_ops xs_device_sim = {
    .kind = "sim",
    .open = sim_open,
    .describe = sim_describe,
    .close = sim_close,
    .bind_thread = sim_bind_thread,
    .stream_create = sim_stream_create,
    .stream_destroy = sim_stream_destroy,
    .kernel_create = sim_kernel_create,
    .kernel_destroy = sim_kernel_destroy,
    .launch = sim_launch,
    .mark = sim_mark,
    .passed = sim_passed,
    .executed = sim_executed,
    .virtual_time = &virtual_time,
};
