/* gpu_commands.c - commands on cuda and hip: their memory, their launch, their results, and
 * the time of an iteration of xs_spin. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "devices/gpu/gpu_device.h"

#define SPIN_THREADS 1024 /* threads of a block: the maximum */

/* ---- kernels ------------------------------------------------------------- */

void xs__gpu_kernel_destroy(struct xs_kernel *kernel)
{
    if (kernel == NULL)
        return;
    xs__gpu_user_destroy(kernel);
    xs__gpu_segment_destroy(kernel);
    const uint64_t memory[] = {kernel->a, kernel->b, kernel->out, kernel->checksum};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i] != 0)
            kernel->gpu->driver.MemFree(memory[i]);
    free(kernel);
}

int xs__gpu_start(struct xs_gpu *gpu, void *function, struct xs_gpu_grid g, void *stream,
                  void **parameters, const char *what, struct xs_error *err)
{
    TRY(gpu,
        LaunchKernel(function, g.blocks[0], g.blocks[1], g.blocks[2], g.threads[0], g.threads[1],
                     g.threads[2], 0, stream, parameters, NULL),
        what);
    return XS_OK;
}

int xs__gpu_fill(struct xs_gpu *gpu, uint64_t to, uint64_t items, uint32_t seed, uint32_t which,
                 struct xs_error *err)
{
    void *parameters[] = {&to, &items, &seed, &which};
    return xs__gpu_start(gpu, gpu->functions[XS_GPU_FILL], xs__gpu_fill_grid(items), gpu->setup,
                         parameters, "fill", err);
}

static int allocate(struct xs_kernel *k, uint64_t bytes, uint64_t *out, struct xs_error *err)
{
    int result = k->gpu->driver.MemAlloc(out, bytes);
    if (result == XS_GPU_OUT_OF_MEMORY && k->command.kind == XS_MATMUL)
        return xs__fail(err, XS_ENOMEM, "gpu.kernel_create", result,
                        "%u x %u in a batch of %u needs three times %.1f GB, more than is free",
                        k->command.n, k->command.n, k->command.batch, (double)bytes / 1e9);
    return xs__gpu_status(&k->gpu->driver, result, "kernel_create", err);
}

static int make_kernel(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    struct xs_gpu *gpu = k->gpu;
    uint64_t bytes = k->items * sizeof(float);
    int rc = allocate(k, sizeof(int64_t), &k->checksum, err);
    if (rc != XS_OK)
        return rc;
    TRY(gpu, MemsetD8Async(k->checksum, 0, sizeof(int64_t), gpu->setup), "kernel_create");
    if (bytes > 0) {
        rc = allocate(k, bytes, &k->a, err);
        if (rc == XS_OK)
            rc = allocate(k, bytes, &k->b, err);
        if (rc == XS_OK)
            rc = allocate(k, bytes, &k->out, err);
        if (rc == XS_OK)
            rc = xs__gpu_fill(gpu, k->a, k->items, seed, 0, err);
        if (rc == XS_OK)
            rc = xs__gpu_fill(gpu, k->b, k->items, seed, 1, err);
        if (rc != XS_OK)
            return rc;
        /* All bits set is NaN: an element that no command wrote must not look right. */
        TRY(gpu, MemsetD8Async(k->out, 0xff, bytes, gpu->setup), "kernel_create");
    }
    TRY(gpu, StreamSynchronize(gpu->setup), "kernel_create");
    return XS_OK;
}

/* Return the iterations of one block. The waves of a spin share its time. */
static uint64_t iterations_of(const struct xs_gpu *gpu, const struct xs_command *command)
{
    bool is_crowded = xs__gpu_spin_blocks(command, gpu->processors) > gpu->processors;
    double total = (double)command->duration_ns * gpu->iterations_per_ns[is_crowded];
    return (uint64_t)(total / (command->waves > 0 ? command->waves : 1));
}

int xs__gpu_kernel_create(struct xs_stream *stream, const struct xs_command *command, uint32_t seed,
                          struct xs_kernel **out, struct xs_error *err)
{
    *out = NULL;
    if (command->kind == XS_MATMUL && command->batch > XS_GPU_BATCH_MAX)
        return xs__fail(err, XS_EINVAL, "gpu.kernel_create", 0,
                        "a batch of %u is more than a launch can have, which is %d", command->batch,
                        XS_GPU_BATCH_MAX);
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "gpu.kernel_create", 0, "no memory for a kernel");
    kernel->gpu = stream->gpu;
    kernel->stream = stream;
    kernel->command = *command;
    kernel->items = xs__command_items(command);
    kernel->iterations = iterations_of(stream->gpu, command);
    int rc = command->kind == XS_KERNEL    ? xs__gpu_user_create(kernel, seed, err)
             : command->kind == XS_SEGMENT ? xs__gpu_segment_create(kernel, err)
                                           : make_kernel(kernel, seed, err);
    if (rc != XS_OK) {
        xs__gpu_kernel_destroy(kernel);
        *out = NULL;
    }
    return rc;
}

int xs__gpu_launch(struct xs_stream *stream, struct xs_kernel *k, uint32_t argument,
                   struct xs_error *err)
{
    struct xs_gpu *gpu = stream->gpu;
    if (k->user != NULL)
        return xs__gpu_user_launch(stream, k, err);
    if (k->exec != NULL) {
        TRY(gpu, GraphLaunch(k->exec, stream->stream), "launch");
        return XS_OK;
    }
    enum xs_gpu_function function = xs__gpu_function(&k->command, gpu->processors);
    struct xs_gpu_grid g = xs__gpu_grid(&k->command, k->iterations, gpu->processors, SPIN_THREADS);
    uint64_t at = k->items > 0 ? xs__gpu_at(argument, k->items) : 0;
    void *computing[] = {&k->a, &k->b, &k->out, &k->command.n, &argument, &at, &k->checksum};
    void *spinning[] = {&k->iterations, &argument, &k->checksum};
    return xs__gpu_start(gpu, gpu->functions[function], g, stream->stream,
                         function == XS_GPU_SPIN ? spinning : computing, "launch", err);
}

static int gpu_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err)
{
    struct xs_gpu *gpu = kernel->gpu;
    TRY(gpu, StreamSynchronize(kernel->stream->stream), "checksum");
    TRY(gpu, MemcpyDtoH(out, kernel->checksum, sizeof *out), "checksum");
    return XS_OK;
}

static int gpu_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err)
{
    struct xs_gpu *gpu = kernel->gpu;
    if (count > kernel->items)
        return xs__fail(err, XS_EINVAL, "gpu.output", 0,
                        "%llu elements cannot be read: the output has %llu",
                        (unsigned long long)count, (unsigned long long)kernel->items);
    TRY(gpu, StreamSynchronize(kernel->stream->stream), "output");
    if (count > 0)
        TRY(gpu, MemcpyDtoH(out, kernel->out, count * sizeof *out), "output");
    return XS_OK;
}

const struct xs_result_ops xs__gpu_results = {
    .checksum = gpu_checksum,
    .output = gpu_output,
};

/* ---- the time of an iteration of xs_spin --------------------------------- */

static int time_spin(struct xs_gpu *gpu, struct xs_kernel *k, uint64_t iterations, double *ns,
                     struct xs_error *err)
{
    xs_ns start = xs__clock_ns();
    k->iterations = iterations;
    int rc = xs__gpu_launch(k->stream, k, 0, err);
    if (rc != XS_OK)
        return rc;
    TRY(gpu, StreamSynchronize(k->stream->stream), "calibrate");
    *ns = (double)(xs__clock_ns() - start);
    return XS_OK;
}

/* Take the difference of a long and a short spin, so that the time of the launch cancels out. The
 * first two spins of each kind raise the clocks and do not count. Take the shortest of three,
 * because other programs disturb, or of more while the difference is shorter than the
 * iterations can be: one is a chain of two operations, which takes well above 0.1 ns. */
int xs__gpu_measure_spin(struct xs_gpu *gpu, struct xs_kernel *k, double *per_ns,
                         struct xs_error *err)
{
    const uint64_t some = 100000, more = 1100000;
    const double least_ns = 0.1 * (double)(more - some);
    double ns[2], best[2] = {INFINITY, INFINITY};
    for (int i = 0; i < 5 || (i < 50 && best[1] - best[0] < least_ns); i++) {
        int rc = time_spin(gpu, k, some, &ns[0], err);
        if (rc == XS_OK)
            rc = time_spin(gpu, k, more, &ns[1], err);
        if (rc != XS_OK)
            return rc;
        for (int j = 0; i >= 2 && j < 2; j++)
            best[j] = fmin(best[j], ns[j]);
    }
    if (best[1] - best[0] < least_ns)
        return xs__fail(
            err, XS_EDEVICE, "gpu.calibrate", 0,
            "a longer spin did not take longer, so the time of an iteration is unknown");
    *per_ns = (double)(more - some) / (best[1] - best[0]);
    return XS_OK;
}
