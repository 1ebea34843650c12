/* opencl_commands.c - commands on the opencl device: their memory, their launch, their
 * results, and the time of an iteration of xs_spin. */
#include <stdlib.h>

#include "base/clock.h"
#include "devices/opencl/opencl_device.h"

/* ---- kernels --------------------------------------------------------------- */

void xs__opencl_kernel_destroy(struct xs_kernel *kernel)
{
    if (kernel == NULL)
        return;
    const struct xs_opencl_api *api = &kernel->cl->api;
    void *const buffers[] = {kernel->a, kernel->b, kernel->out, kernel->checksum};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        if (buffers[i] != NULL)
            api->ReleaseMemObject(buffers[i]);
    if (kernel->kernel != NULL)
        api->ReleaseKernel(kernel->kernel);
    free(kernel);
}

static int make_function(struct xs_opencl *cl, enum xs_gpu_function function, void **out,
                         struct xs_error *err)
{
    int code = XS_CL_SUCCESS;
    *out = cl->api.CreateKernel(cl->program, xs__gpu_names[function], &code);
    return xs__opencl_status(code, "function", err);
}

struct argument {
    size_t bytes;
    const void *value;
};

static int set_arguments(struct xs_opencl *cl, void *kernel, const struct argument *arguments,
                         unsigned int count, struct xs_error *err)
{
    for (unsigned int i = 0; i < count; i++)
        TRY(cl, SetKernelArg(kernel, i, arguments[i].bytes, arguments[i].value), "argument");
    return XS_OK;
}

/* `event` may be NULL; else the caller releases it. */
static int start(struct xs_opencl *cl, void *queue, void *kernel, struct xs_gpu_grid g,
                 void **event, const char *what, struct xs_error *err)
{
    const size_t group[] = {g.threads[0], g.threads[1], g.threads[2]};
    const size_t items[] = {g.blocks[0] * group[0], g.blocks[1] * group[1], g.blocks[2] * group[2]};
    TRY(cl, EnqueueNDRangeKernel(queue, kernel, 3, NULL, items, group, 0, NULL, event), what);
    return XS_OK;
}

static int fill(struct xs_kernel *k, void *buffer, uint32_t seed, uint32_t which,
                struct xs_error *err)
{
    struct xs_opencl *cl = k->cl;
    const struct argument arguments[] = {{sizeof buffer, &buffer},
                                         {sizeof k->items, &k->items},
                                         {sizeof seed, &seed},
                                         {sizeof which, &which}};
    void *kernel = NULL;
    int rc = make_function(cl, XS_GPU_FILL, &kernel, err);
    if (rc == XS_OK)
        rc = set_arguments(cl, kernel, arguments, 4, err);
    if (rc == XS_OK)
        rc = start(cl, cl->setup, kernel, xs__gpu_fill_grid(k->items), NULL, "fill", err);
    if (kernel != NULL)
        cl->api.ReleaseKernel(kernel); /* the launched command keeps it alive */
    return rc;
}

/* `host` is the initial content of the buffer, or NULL. */
static int allocate(struct xs_kernel *k, uint64_t bytes, void *host, void **out,
                    struct xs_error *err)
{
    uint64_t flags = XS_CL_MEM_READ_WRITE | (host != NULL ? XS_CL_MEM_COPY_HOST_PTR : 0);
    int code = XS_CL_SUCCESS;
    *out = k->cl->api.CreateBuffer(k->cl->context, flags, bytes, host, &code);
    int rc = xs__opencl_status(code, "kernel_create", err);
    if (rc != XS_ENOMEM)
        return rc;
    return xs__fail(err, XS_ENOMEM, "opencl.kernel_create", code,
                    "%u x %u in a batch of %u needs three times %.1f GB, more than the device has",
                    k->command.n, k->command.n, k->command.batch, (double)bytes / 1e9);
}

static int make_buffers(struct xs_kernel *k, struct xs_error *err)
{
    uint64_t bytes = k->items * sizeof(float);
    int64_t zero = 0;
    int rc = allocate(k, sizeof zero, &zero, &k->checksum, err);
    if (rc == XS_OK && bytes > 0)
        rc = allocate(k, bytes, NULL, &k->a, err);
    if (rc == XS_OK && bytes > 0)
        rc = allocate(k, bytes, NULL, &k->b, err);
    if (rc == XS_OK && bytes > 0)
        rc = allocate(k, bytes, NULL, &k->out, err);
    return rc;
}

/* Set the arguments that are the same for all launches. The values of the others let a launch
 * leave the checksum as it is. */
static int make_arguments(struct xs_kernel *k, struct xs_error *err)
{
    const uint32_t launch = 0;
    const uint64_t at = UINT64_MAX, iterations = 0;
    const struct argument computing[] = {{sizeof k->a, &k->a},
                                         {sizeof k->b, &k->b},
                                         {sizeof k->out, &k->out},
                                         {sizeof k->command.n, &k->command.n},
                                         {sizeof launch, &launch},
                                         {sizeof at, &at},
                                         {sizeof k->checksum, &k->checksum}};
    const struct argument spinning[] = {{sizeof iterations, &iterations},
                                        {sizeof launch, &launch},
                                        {sizeof k->checksum, &k->checksum}};
    int rc = make_function(k->cl, k->function, &k->kernel, err);
    if (rc != XS_OK)
        return rc;
    return k->function == XS_GPU_SPIN ? set_arguments(k->cl, k->kernel, spinning, 3, err)
                                      : set_arguments(k->cl, k->kernel, computing, 7, err);
}

static struct xs_gpu_grid grid_of(const struct xs_kernel *k)
{
    return xs__gpu_grid(&k->command, k->iterations, k->cl->processors, k->cl->spin_threads);
}

/* Fill the inputs, and an output that cannot look right. PoCL compiles a kernel when it is
 * first launched, so one group is executed here, before a run measures time. Calibration has
 * done that for xs_spin. */
static int make_contents(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    const unsigned char all_bits = 0xff; /* NaN */
    struct xs_opencl *cl = k->cl;
    struct xs_gpu_grid g = grid_of(k);
    g.blocks[0] = g.blocks[1] = g.blocks[2] = 1;
    int rc = fill(k, k->a, seed, 0, err);
    if (rc == XS_OK)
        rc = fill(k, k->b, seed, 1, err);
    if (rc == XS_OK)
        rc = start(cl, cl->setup, k->kernel, g, NULL, "warm_up", err);
    if (rc != XS_OK)
        return rc;
    TRY(cl,
        EnqueueFillBuffer(cl->setup, k->out, &all_bits, 1, 0, k->items * sizeof(float), 0, NULL,
                          NULL),
        "kernel_create");
    TRY(cl, Finish(cl->setup), "kernel_create");
    return XS_OK;
}

static int make_kernel(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    int rc = make_buffers(k, err);
    if (rc == XS_OK)
        rc = make_arguments(k, err);
    /* A spin needs nothing more, so it does not wait for the device, which may be busy. */
    return rc == XS_OK && k->items > 0 ? make_contents(k, seed, err) : rc;
}

int xs__opencl_kernel_create(struct xs_stream *stream, const struct xs_command *command,
                             uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    struct xs_opencl *cl = stream->cl;
    struct xs_kernel *kernel = *out = calloc(1, sizeof *kernel);
    if (kernel == NULL)
        return xs__fail(err, XS_ENOMEM, "opencl.kernel_create", 0, "no memory for a kernel");
    kernel->cl = cl;
    kernel->stream = stream;
    kernel->command = *command;
    kernel->function = xs__gpu_function(command, cl->processors);
    kernel->items = xs__command_items(command);
    /* A spin takes the whole device here, in one wave. */
    kernel->command.fill_permille = kernel->command.waves = 0;
    kernel->iterations = (uint64_t)((double)command->duration_ns * cl->iterations_per_ns);
    int rc = make_kernel(kernel, seed, err);
    if (rc != XS_OK) {
        xs__opencl_kernel_destroy(kernel);
        *out = NULL;
    }
    return rc;
}

int xs__opencl_launch(struct xs_stream *stream, struct xs_kernel *k, uint32_t argument,
                      struct xs_error *err)
{
    struct xs_opencl *cl = stream->cl;
    if (k->function == XS_GPU_SPIN) {
        TRY(cl, SetKernelArg(k->kernel, 0, sizeof k->iterations, &k->iterations), "argument");
        TRY(cl, SetKernelArg(k->kernel, 1, sizeof argument, &argument), "argument");
    } else {
        uint64_t at = xs__gpu_at(argument, k->items);
        TRY(cl, SetKernelArg(k->kernel, 4, sizeof argument, &argument), "argument");
        TRY(cl, SetKernelArg(k->kernel, 5, sizeof at, &at), "argument");
    }
    if (stream->last != NULL)
        cl->api.ReleaseEvent(stream->last);
    stream->last = NULL;
    return start(cl, stream->queue, k->kernel, grid_of(k), &stream->last, "launch", err);
}

/* ---- results --------------------------------------------------------------- */

static int read_back(struct xs_kernel *k, void *buffer, size_t bytes, void *out, const char *what,
                     struct xs_error *err)
{
    struct xs_opencl *cl = k->cl;
    TRY(cl, Finish(k->stream->queue), what);
    if (bytes > 0)
        TRY(cl, EnqueueReadBuffer(cl->setup, buffer, 1, 0, bytes, out, 0, NULL, NULL), what);
    return XS_OK;
}

int xs__opencl_checksum(struct xs_kernel *kernel, int64_t *out, struct xs_error *err)
{
    return read_back(kernel, kernel->checksum, sizeof *out, out, "checksum", err);
}

int xs__opencl_output(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err)
{
    if (count > kernel->items)
        return xs__fail(err, XS_EINVAL, "opencl.output", 0,
                        "%llu elements cannot be read: the output has %llu",
                        (unsigned long long)count, (unsigned long long)kernel->items);
    return read_back(kernel, kernel->out, count * sizeof *out, out, "output", err);
}

/* ---- the time of an iteration of xs_spin ----------------------------------- */

/* Keep the shortest time of a spin of this number of iterations. */
static int time_spin(struct xs_kernel *k, uint64_t iterations, double *least_ns,
                     struct xs_error *err)
{
    xs_ns begin = xs__clock_ns();
    k->iterations = iterations;
    int rc = xs__opencl_launch(k->stream, k, 0, err);
    if (rc != XS_OK)
        return rc;
    TRY(k->cl, Finish(k->stream->queue), "calibrate");
    double ns = (double)(xs__clock_ns() - begin);
    if (!(*least_ns > 0) || ns < *least_ns)
        *least_ns = ns;
    return XS_OK;
}

/* Take the difference of a long and a short spin, so that the time of the launch cancels out.
 * Take the fastest of many short spins, because on a CPU the operating system takes the
 * processor away, and some of them must be undisturbed. */
int xs__opencl_measure_spin(struct xs_opencl *cl, struct xs_kernel *k, struct xs_error *err)
{
    const uint64_t some = 20000, more = 220000;
    double shorter = 0, longer = 0;
    int rc = XS_OK;
    for (int i = 0; i < 30 && rc == XS_OK; i++) {
        rc = time_spin(k, some, &shorter, err);
        if (rc == XS_OK)
            rc = time_spin(k, more, &longer, err);
    }
    if (rc == XS_OK && longer <= shorter)
        rc = xs__fail(err, XS_EDEVICE, "opencl.calibrate", 0,
                      "a longer spin did not take longer, so the time of an iteration is unknown");
    if (rc == XS_OK)
        cl->iterations_per_ns = (double)(more - some) / (longer - shorter);
    return rc;
}
