/* device_cpu.c - the cpu device: a small GPU made of worker threads that compute.
 *
 * Streams are in order. A free worker takes the stream of highest priority, and among equals
 * the command that was launched first. No command is preempted.
 *
 * This file is the template for a backend; device.h says what to do to add one.
 *
 * The lock guards everything except the atomics, which are also read without it, and the
 * marks, which belong to the thread of the stream. A worker does not hold it while it
 * executes a command. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "devices/cpu/cpu_kernels.h"
#include "devices/device.h"

enum {
    WORKERS_MAX = 64
};

struct launch {
    struct xs_kernel *kernel;
    uint32_t argument;
    uint64_t order; /* number of the launch on the whole device */
};

struct xs_kernel {
    struct xs_stream *stream;
    struct xs_command command;
    float *memory; /* a, b, out and the panel of a matmul, in one block */
    float *a, *b, *out, *panel;
    uint64_t items;
    int64_t checksum; /* written by the worker that executes the stream */
};

struct xs_stream {
    struct cpu *cpu;
    struct xs_stream *next;
    int32_t priority;
    struct launch ring[XS_THRESHOLD_MAX]; /* launch n at n % XS_THRESHOLD_MAX */
    uint64_t launched, started;
    _Atomic uint64_t completed;
    bool running;                     /* a command of the stream executes; one at a time */
    uint32_t awaited;                 /* number of threads in wait_for() */
    pthread_cond_t done;              /* `completed` has changed */
    uint64_t marks[XS_THRESHOLD_MAX]; /* `launched` when the mark was set */
};

struct cpu {
    struct xs_device base;
    struct xs_cpu_model model;
    pthread_t workers[WORKERS_MAX];
    uint32_t worker_count;
    pthread_mutex_t lock;
    pthread_cond_t work;
    uint32_t asleep; /* number of workers that wait for `work` */
    _Atomic bool closing;
    _Atomic uint64_t pending; /* commands that were launched and not started */
    uint64_t orders;
    struct xs_stream *streams;
};

/* ---- workers ----------------------------------------------------------- */

static bool goes_first(const struct cpu *cpu, const struct xs_stream *a, const struct xs_stream *b)
{
    if (cpu->model.honour_priority && a->priority != b->priority)
        return a->priority > b->priority;
    return a->ring[a->started % XS_THRESHOLD_MAX].order <
           b->ring[b->started % XS_THRESHOLD_MAX].order;
}

static struct xs_stream *pick(const struct cpu *cpu)
{
    struct xs_stream *best = NULL;
    for (struct xs_stream *s = cpu->streams; s != NULL; s = s->next)
        if (!s->running && s->started < s->launched && (best == NULL || goes_first(cpu, s, best)))
            best = s;
    return best;
}

static void execute(const struct launch *launch)
{
    struct xs_kernel *k = launch->kernel;
    uint32_t added = launch->argument % 1024;
    switch (k->command.kind) {
    case XS_MATMUL:
        xs__cpu_matmul(k->command.n, k->command.batch, k->a, k->b, (float)added, k->panel, k->out);
        break;
    case XS_VECTOR_ADD:
        xs__cpu_vector_add(k->command.n, k->a, k->b, (float)added, k->out);
        break;
    default:
        xs__cpu_spin(k->command.duration_ns);
        k->checksum += added;
        return;
    }
    k->checksum += (int64_t)k->out[launch->argument * UINT32_C(2654435761) % k->items];
}

/* Return the stream to execute next, or NULL while the device closes. Called and left with
 * the lock held. */
static struct xs_stream *next_stream(struct cpu *cpu)
{
    for (;;) {
        struct xs_stream *stream = pick(cpu);
        if (stream != NULL || cpu->closing)
            return stream;
        pthread_mutex_unlock(&cpu->lock);
        xs_ns end = xs__later(xs__clock_ns(), cpu->model.spin_ns);
        while (cpu->pending == 0 && !cpu->closing && xs__clock_ns() < end)
            xs__clock_yield();
        pthread_mutex_lock(&cpu->lock);
        if (pick(cpu) == NULL && !cpu->closing) {
            cpu->asleep++;
            pthread_cond_wait(&cpu->work, &cpu->lock);
            cpu->asleep--;
        }
    }
}

static void *worker_main(void *argument)
{
    struct cpu *cpu = argument;
    struct xs_stream *stream;
    pthread_mutex_lock(&cpu->lock);
    while ((stream = next_stream(cpu)) != NULL) {
        struct launch launch = stream->ring[stream->started % XS_THRESHOLD_MAX];
        stream->started++;
        cpu->pending--;
        stream->running = true;
        pthread_mutex_unlock(&cpu->lock);
        execute(&launch);
        pthread_mutex_lock(&cpu->lock);
        stream->running = false;
        stream->completed++;
        if (stream->awaited > 0)
            pthread_cond_broadcast(&stream->done);
    }
    pthread_mutex_unlock(&cpu->lock);
    return NULL;
}

/* Wait until `count` commands are complete or the clock reads `until_ns`; lock held. */
static bool wait_for(struct xs_stream *stream, uint64_t count, xs_ns until_ns)
{
    stream->awaited++;
    while (stream->completed < count && xs__clock_ns() < until_ns)
        xs__cond_wait_until(&stream->done, &stream->cpu->lock, until_ns);
    stream->awaited--;
    return stream->completed >= count;
}

static void drain(struct xs_stream *stream)
{
    while (!wait_for(stream, stream->launched, xs__clock_ns() + XS_SLICE_NS))
        continue;
}

/* ---- the backend ------------------------------------------------------- */

static void cpu_close(struct xs_device *dev)
{
    struct cpu *cpu = (struct cpu *)dev;
    pthread_mutex_lock(&cpu->lock);
    cpu->closing = true;
    pthread_cond_broadcast(&cpu->work);
    pthread_mutex_unlock(&cpu->lock);
    for (uint32_t i = 0; i < cpu->worker_count; i++)
        pthread_join(cpu->workers[i], NULL);
    pthread_cond_destroy(&cpu->work);
    pthread_mutex_destroy(&cpu->lock);
    free(cpu);
}

static int cpu_open(const struct xs_device_options *options, struct xs_device **out,
                    struct xs_error *err)
{
    const struct xs_cpu_model *model = &options->cpu;
    if (options->index != 0)
        return xs__fail(err, XS_ENODEV, "cpu.open", 0,
                        "there is only one cpu device, cpu:0, so there is no cpu:%d",
                        options->index);
    if (model->workers < 1 || model->workers > WORKERS_MAX || model->spin_ns < 0)
        return xs__fail(
            err, XS_EINVAL, "cpu.open", 0,
            "the cpu device cannot have %u workers (1 to %d) that spin for %lld ns (0 or more)",
            model->workers, WORKERS_MAX, (long long)model->spin_ns);
    struct cpu *cpu = calloc(1, sizeof *cpu);
    if (cpu == NULL)
        return xs__fail(err, XS_ENOMEM, "cpu.open", 0, "no memory for the cpu device");
    cpu->model = *model;
    pthread_mutex_init(&cpu->lock, NULL);
    xs__cond_init(&cpu->work);
    for (; cpu->worker_count < model->workers; cpu->worker_count++) {
        int rc = pthread_create(&cpu->workers[cpu->worker_count], NULL, worker_main, cpu);
        if (rc != 0) {
            xs__fail(err, XS_EDEVICE, "cpu.open", rc,
                     "the system created no worker thread %u of %u: error %d", cpu->worker_count,
                     model->workers, rc);
            cpu_close(&cpu->base);
            return XS_EDEVICE;
        }
    }
    *out = &cpu->base;
    return XS_OK;
}

static void cpu_describe(struct xs_device *dev, struct xs_device_info *out)
{
    const struct xs_cpu_model *model = &((struct cpu *)dev)->model;
    snprintf(out->kind, sizeof out->kind, "cpu");
    snprintf(out->name, sizeof out->name, "embedded CPU device, %u worker thread%s", model->workers,
             model->workers == 1 ? "" : "s");
    out->computes = 1;
    out->on_host = 1;
    out->honour_priority = model->honour_priority != 0;
    out->least_priority = XS_PRIORITY_MIN;
    out->most_priority = XS_PRIORITY_MAX;
    out->parallel = model->workers;
}

static int cpu_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    (void)dev;
    (void)err;
    return XS_OK;
}

static int cpu_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                             struct xs_error *err)
{
    struct cpu *cpu = (struct cpu *)dev;
    struct xs_stream *stream = *out = calloc(1, sizeof *stream);
    if (stream == NULL)
        return xs__fail(err, XS_ENOMEM, "cpu.stream_create", 0, "no memory for a stream");
    stream->cpu = cpu;
    stream->priority = priority;
    xs__cond_init(&stream->done);
    pthread_mutex_lock(&cpu->lock);
    stream->next = cpu->streams;
    cpu->streams = stream;
    pthread_mutex_unlock(&cpu->lock);
    return XS_OK;
}

static void cpu_stream_destroy(struct xs_stream *stream)
{
    if (stream == NULL)
        return;
    struct cpu *cpu = stream->cpu;
    pthread_mutex_lock(&cpu->lock);
    drain(stream);
    struct xs_stream **link = &cpu->streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    pthread_mutex_unlock(&cpu->lock);
    pthread_cond_destroy(&stream->done);
    free(stream);
}

static void cpu_kernel_destroy(struct xs_kernel *kernel)
{
    if (kernel != NULL)
        free(kernel->memory);
    free(kernel);
}

/* Refuse memory that the machine does not have: the kernel would grant it, and would end the
 * process once the memory is written. */
static float *allocate(uint64_t floats)
{
    uint64_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
    uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes > physical ? NULL : aligned_alloc(64, bytes);
}

static int cpu_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                             uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "cpu.kernel_create", 0, "no memory for a kernel");
    kernel->stream = stream;
    kernel->command = *command;
    kernel->items = xs__command_items(command);
    if (kernel->items == 0)
        return XS_OK;
    uint64_t panel = command->kind == XS_MATMUL ? xs__cpu_panel_floats(command->n) : 0;
    uint64_t floats = panel + 3 * kernel->items;
    kernel->memory = allocate(floats);
    if (kernel->memory == NULL) {
        cpu_kernel_destroy(kernel);
        *out = NULL;
        return xs__fail(
            err, XS_ENOMEM, "cpu.kernel_create", 0,
            "%u x %u in a batch of %u needs %.1f GB of memory, more than this machine has",
            command->n, command->n, command->batch, (double)floats * sizeof(float) / 1e9);
    }
    kernel->panel = kernel->memory; /* first, because the start of the block is aligned */
    kernel->a = kernel->panel + panel;
    kernel->b = kernel->a + kernel->items;
    kernel->out = kernel->b + kernel->items;
    xs__cpu_fill(kernel->a, kernel->items, seed, 0);
    xs__cpu_fill(kernel->b, kernel->items, seed, 1);
    for (uint64_t i = 0; i < kernel->items; i++)
        kernel->out[i] = NAN; /* an element that no command wrote must not look right */
    return XS_OK;
}

static int cpu_launch(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                      struct xs_error *err)
{
    struct cpu *cpu = stream->cpu;
    (void)err;
    pthread_mutex_lock(&cpu->lock);
    XS_ASSERT(stream->launched - stream->started < XS_THRESHOLD_MAX);
    stream->ring[stream->launched % XS_THRESHOLD_MAX] =
        (struct launch){.kernel = kernel, .argument = argument, .order = cpu->orders++};
    stream->launched++;
    cpu->pending++;
    if (cpu->asleep > 0)
        pthread_cond_signal(&cpu->work);
    pthread_mutex_unlock(&cpu->lock);
    return XS_OK;
}

static int cpu_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    (void)err;
    stream->marks[slot] = stream->launched; /* only this thread writes it */
    return XS_OK;
}

static int cpu_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    (void)err;
    return stream->completed >= stream->marks[slot] ? XS_OK : XS_EAGAIN;
}

static int cpu_wait(struct xs_stream *stream, uint32_t slot, int64_t until_ns, struct xs_error *err)
{
    xs_ns spin_end = xs__later(xs__clock_ns(), stream->cpu->model.spin_ns);
    if (spin_end > until_ns)
        spin_end = until_ns;
    do {
        if (cpu_passed(stream, slot, err) == XS_OK)
            return XS_OK;
        xs__clock_yield();
    } while (xs__clock_ns() < spin_end);
    pthread_mutex_lock(&stream->cpu->lock);
    bool passed = wait_for(stream, stream->marks[slot], until_ns);
    pthread_mutex_unlock(&stream->cpu->lock);
    return passed ? XS_OK : XS_EAGAIN;
}

static int cpu_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err)
{
    (void)err;
    pthread_mutex_lock(&kernel->stream->cpu->lock);
    drain(kernel->stream);
    *out = kernel->checksum;
    pthread_mutex_unlock(&kernel->stream->cpu->lock);
    return XS_OK;
}

static int cpu_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err)
{
    if (count > kernel->items)
        return xs__fail(err, XS_EINVAL, "cpu.output", 0,
                        "%llu elements cannot be read: the output has %llu",
                        (unsigned long long)count, (unsigned long long)kernel->items);
    pthread_mutex_lock(&kernel->stream->cpu->lock);
    drain(kernel->stream);
    for (uint64_t i = 0; i < count; i++)
        out[i] = kernel->out[i];
    pthread_mutex_unlock(&kernel->stream->cpu->lock);
    return XS_OK;
}

static const struct xs_result_ops results = {
    .checksum = cpu_checksum,
    .output = cpu_output,
};

const struct xs_device_ops xs_device_cpu = {
    .kind = "cpu",
    .open = cpu_open,
    .describe = cpu_describe,
    .close = cpu_close,
    .bind_thread = cpu_bind_thread,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .kernel_create = cpu_kernel_create,
    .kernel_destroy = cpu_kernel_destroy,
    .launch = cpu_launch,
    .mark = cpu_mark,
    .passed = cpu_passed,
    .wait = cpu_wait,
    .results = &results,
};
