/* loop.c - what the runner is measured against: the same kernels under a loop
 * written by hand against cuda.h, without queues, policies or samples.
 *
 *     loop paced N RATE COUNT    matmul(N) at RATE per second, COUNT times
 *     loop burst LAYERS COUNT    requests of LAYERS empty kernels, one after the other
 *
 * Prints one latency in ns a line: from the scheduled start to the moment at
 * which the event after the last kernel was seen. gpu_runner.py builds it:
 * cc -O2 -Inative -Inative/include loop.c native/devices/kernels/gpu_kernels.c -lcuda -lnvrtc */
#include <cuda.h>
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/kernels/gpu_kernels.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_rc = (int)(call);                                                                  \
        if (try_rc != 0) {                                                                         \
            fprintf(stderr, "%s gives %d\n", #call, try_rc);                                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct loop {
    CUfunction functions[XS_GPU_FUNCTIONS];
    CUstream stream;
    CUevent event;
    CUdeviceptr a, b, out, checksum;
    uint32_t processors, launches;
    uint64_t items;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sleep until shortly before, then spin. */
static void wait_until(int64_t at)
{
    int64_t wake = at - 100000;
    struct timespec t = {.tv_sec = wake / 1000000000, .tv_nsec = wake % 1000000000};
    if (wake > now_ns())
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    while (now_ns() < at)
        ;
}

static void load(struct loop *l)
{
    CUdevice device;
    CUcontext context;
    CUmodule module;
    nvrtcProgram program;
    size_t bytes;
    int major, minor, processors;
    char option[64];
    const char *options[] = {option};
    TRY(cuInit(0));
    TRY(cuDeviceGet(&device, 0));
    TRY(cuDevicePrimaryCtxRetain(&context, device));
    TRY(cuCtxSetCurrent(context));
    TRY(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
    TRY(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
    TRY(cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
    l->processors = (uint32_t)processors;
    snprintf(option, sizeof option, "--gpu-architecture=sm_%d%d", major, minor);
    TRY(nvrtcCreateProgram(&program, xs__gpu_source, "loop.cu", 0, NULL, NULL));
    TRY(nvrtcCompileProgram(program, 1, options));
    TRY(nvrtcGetCUBINSize(program, &bytes));
    char *image = malloc(bytes);
    TRY(nvrtcGetCUBIN(program, image));
    TRY(cuModuleLoadData(&module, image));
    for (int i = 0; i < XS_GPU_FUNCTIONS; i++)
        TRY(cuModuleGetFunction(&l->functions[i], module, xs__gpu_names[i]));
    TRY(cuStreamCreate(&l->stream, CU_STREAM_NON_BLOCKING));
    TRY(cuEventCreate(&l->event, CU_EVENT_DISABLE_TIMING));
    TRY(cuMemAlloc(&l->checksum, 8));
    TRY(cuMemsetD8(l->checksum, 0, 8));
}

static void fill(struct loop *l, CUdeviceptr to, uint32_t which)
{
    uint32_t seed = 0;
    void *parameters[] = {&to, &l->items, &seed, &which};
    struct xs_gpu_grid g = xs__gpu_fill_grid(l->items);
    TRY(cuLaunchKernel(l->functions[XS_GPU_FILL], g.blocks[0], 1, 1, g.threads[0], 1, 1, 0,
                       l->stream, parameters, NULL));
}

static void allocate(struct loop *l, uint32_t n)
{
    l->items = (uint64_t)n * n;
    TRY(cuMemAlloc(&l->a, l->items * 4));
    TRY(cuMemAlloc(&l->b, l->items * 4));
    TRY(cuMemAlloc(&l->out, l->items * 4));
    fill(l, l->a, 0);
    fill(l, l->b, 1);
    TRY(cuStreamSynchronize(l->stream));
}

static void launch(struct loop *l, const struct xs_command *c)
{
    uint32_t n = c->n, launch = l->launches++;
    uint64_t iterations = 0, at = l->items > 0 ? xs__gpu_at(launch, l->items) : 0;
    enum xs_gpu_function function = xs__gpu_function(c, l->processors);
    struct xs_gpu_grid g = xs__gpu_grid(c, 0, l->processors, 1024);
    void *computing[] = {&l->a, &l->b, &l->out, &n, &launch, &at, &l->checksum};
    void *spinning[] = {&iterations, &launch, &l->checksum};
    TRY(cuLaunchKernel(l->functions[function], g.blocks[0], g.blocks[1], g.blocks[2], g.threads[0],
                       g.threads[1], g.threads[2], 0, l->stream,
                       function == XS_GPU_SPIN ? spinning : computing, NULL));
}

static void request(struct loop *l, const struct xs_command *c, int layers)
{
    CUresult result;
    for (int i = 0; i < layers; i++)
        launch(l, c);
    TRY(cuEventRecord(l->event, l->stream));
    while ((result = cuEventQuery(l->event)) == CUDA_ERROR_NOT_READY)
        ;
    TRY(result);
}

int main(int argc, char **argv)
{
    struct loop l = {0};
    if (argc != 5 && argc != 4)
        return 2;
    int is_paced = strcmp(argv[1], "paced") == 0, layers = is_paced ? 1 : atoi(argv[2]);
    int count = atoi(argv[argc - 1]), warm = count / 10;
    struct xs_command command = {.kind = is_paced ? XS_MATMUL : XS_SPIN, .batch = 1};
    load(&l);
    if (is_paced) {
        command.n = (uint32_t)atoi(argv[2]);
        allocate(&l, command.n);
    }
    int64_t *latencies = calloc((size_t)count, sizeof *latencies);
    int64_t period = is_paced ? 1000000000 / atoi(argv[3]) : 0, start = now_ns() + 10000000;
    for (int i = -warm; i < count; i++) {
        int64_t at = start + (i + warm) * period;
        if (is_paced)
            wait_until(at);
        else
            at = now_ns();
        request(&l, &command, layers);
        if (i >= 0)
            latencies[i] = now_ns() - at;
    }
    for (int i = 0; i < count; i++)
        printf("%lld\n", (long long)latencies[i]);
    return 0;
}
