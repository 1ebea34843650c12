/* loop.c - what the runner is measured against: the same kernels under a loop
 * written by hand against cuda.h, without queues, policies or samples.
 *
 *     loop paced N RATE COUNT    matmul(N) at RATE per second, COUNT times
 *     loop burst LAYERS COUNT    requests of LAYERS empty kernels, one after the other
 *     loop graph FILE KERNELS OFFSET RATE COUNT
 *                                a captured graph of KERNELS kernels of FILE (steps.cu), likewise,
 *                                with its list OFFSET bytes after the start of LIST_BYTES
 *     loop compile FILE CUBIN    FILE as machine code, from which graph_of_steps.py captures
 *
 * Prints a line a request: the scheduled start, in ns of CLOCK_MONOTONIC, and the latency in ns
 * from there to the moment at which the event after the last kernel was seen. gpu_runner.py builds
 * it:
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

enum { LIST_BYTES = 64 << 20 };

struct loop {
    CUfunction functions[XS_GPU_FUNCTIONS];
    CUstream stream;
    CUevent event;
    CUdeviceptr a, b, out, checksum;
    CUgraphExec graph;
    uint32_t processors, launches;
    uint64_t items;
    char architecture[64]; /* option of the compiler */
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

static char *compile(const struct loop *l, const char *source, size_t *bytes)
{
    nvrtcProgram program;
    const char *options[] = {l->architecture};
    TRY(nvrtcCreateProgram(&program, source, "loop.cu", 0, NULL, NULL));
    TRY(nvrtcCompileProgram(program, 1, options));
    TRY(nvrtcGetCUBINSize(program, bytes));
    char *image = malloc(*bytes);
    TRY(nvrtcGetCUBIN(program, image));
    return image;
}

static char *compile_file(const struct loop *l, const char *path, size_t *bytes)
{
    static char source[1 << 16];
    FILE *file = fopen(path, "r");
    if (file == NULL || fread(source, 1, sizeof source - 1, file) == 0) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return compile(l, source, bytes);
}

static void open_device(struct loop *l)
{
    CUdevice device;
    CUcontext context;
    int major, minor, processors;
    TRY(cuInit(0));
    TRY(cuDeviceGet(&device, 0));
    TRY(cuDevicePrimaryCtxRetain(&context, device));
    TRY(cuCtxSetCurrent(context));
    TRY(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
    TRY(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
    TRY(cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
    l->processors = (uint32_t)processors;
    snprintf(l->architecture, sizeof l->architecture, "--gpu-architecture=sm_%d%d", major, minor);
    TRY(cuStreamCreateWithPriority(&l->stream, CU_STREAM_NON_BLOCKING, 0));
    TRY(cuEventCreate(&l->event, CU_EVENT_DISABLE_TIMING));
}

static void load_kernels(struct loop *l)
{
    CUmodule module;
    size_t bytes;
    TRY(cuModuleLoadData(&module, compile(l, xs__gpu_source, &bytes)));
    for (int i = 0; i < XS_GPU_FUNCTIONS; i++)
        TRY(cuModuleGetFunction(&l->functions[i], module, xs__gpu_names[i]));
    TRY(cuMemAlloc(&l->checksum, 8));
    TRY(cuMemsetD8Async(l->checksum, 0, 8, l->stream));
}

/* As graph_of_steps.py: a memset, then the kernels, each after the one before. */
static void capture(struct loop *l, const char *path, int kernels, size_t offset)
{
    CUmodule module;
    CUfunction step;
    CUgraph graph;
    size_t bytes, list_bytes = 8 * ((size_t)kernels + 2);
    CUdeviceptr list;
    TRY(cuModuleLoadData(&module, compile_file(l, path, &bytes)));
    TRY(cuModuleGetFunction(&step, module, "step"));
    TRY(cuMemAlloc(&list, LIST_BYTES));
    list += offset;
    TRY(cuStreamBeginCapture(l->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    TRY(cuMemsetD8Async(list, 0, list_bytes, l->stream));
    for (long long value = 1; value <= kernels; value++) {
        void *parameters[] = {&list, &value};
        TRY(cuLaunchKernel(step, 1, 1, 1, 32, 1, 1, 0, l->stream, parameters, NULL));
    }
    TRY(cuStreamEndCapture(l->stream, &graph));
    TRY(cuGraphInstantiateWithFlags(&l->graph, graph, 0));
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
    if (l->graph != NULL)
        TRY(cuGraphLaunch(l->graph, l->stream));
    else
        for (int i = 0; i < layers; i++)
            launch(l, c);
    TRY(cuEventRecord(l->event, l->stream));
    while ((result = cuEventQuery(l->event)) == CUDA_ERROR_NOT_READY)
        ;
    TRY(result);
}

static int write_cubin(const struct loop *l, const char *from, const char *to)
{
    size_t bytes;
    char *image = compile_file(l, from, &bytes);
    FILE *file = fopen(to, "wb");
    if (file == NULL || fwrite(image, 1, bytes, file) != bytes || fclose(file) != 0) {
        perror(to);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct loop l = {0};
    if (argc < 4 || argc > 7)
        return 2;
    int is_burst = strcmp(argv[1], "burst") == 0, is_graph = strcmp(argv[1], "graph") == 0;
    int count = atoi(argv[argc - 1]), warm = count / 10, layers = is_burst ? atoi(argv[2]) : 1;
    struct xs_command command = {.kind = is_burst ? XS_SPIN : XS_MATMUL, .batch = 1};
    open_device(&l);
    if (strcmp(argv[1], "compile") == 0)
        return write_cubin(&l, argv[2], argv[3]);
    if (is_graph) {
        capture(&l, argv[2], atoi(argv[3]), (size_t)atoi(argv[4]));
    } else {
        load_kernels(&l);
        if (!is_burst) {
            command.n = (uint32_t)atoi(argv[2]);
            allocate(&l, command.n);
        }
    }
    int64_t *starts = calloc((size_t)count, sizeof *starts);
    int64_t *latencies = calloc((size_t)count, sizeof *latencies);
    int64_t period = is_burst ? 0 : 1000000000 / atoi(argv[argc - 2]), start = now_ns() + 10000000;
    for (int i = -warm; i < count; i++) {
        int64_t at = start + (i + warm) * period;
        if (is_burst)
            at = now_ns();
        else
            wait_until(at);
        request(&l, &command, layers);
        if (i >= 0) {
            latencies[i] = now_ns() - at;
            starts[i] = at;
        }
    }
    for (int i = 0; i < count; i++)
        printf("%lld %lld\n", (long long)starts[i], (long long)latencies[i]);
    return 0;
}
