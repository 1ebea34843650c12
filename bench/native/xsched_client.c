/* xsched_client.c - what the scheduler "xsched" is measured against: two queues
 * under XSched's own API, written by hand, without our runner.
 *
 *     xsched_client PREEMPT HAL HIGH_N HIGH_LAYERS RATE COUNT LOW_N LOW_LAYERS THRESHOLD
 *
 * The high queue (priority 10) gets a request of HIGH_LAYERS times
 * matmul(HIGH_N) RATE times a second, COUNT times; the low one (priority 1) is a
 * closed loop. Commands are callbacks, the local scheduler has the policy HPF.
 * Prints one latency of high in ns a line, from the scheduled start to the moment at
 * which the event after the last kernel was seen. xsched_client.py builds it, with
 * -DOPENCL against OpenCL, else against cuda.h. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef OPENCL
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
typedef cl_command_queue stream_t;
typedef cl_event event_t;
typedef cl_mem memory_t;
#define HAL_FUNCTION "OclQueueCreate"
#else
#include <cuda.h>
#include <nvrtc.h>
typedef CUstream stream_t;
typedef CUevent event_t;
typedef CUdeviceptr memory_t;
#define HAL_FUNCTION "CudaQueueCreate"
#endif

#include "devices/kernels/gpu_kernels.h"
#include "devices/xsched/xsched_api.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_rc = (int)(call);                                                                  \
        if (try_rc != 0) {                                                                         \
            fprintf(stderr, "%s gives %d\n", #call, try_rc);                                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct xs_xsched_api xsched;

struct queue {
    struct xs_command command;
    stream_t stream;
    event_t event; /* after the last command of a request */
    memory_t a, b, out, checksum;
    uint64_t items, hwq, xq;
    uint32_t layers, launches;
    atomic_uint launched; /* of the request */
#ifdef OPENCL
    cl_kernel kernel;
#endif
};

static uint32_t processors;

static struct xs_gpu_grid grid_of(const struct queue *q)
{
    return xs__gpu_grid(&q->command, 0, processors, 1024);
}

/* ---- the driver -------------------------------------------------------------- */

#ifdef OPENCL
static cl_context context;
static cl_device_id device;
static cl_program program;

static void open_device(void)
{
    const char *source = xs__gpu_source;
    cl_platform_id platform;
    int code;
    TRY(clGetPlatformIDs(1, &platform, NULL));
    TRY(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
    TRY(clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof processors, &processors, NULL));
    context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    program = clCreateProgramWithSource(context, 1, &source, NULL, &code);
    TRY(clBuildProgram(program, 1, &device, "", NULL, NULL));
}

static cl_mem allocate(size_t bytes)
{
    int code;
    cl_mem made = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    TRY(code);
    return made;
}

static void enqueue(stream_t stream, cl_kernel kernel, struct xs_gpu_grid g, event_t *event)
{
    size_t items[3], group[3];
    for (int i = 0; i < 3; i++) {
        group[i] = g.threads[i];
        items[i] = group[i] * g.blocks[i];
    }
    TRY(clEnqueueNDRangeKernel(stream, kernel, 3, NULL, items, group, 0, NULL, event));
}

static void fill(struct queue *q, cl_mem to, uint32_t which)
{
    int code;
    uint32_t seed = 0;
    cl_kernel kernel = clCreateKernel(program, xs__gpu_names[XS_GPU_FILL], &code);
    TRY(clSetKernelArg(kernel, 0, sizeof to, &to));
    TRY(clSetKernelArg(kernel, 1, sizeof q->items, &q->items));
    TRY(clSetKernelArg(kernel, 2, sizeof seed, &seed));
    TRY(clSetKernelArg(kernel, 3, sizeof which, &which));
    enqueue(q->stream, kernel, xs__gpu_fill_grid(q->items), NULL);
}

static void make_stream(struct queue *q)
{
    int code;
    q->stream = clCreateCommandQueue(context, device, 0, &code);
    TRY(code);
    enum xs_gpu_function function = xs__gpu_function(&q->command, processors);
    q->kernel = clCreateKernel(program, xs__gpu_names[function], &code);
    TRY(code);
}

static void set_arguments(struct queue *q)
{
    TRY(clFinish(q->stream));
    TRY(clSetKernelArg(q->kernel, 0, sizeof q->a, &q->a));
    TRY(clSetKernelArg(q->kernel, 1, sizeof q->b, &q->b));
    TRY(clSetKernelArg(q->kernel, 2, sizeof q->out, &q->out));
    TRY(clSetKernelArg(q->kernel, 3, sizeof q->command.n, &q->command.n));
    TRY(clSetKernelArg(q->kernel, 6, sizeof q->checksum, &q->checksum));
}

static void launch(struct queue *q, bool last)
{
    uint32_t number = q->launches++;
    uint64_t at = xs__gpu_at(number, q->items);
    TRY(clSetKernelArg(q->kernel, 4, sizeof number, &number));
    TRY(clSetKernelArg(q->kernel, 5, sizeof at, &at));
    if (last && q->event != NULL)
        clReleaseEvent(q->event);
    enqueue(q->stream, q->kernel, grid_of(q), last ? &q->event : NULL);
    TRY(clFlush(q->stream));
}

static bool done(struct queue *q)
{
    cl_int status;
    TRY(clGetEventInfo(q->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL));
    return status == CL_COMPLETE;
}
#else
static CUfunction functions[XS_GPU_FUNCTIONS];
static CUcontext context;

static void open_device(void)
{
    CUdevice device;
    CUmodule module;
    nvrtcProgram program;
    size_t bytes;
    int major, minor, count;
    char option[64];
    const char *options[] = {option};
    TRY(cuInit(0));
    TRY(cuDeviceGet(&device, 0));
    TRY(cuDevicePrimaryCtxRetain(&context, device));
    TRY(cuCtxSetCurrent(context));
    TRY(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
    TRY(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
    TRY(cuDeviceGetAttribute(&count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
    processors = (uint32_t)count;
    snprintf(option, sizeof option, "--gpu-architecture=sm_%d%d", major, minor);
    TRY(nvrtcCreateProgram(&program, xs__gpu_source, "client.cu", 0, NULL, NULL));
    TRY(nvrtcCompileProgram(program, 1, options));
    TRY(nvrtcGetCUBINSize(program, &bytes));
    char *image = malloc(bytes);
    TRY(nvrtcGetCUBIN(program, image));
    TRY(cuModuleLoadData(&module, image));
    for (int i = 0; i < XS_GPU_FUNCTIONS; i++)
        TRY(cuModuleGetFunction(&functions[i], module, xs__gpu_names[i]));
}

static CUdeviceptr allocate(size_t bytes)
{
    CUdeviceptr made;
    TRY(cuMemAlloc(&made, bytes));
    return made;
}

static void fill(struct queue *q, CUdeviceptr to, uint32_t which)
{
    uint32_t seed = 0;
    void *parameters[] = {&to, &q->items, &seed, &which};
    struct xs_gpu_grid g = xs__gpu_fill_grid(q->items);
    TRY(cuLaunchKernel(functions[XS_GPU_FILL], g.blocks[0], 1, 1, g.threads[0], 1, 1, 0, q->stream,
                       parameters, NULL));
}

static void make_stream(struct queue *q)
{
    TRY(cuStreamCreate(&q->stream, CU_STREAM_NON_BLOCKING));
    TRY(cuEventCreate(&q->event, CU_EVENT_DISABLE_TIMING));
}

static void set_arguments(struct queue *q)
{
    TRY(cuStreamSynchronize(q->stream));
}

static void launch(struct queue *q, bool last)
{
    uint32_t number = q->launches++;
    uint64_t at = xs__gpu_at(number, q->items);
    struct xs_gpu_grid g = grid_of(q);
    void *parameters[] = {&q->a, &q->b, &q->out, &q->command.n, &number, &at, &q->checksum};
    TRY(cuLaunchKernel(functions[xs__gpu_function(&q->command, processors)], g.blocks[0],
                       g.blocks[1], g.blocks[2], g.threads[0], g.threads[1], g.threads[2], 0,
                       q->stream, parameters, NULL));
    if (last)
        TRY(cuEventRecord(q->event, q->stream));
}

static bool done(struct queue *q)
{
    CUresult result = cuEventQuery(q->event);
    if (result != CUDA_ERROR_NOT_READY)
        TRY(result);
    return result == CUDA_SUCCESS;
}
#endif

/* ---- XSched ------------------------------------------------------------------ */

#define ROW(member, parameters) {#member, (void **)&xsched.member},

static void load_xsched(const char *preempt, const char *hal)
{
    const struct {
        const char *name;
        void **target;
    } rows[] = {XS_XSCHED_SYMBOLS(ROW)};
    void *library = dlopen(preempt, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library != NULL && i < sizeof rows / sizeof rows[0]; i++)
        *rows[i].target = dlsym(library, rows[i].name);
    library = dlopen(hal, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL)
        *(void **)&xsched.HwQueueCreate = dlsym(library, HAL_FUNCTION);
    if (xsched.HwQueueCreate == NULL || xsched.XQueueCreate == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    TRY(xsched.XHintSetScheduler(2, 1)); /* local, HPF */
}

static int32_t on_launch(uint64_t hwq, void *data)
{
    struct queue *q = data;
    (void)hwq;
    launch(q, q->launched + 1 == q->layers);
    q->launched++;
    return 0;
}

static void make_queue(struct queue *q, int n, int layers, int priority, int threshold)
{
    q->command = (struct xs_command){.kind = XS_MATMUL, .n = (uint32_t)n, .batch = 1};
    q->layers = (uint32_t)layers;
    q->items = (uint64_t)n * (uint64_t)n;
    make_stream(q);
    q->a = allocate(q->items * 4);
    q->b = allocate(q->items * 4);
    q->out = allocate(q->items * 4);
    q->checksum = allocate(8);
    fill(q, q->a, 0);
    fill(q, q->b, 1);
    set_arguments(q);
    TRY(xsched.HwQueueCreate(&q->hwq, (void *)q->stream));
    TRY(xsched.XQueueCreate(&q->xq, q->hwq, 1, 0));
    TRY(xsched.XQueueSetLaunchConfig(q->xq, threshold, threshold < 2 ? threshold : 2));
    TRY(xsched.XHintPriority(q->xq, priority));
}

/* ---- the load ---------------------------------------------------------------- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void wait_until(int64_t at)
{
    int64_t wake = at - 100000;
    struct timespec t = {.tv_sec = wake / 1000000000, .tv_nsec = wake % 1000000000};
    if (wake > now_ns())
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    while (now_ns() < at)
        ;
}

static void request(struct queue *q)
{
    q->launched = 0;
    for (uint32_t i = 0; i < q->layers; i++) {
        uint64_t command;
        TRY(xsched.HwCommandCreateCallback(&command, on_launch, q));
        TRY(xsched.XQueueSubmit(q->xq, command));
    }
    /* As our runner does: spin for 200 us, then let others run between two looks. */
    int64_t start = now_ns();
    while (q->launched < q->layers || !done(q))
        if (now_ns() - start > 200000)
            sched_yield();
}

static atomic_bool stopping;

static void *low_main(void *argument)
{
#ifndef OPENCL
    TRY(cuCtxSetCurrent(context));
#endif
    while (!stopping)
        request(argument);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct queue high, low;
    pthread_t thread;
    if (argc != 10)
        return 2;
    int count = atoi(argv[6]), warm = count / 10, threshold = atoi(argv[9]);
    load_xsched(argv[1], argv[2]);
    open_device();
    make_queue(&high, atoi(argv[3]), atoi(argv[4]), 10, threshold);
    make_queue(&low, atoi(argv[7]), atoi(argv[8]), 1, threshold);
    pthread_create(&thread, NULL, low_main, &low);
    int64_t *latencies = calloc((size_t)count, sizeof *latencies);
    int64_t period = 1000000000 / atoi(argv[5]), start = now_ns() + 10000000;
    for (int i = -warm; i < count; i++) {
        int64_t at = start + (i + warm) * period;
        wait_until(at);
        request(&high);
        if (i >= 0)
            latencies[i] = now_ns() - at;
    }
    stopping = true;
    pthread_join(thread, NULL);
    for (int i = 0; i < count; i++)
        printf("%lld\n", (long long)latencies[i]);
    return 0;
}
