/* device_opencl.c - all devices of OpenCL: GPUs of other makers, and CPUs. The library is the
 * ICD loader. Devices are counted over all platforms, in the order of the loader. Streams are
 * in-order command queues. Marks are events, and the engine polls them.
 *
 * Stream priority: where the device has cl_khr_priority_hints, 0 and below is its low
 * priority, 1 its medium, 2 and above its high. They are hints, so this file does not know
 * whether they have an effect (honour_priority -1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynlib.h"
#include "devices/opencl/opencl_device.h"

enum {
    PLATFORMS_MAX = 32,
    DEVICES_MAX = 64,        /* devices of a platform */
    SPIN_THREADS_MAX = 1024, /* threads of a work-group */
    LOG_END = 180            /* characters of a build log in an error */
};

/* ---- finding the device ------------------------------------------------------ */

/* Find device number `index` of all devices, and its platform. */
static int find_device(struct xs_opencl *cl, int32_t index, void **platform, struct xs_error *err)
{
    void *platforms[PLATFORMS_MAX], *devices[DEVICES_MAX];
    unsigned int platform_count = 0, before = 0;
    int code = cl->api.GetPlatformIDs(PLATFORMS_MAX, platforms, &platform_count);
    if (code == XS_CL_PLATFORM_NOT_FOUND_KHR || (code == XS_CL_SUCCESS && platform_count == 0))
        return xs__fail(
            err, XS_ENODEV, "opencl.open", code,
            "the OpenCL loader finds no platform (in /etc/OpenCL/vendors or $OCL_ICD_VENDORS)");
    int rc = xs__opencl_status(code, "platforms", err);
    for (unsigned int i = 0; rc == XS_OK && i < platform_count && i < PLATFORMS_MAX; i++) {
        unsigned int count = 0;
        code =
            cl->api.GetDeviceIDs(platforms[i], XS_CL_DEVICE_TYPE_ALL, DEVICES_MAX, devices, &count);
        if (code == XS_CL_DEVICE_NOT_FOUND)
            continue;
        rc = xs__opencl_status(code, "devices", err);
        if (rc == XS_OK && (unsigned int)index - before < count &&
            (unsigned int)index - before < DEVICES_MAX) {
            cl->device = devices[(unsigned int)index - before];
            *platform = platforms[i];
            return XS_OK;
        }
        before += count;
    }
    if (rc != XS_OK)
        return rc;
    return xs__fail(err, XS_ENODEV, "opencl.open", 0,
                    "the %u OpenCL platforms have %u devices, so there is no device number %d",
                    platform_count, before, index);
}

static int has_extension(struct xs_opencl *cl, const char *name, bool *out, struct xs_error *err)
{
    size_t bytes = 0;
    TRY(cl, GetDeviceInfo(cl->device, XS_CL_DEVICE_EXTENSIONS, 0, NULL, &bytes), "device");
    char *all = calloc(1, bytes + 1);
    if (all == NULL)
        return xs__fail(err, XS_ENOMEM, "opencl.open", 0, "no memory for %zu characters", bytes);
    int code = cl->api.GetDeviceInfo(cl->device, XS_CL_DEVICE_EXTENSIONS, bytes, all, NULL);
    *out = code == XS_CL_SUCCESS && strstr(all, name) != NULL;
    free(all);
    return xs__opencl_status(code, "device", err);
}

static int read_properties(struct xs_opencl *cl, void *platform, struct xs_error *err)
{
    char device_name[128] = "", platform_name[128] = "";
    uint64_t types = 0;
    size_t most = 0;
    TRY(cl, GetDeviceInfo(cl->device, XS_CL_DEVICE_NAME, sizeof device_name, device_name, NULL),
        "device");
    TRY(cl,
        GetPlatformInfo(platform, XS_CL_PLATFORM_NAME, sizeof platform_name, platform_name, NULL),
        "platform");
    TRY(cl, GetDeviceInfo(cl->device, XS_CL_DEVICE_TYPE, sizeof types, &types, NULL), "device");
    TRY(cl,
        GetDeviceInfo(cl->device, XS_CL_DEVICE_MAX_COMPUTE_UNITS, sizeof cl->processors,
                      &cl->processors, NULL),
        "device");
    TRY(cl, GetDeviceInfo(cl->device, XS_CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof most, &most, NULL),
        "device");
    snprintf(cl->name, sizeof cl->name, "%.60s (%.60s)", device_name, platform_name);
    /* A CPU executes the work-items of a group one after another, so one is enough. More
     * would make an iteration, the unit of a spin, too long. */
    cl->on_host = (types & XS_CL_DEVICE_TYPE_CPU) != 0;
    cl->spin_threads = cl->on_host               ? 1
                       : most < SPIN_THREADS_MAX ? (uint32_t)most
                                                 : SPIN_THREADS_MAX;
    return has_extension(cl, "cl_khr_priority_hints", &cl->has_priorities, err);
}

/* ---- the kernels --------------------------------------------------------------- */

/* Report the end of the log: the errors are there. */
static int build_error(struct xs_opencl *cl, void *program, int code, struct xs_error *err)
{
    size_t bytes = 0;
    char *log = NULL;
    if (cl->api.GetProgramBuildInfo(program, cl->device, XS_CL_PROGRAM_BUILD_LOG, 0, NULL,
                                    &bytes) == XS_CL_SUCCESS)
        log = calloc(1, bytes + 1);
    if (log != NULL)
        cl->api.GetProgramBuildInfo(program, cl->device, XS_CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
    size_t length = log != NULL ? strlen(log) : 0;
    for (size_t i = 0; i < length; i++)
        if (log[i] == '\n')
            log[i] = ' ';
    int rc = length == 0 ? xs__opencl_status(code, "compile", err)
                         : xs__fail(err, XS_EDEVICE, "opencl.compile", code, "%s",
                                    log + (length > LOG_END ? length - LOG_END : 0));
    free(log);
    return rc;
}

int xs__opencl_build(struct xs_opencl *cl, const char *source, void **program, struct xs_error *err)
{
    int code = XS_CL_SUCCESS;
    *program = cl->api.CreateProgramWithSource(cl->context, 1, &source, NULL, &code);
    if (code != XS_CL_SUCCESS)
        return xs__opencl_status(code, "program", err);
    code = cl->api.BuildProgram(*program, 1, &cl->device, "", NULL, NULL);
    return code == XS_CL_SUCCESS ? XS_OK : build_error(cl, *program, code, err);
}

/* ---- streams ------------------------------------------------------------------- */

static int create_queue(struct xs_opencl *cl, int32_t priority, void **queue, struct xs_error *err)
{
    uint64_t level = priority <= 0   ? XS_CL_QUEUE_PRIORITY_LOW_KHR
                     : priority == 1 ? XS_CL_QUEUE_PRIORITY_MED_KHR
                                     : XS_CL_QUEUE_PRIORITY_HIGH_KHR;
    const uint64_t properties[] = {XS_CL_QUEUE_PRIORITY_KHR, level, 0};
    int code = XS_CL_SUCCESS;
    /* Plain queues use the older call, which a platform of OpenCL 1.2 has, too. */
    *queue = cl->has_priorities ? cl->api.CreateCommandQueueWithProperties(cl->context, cl->device,
                                                                           properties, &code)
                                : cl->api.CreateCommandQueue(cl->context, cl->device, 0, &code);
    return xs__opencl_status(code, "stream_create", err);
}

static void opencl_stream_destroy(struct xs_stream *stream)
{
    if (stream == NULL)
        return;
    const struct xs_opencl_api *api = &stream->cl->api;
    if (stream->queue != NULL)
        api->Finish(stream->queue);
    for (uint32_t i = 0; i < XS_THRESHOLD_MAX; i++)
        if (stream->marks[i] != NULL)
            api->ReleaseEvent(stream->marks[i]);
    if (stream->last != NULL)
        api->ReleaseEvent(stream->last);
    if (stream->queue != NULL)
        api->ReleaseCommandQueue(stream->queue);
    free(stream);
}

static int opencl_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                                struct xs_error *err)
{
    struct xs_stream *stream = *out = calloc(1, sizeof *stream);
    if (stream == NULL)
        return xs__fail(err, XS_ENOMEM, "opencl.stream_create", 0, "no memory for a stream");
    stream->cl = (struct xs_opencl *)dev;
    int rc = create_queue(stream->cl, priority, &stream->queue, err);
    if (rc != XS_OK) {
        opencl_stream_destroy(stream);
        *out = NULL;
    }
    return rc;
}

static void *opencl_stream_handle(struct xs_stream *stream)
{
    return stream->queue;
}

/* A mark is the event of the launch before it. A marker of its own would be one more command
 * that waits for its turn: PoCL 3.1 passed it only after a command of another stream had been
 * executed. */
static int opencl_mark(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    struct xs_opencl *cl = stream->cl;
    if (stream->marks[slot] != NULL)
        cl->api.ReleaseEvent(stream->marks[slot]);
    stream->marks[slot] = NULL;
    if (stream->last == NULL)
        return XS_OK;
    TRY(cl, RetainEvent(stream->last), "mark");
    stream->marks[slot] = stream->last;
    TRY(cl, Flush(stream->queue), "flush"); /* otherwise the driver may delay what it got */
    return XS_OK;
}

static int opencl_passed(struct xs_stream *stream, uint32_t slot, struct xs_error *err)
{
    int status = XS_CL_COMPLETE;
    if (stream->marks[slot] == NULL)
        return XS_OK; /* no launch is before the mark */
    TRY(stream->cl,
        GetEventInfo(stream->marks[slot], XS_CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status,
                     &status, NULL),
        "passed");
    if (status > XS_CL_COMPLETE)
        return XS_EAGAIN;
    return xs__opencl_status(status, "execute", err); /* negative: the command failed */
}

/* ---- the device ---------------------------------------------------------------- */

/* The handles contain the state of an OpenCL context: there is no state of a thread. */
static int opencl_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    (void)dev, (void)err;
    return XS_OK;
}

static void opencl_describe(struct xs_device *dev, struct xs_device_info *out)
{
    const struct xs_opencl *cl = (const struct xs_opencl *)dev;
    snprintf(out->kind, sizeof out->kind, "opencl");
    snprintf(out->name, sizeof out->name, "%s", cl->name);
    xs__dynlib_file((void (*)(void))cl->api.GetPlatformIDs, out->driver_file,
                    sizeof out->driver_file);
    out->computes = 1;
    out->on_host = cl->on_host;
    out->honour_priority = cl->has_priorities ? -1 : 0;
    out->most_priority = cl->has_priorities ? 2 : 0; /* low, medium, high */
}

static void opencl_close(struct xs_device *dev)
{
    struct xs_opencl *cl = (struct xs_opencl *)dev;
    if (cl->setup != NULL)
        cl->api.ReleaseCommandQueue(cl->setup);
    if (cl->program != NULL)
        cl->api.ReleaseProgram(cl->program);
    if (cl->context != NULL)
        cl->api.ReleaseContext(cl->context);
    /* The library stays loaded. Unloading it would remove the loader's list of drivers, which
     * ocl-icd 2.3 does not free, while the drivers stay in the process. */
    free(cl);
}

static int calibrate(struct xs_opencl *cl, struct xs_error *err)
{
    const struct xs_command command = {.kind = XS_SPIN, .batch = 1, .duration_ns = 0};
    struct xs_stream *stream = NULL;
    struct xs_kernel *kernel = NULL;
    int rc = opencl_stream_create(&cl->base, 0, &stream, err);
    if (rc == XS_OK)
        rc = xs__opencl_kernel_create(stream, &command, 0, &kernel, err);
    if (rc == XS_OK)
        rc = xs__opencl_measure_spin(cl, kernel, err);
    opencl_stream_destroy(stream);
    xs__opencl_kernel_destroy(kernel);
    return rc;
}

static int prepare(struct xs_opencl *cl, const struct xs_device_options *options,
                   struct xs_error *err)
{
    void *platform = NULL;
    int code = XS_CL_SUCCESS;
    int rc = xs__opencl_open(&cl->api, options->gpu.driver, err);
    if (rc == XS_OK)
        rc = find_device(cl, options->index, &platform, err);
    if (rc == XS_OK)
        rc = read_properties(cl, platform, err);
    if (rc != XS_OK)
        return rc;
    cl->context = cl->api.CreateContext(NULL, 1, &cl->device, NULL, NULL, &code);
    rc = xs__opencl_status(code, "context", err);
    if (rc == XS_OK)
        rc = create_queue(cl, 0, &cl->setup, err);
    if (rc == XS_OK)
        rc = xs__opencl_build(cl, xs__gpu_source, &cl->program, err);
    return rc == XS_OK ? calibrate(cl, err) : rc;
}

static int opencl_open(const struct xs_device_options *options, struct xs_device **out,
                       struct xs_error *err)
{
    struct xs_opencl *cl = calloc(1, sizeof *cl);
    if (cl == NULL)
        return xs__fail(err, XS_ENOMEM, "opencl.open", 0, "no memory for the opencl device");
    int rc = prepare(cl, options, err);
    if (rc != XS_OK) {
        opencl_close(&cl->base);
        return rc;
    }
    *out = &cl->base;
    return XS_OK;
}

static const struct xs_result_ops results = {
    .checksum = xs__opencl_checksum,
    .output = xs__opencl_output,
};

const struct xs_device_ops xs_device_opencl = {
    .kind = "opencl",
    .open = opencl_open,
    .describe = opencl_describe,
    .close = opencl_close,
    .bind_thread = opencl_bind_thread,
    .stream_create = opencl_stream_create,
    .stream_destroy = opencl_stream_destroy,
    .kernel_create = xs__opencl_kernel_create,
    .kernel_destroy = xs__opencl_kernel_destroy,
    .launch = xs__opencl_launch,
    .mark = opencl_mark,
    .passed = opencl_passed,
    .stream_handle = opencl_stream_handle,
    .results = &results,
};
