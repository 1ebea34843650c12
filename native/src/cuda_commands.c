/* cuda_commands.c - commands on NVIDIA GPUs: their memory, their launch, their
 * results, and how long an iteration of xs_spin takes. */
#include <stdlib.h>

#include "clock.h"
#include "cuda_device.h"
#include "gpu_kernels.h"

/* ---- kernels ------------------------------------------------------------- */

void xs__cuda_kernel_destroy(struct xs_kernel *kernel)
{
    if (kernel == NULL)
        return;
    const uint64_t memory[] = {kernel->a, kernel->b, kernel->out, kernel->checksum};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i] != 0)
            kernel->cuda->api.MemFree(memory[i]);
    free(kernel);
}

static int fill(struct xs_kernel *k, uint64_t to, uint32_t seed, uint32_t which,
                struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    void *parameters[] = {&to, &k->items, &seed, &which};
    uint32_t blocks = (uint32_t)((k->items + XS_GPU_BLOCK - 1) / XS_GPU_BLOCK);
    TRY(cuda,
        LaunchKernel(cuda->fill, blocks, 1, 1, XS_GPU_BLOCK, 1, 1, 0, cuda->setup, parameters,
                     NULL),
        "fill");
    return XS_OK;
}

static int allocate(struct xs_kernel *k, uint64_t bytes, uint64_t *out, struct xs_error *err)
{
    int result = k->cuda->api.MemAlloc(out, bytes);
    if (result == XS_CUDA_OUT_OF_MEMORY)
        return xs__fail(err, XS_ENOMEM, "cuda.kernel_create", result,
                        "%u x %u in a batch of %u needs three times %.1f GB, more than is free",
                        k->command.n, k->command.n, k->command.batch, (double)bytes / 1e9);
    return xs__cuda_status(&k->cuda->api, result, "cuda.kernel_create", err);
}

static int make_kernel(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    uint64_t bytes = k->items * sizeof(float);
    int rc = allocate(k, sizeof(int64_t), &k->checksum, err);
    if (rc != XS_OK)
        return rc;
    TRY(cuda, MemsetD8Async(k->checksum, 0, sizeof(int64_t), cuda->setup), "kernel_create");
    if (bytes > 0) {
        rc = allocate(k, bytes, &k->a, err);
        if (rc == XS_OK)
            rc = allocate(k, bytes, &k->b, err);
        if (rc == XS_OK)
            rc = allocate(k, bytes, &k->out, err);
        if (rc == XS_OK)
            rc = fill(k, k->a, seed, 0, err);
        if (rc == XS_OK)
            rc = fill(k, k->b, seed, 1, err);
        if (rc != XS_OK)
            return rc;
        /* All bits set is NaN: what no command wrote must not look right. */
        TRY(cuda, MemsetD8Async(k->out, 0xff, bytes, cuda->setup), "kernel_create");
    }
    TRY(cuda, StreamSynchronize(cuda->setup), "kernel_create");
    return XS_OK;
}

int xs__cuda_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                           uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    *out = NULL;
    if (command->kind == XS_MATMUL && command->batch > XS_GPU_BATCH_MAX)
        return xs__fail(err, XS_EINVAL, "cuda.kernel_create", 0,
                        "a batch of %u is more than a launch can have, %d", command->batch,
                        XS_GPU_BATCH_MAX);
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "cuda.kernel_create", 0, "no memory for a kernel");
    kernel->cuda = stream->cuda;
    kernel->stream = stream;
    kernel->command = *command;
    kernel->items = xs__command_items(command);
    kernel->iterations = (uint64_t)((double)command->duration_ns * stream->cuda->iterations_per_ns);
    int rc = make_kernel(kernel, seed, err);
    if (rc != XS_OK) {
        xs__cuda_kernel_destroy(kernel);
        *out = NULL;
    }
    return rc;
}

/* A spin takes all of the device: two full blocks a multiprocessor. */
static int launch_spin(const struct xs_kernel *k, uint32_t argument, struct xs_error *err)
{
    struct cuda *cuda = k->cuda;
    uint64_t iterations = k->iterations, checksum = k->checksum;
    void *parameters[] = {&iterations, &argument, &checksum};
    uint32_t blocks = iterations == 0 ? 1 : 2 * cuda->processors;
    TRY(cuda,
        LaunchKernel(cuda->spin, blocks, 1, 1, iterations == 0 ? 32 : 1024, 1, 1, 0,
                     k->stream->stream, parameters, NULL),
        "launch");
    return XS_OK;
}

int xs__cuda_launch(struct xs_stream *stream, struct xs_kernel *k, uint32_t argument,
                    struct xs_error *err)
{
    struct cuda *cuda = stream->cuda;
    if (k->command.kind == XS_SPIN)
        return launch_spin(k, argument, err);
    uint32_t n = k->command.n;
    uint64_t at = argument * UINT32_C(2654435761) % k->items;
    void *parameters[] = {&k->a, &k->b, &k->out, &n, &argument, &at, &k->checksum};
    uint32_t tiles = (n + XS_GPU_TILE - 1) / XS_GPU_TILE;
    if (k->command.kind == XS_MATMUL)
        TRY(cuda,
            LaunchKernel(cuda->matmul, tiles, tiles, k->command.batch, XS_GPU_TILE, XS_GPU_ROWS, 1,
                         0, stream->stream, parameters, NULL),
            "launch");
    else
        TRY(cuda,
            LaunchKernel(cuda->vector_add, (n + XS_GPU_BLOCK - 1) / XS_GPU_BLOCK, 1, 1,
                         XS_GPU_BLOCK, 1, 1, 0, stream->stream, parameters, NULL),
            "launch");
    return XS_OK;
}

int xs__cuda_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err)
{
    struct cuda *cuda = kernel->cuda;
    TRY(cuda, StreamSynchronize(kernel->stream->stream), "checksum");
    TRY(cuda, MemcpyDtoH(out, kernel->checksum, sizeof *out), "checksum");
    return XS_OK;
}

int xs__cuda_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err)
{
    struct cuda *cuda = kernel->cuda;
    if (count > kernel->items)
        return xs__fail(err, XS_EINVAL, "cuda.output", 0, "%llu of %llu elements",
                        (unsigned long long)count, (unsigned long long)kernel->items);
    TRY(cuda, StreamSynchronize(kernel->stream->stream), "output");
    if (count > 0)
        TRY(cuda, MemcpyDtoH(out, kernel->out, count * sizeof *out), "output");
    return XS_OK;
}

/* ---- how long is an iteration of xs_spin? -------------------------------- */

static int time_spin(struct cuda *cuda, struct xs_kernel *k, uint64_t iterations, double *ns,
                     struct xs_error *err)
{
    xs_ns start = xs__clock_ns();
    k->iterations = iterations;
    int rc = launch_spin(k, 0, err);
    if (rc != XS_OK)
        return rc;
    TRY(cuda, StreamSynchronize(k->stream->stream), "calibrate");
    *ns = (double)(xs__clock_ns() - start);
    return XS_OK;
}

/* The difference of a long and a short spin, so that the launch cancels out;
 * the first ones wake the clocks up. The fastest of three: others disturb. */
int xs__cuda_measure_spin(struct cuda *cuda, struct xs_kernel *k, struct xs_error *err)
{
    const uint64_t some = 200000, more = 2200000;
    double shorter, longer, best = 0;
    int rc = XS_OK;
    for (int i = 0; i < 5 && rc == XS_OK; i++) {
        rc = time_spin(cuda, k, some, &shorter, err);
        if (rc == XS_OK)
            rc = time_spin(cuda, k, more, &longer, err);
        double rate =
            rc == XS_OK && longer > shorter ? (double)(more - some) / (longer - shorter) : 0;
        if (i >= 2 && rate > best)
            best = rate;
    }
    if (rc == XS_OK && !(best > 0))
        rc = xs__fail(err, XS_EDEVICE, "cuda.calibrate", 0, "a longer spin took no longer");
    cuda->iterations_per_ns = best;
    return rc;
}
