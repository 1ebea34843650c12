/* device_hip.c - AMD GPUs through libamdhip64 and hiprtc, both found at run time.
 * hipSetDevice() sets the primary context of the device in each thread; all HIP code in the
 * process shares it.
 *
 * Of hipDeviceProp_t, whose layout changed with HIP 6, this file reads only the name of the
 * architecture, at the offset that each of the two layouts has. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynlib.h"
#include "devices/gpu/gpu_device.h"

enum {
    XS_HIP_MULTIPROCESSOR_COUNT = 63,
    /* Byte offsets of gcnArchName, 256 characters. */
    XS_HIP_ARCHITECTURE_OLD = 396,   /* offset in the struct of hipGetDeviceProperties */
    XS_HIP_ARCHITECTURE_R0600 = 1160 /* offset in the struct of hipGetDevicePropertiesR0600 */
};

struct hip {
    struct xs_gpu gpu;
    int (*SetDevice)(int device);
    int (*GetDeviceProperties)(void *properties, int device);
    int (*ExtStreamCreateWithCUMask)(void **stream, uint32_t words, const uint32_t *mask);
};

/* Like TRY, for the calls of this file. */
#define TRY_HIP(hip, call, what)                                                                   \
    do {                                                                                           \
        int try_rc = xs__gpu_status(&(hip)->gpu.driver, (hip)->call, what, err);                   \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

static int hip_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    struct hip *hip = (struct hip *)dev;
    TRY_HIP(hip, SetDevice(hip->gpu.device), "bind_thread");
    return XS_OK;
}

static void hip_close(struct xs_device *dev)
{
    struct hip *hip = (struct hip *)dev;
    if (hip->gpu.setup != NULL) {
        hip_bind_thread(dev, NULL); /* any thread may close the device */
        xs__gpu_release(&hip->gpu);
    }
    if (hip->gpu.driver.library != NULL)
        dlclose(hip->gpu.driver.library);
    free(hip);
}

/* Read the architecture as the compiler needs it: "gfx90a:sramecc+:xnack-". */
static int read_architecture(struct hip *hip, struct xs_error *err)
{
    static const char new_name[] = "hipGetDevicePropertiesR0600";
    bool is_new = dlsym(hip->gpu.driver.library, new_name) != NULL;
    const struct xs_symbol row = {is_new ? new_name : "hipGetDeviceProperties",
                                  (void **)&hip->GetDeviceProperties};
    char properties[8192] = {0}; /* five times the larger layout */
    int rc = xs__dynlib_symbols(hip->gpu.driver.library, &row, 1, "hip.open", err);
    if (rc != XS_OK)
        return rc;
    TRY_HIP(hip, GetDeviceProperties(properties, hip->gpu.device), "properties");
    const char *name = properties + (is_new ? XS_HIP_ARCHITECTURE_R0600 : XS_HIP_ARCHITECTURE_OLD);
    snprintf(hip->gpu.architecture, sizeof hip->gpu.architecture, "%s", name);
    if (strncmp(name, "gfx", 3) == 0)
        return XS_OK;
    return xs__fail(err, XS_EDEVICE, "hip.properties", 0,
                    "%s returns the architecture '%.32s': its struct has an unknown layout",
                    row.name, hip->gpu.architecture);
}

/* A stream with a mask has no priority. No flag prevents it from waiting for the null stream,
 * but nothing here uses the null stream. */
static int create_bound_stream(struct xs_stream *stream, int level, const uint32_t *units,
                               uint32_t words, struct xs_error *err)
{
    struct hip *hip = (struct hip *)stream->gpu;
    (void)level;
    TRY_HIP(hip, ExtStreamCreateWithCUMask(&stream->stream, words, units), "stream_create");
    return XS_OK;
}

static void find_masks(struct hip *hip)
{
    const struct xs_symbol row = {"hipExtStreamCreateWithCUMask",
                                  (void **)&hip->ExtStreamCreateWithCUMask};
    if (!xs__dynlib_optional(hip->gpu.driver.library, &row, 1))
        return;
    hip->gpu.units = hip->gpu.processors;
    hip->gpu.unit_step = 2; /* a work-group processor of RDNA is a pair of compute units */
    hip->gpu.create_bound_stream = create_bound_stream;
}

/* The library stays open, because the device is opened next and must not load it again. */
static int hip_locate(const struct xs_device_options *options, struct xs_device_place *out,
                      struct xs_error *err)
{
    struct xs_gpu gpu = {.device = options->index};
    int rc = xs__gpu_find(&gpu, XS_BRAND_HIP, options, err);
    return rc == XS_OK ? xs__gpu_locate(&gpu, out, err) : rc;
}

static int select_device(struct hip *hip, int32_t index, struct xs_error *err)
{
    struct xs_gpu *gpu = &hip->gpu;
    const struct xs_symbol row = {"hipSetDevice", (void **)&hip->SetDevice};
    int processors = 0;
    int rc = xs__dynlib_symbols(gpu->driver.library, &row, 1, "hip.open", err);
    gpu->device = index;
    if (rc == XS_OK)
        rc = hip_bind_thread(&gpu->base, err);
    if (rc == XS_OK)
        rc = read_architecture(hip, err);
    if (rc != XS_OK)
        return rc;
    TRY(gpu, DeviceGetName(gpu->name, sizeof gpu->name, gpu->device), "name");
    TRY(gpu, DeviceGetAttribute(&processors, XS_HIP_MULTIPROCESSOR_COUNT, gpu->device),
        "attribute");
    gpu->processors = (uint32_t)processors;
    find_masks(hip);
    return XS_OK;
}

static int hip_open(const struct xs_device_options *options, struct xs_device **out,
                    struct xs_error *err)
{
    struct hip *hip = calloc(1, sizeof *hip);
    if (hip == NULL)
        return xs__fail(err, XS_ENOMEM, "hip.open", 0, "no memory for the hip device");
    int rc = xs__gpu_find(&hip->gpu, XS_BRAND_HIP, options, err);
    if (rc == XS_OK)
        rc = select_device(hip, options->index, err);
    if (rc == XS_OK)
        rc = xs__gpu_prepare(&hip->gpu, &options->gpu, err);
    if (rc != XS_OK) {
        hip_close(&hip->gpu.base);
        return rc;
    }
    *out = &hip->gpu.base;
    return XS_OK;
}

const struct xs_device_ops xs_device_hip = {
    .kind = "hip",
    .locate = hip_locate,
    .open = hip_open,
    .close = hip_close,
    .bind_thread = hip_bind_thread,
    XS_GPU_OPS,
};
