/* gpu_setup.c - what the cuda and the hip device do when they open: find the driver and its
 * devices, load the kernels, calibrate xs_spin. */
#include <stdio.h>

#include "devices/gpu/gpu_device.h"

int xs__gpu_find(struct xs_gpu *gpu, enum xs_gpu_brand brand, const struct xs_device_options *o,
                 struct xs_error *err)
{
    int count = 0;
    pthread_mutex_init(&gpu->modules_lock, NULL);
    int rc = xs__gpu_driver_open(&gpu->driver, brand, o->gpu.driver, err);
    if (rc != XS_OK)
        return rc;
    int result = gpu->driver.Init(0);
    if (result == XS_GPU_SUCCESS)
        result = gpu->driver.DeviceGetCount(&count);
    if (xs__gpu_no_device(result) || (result == XS_GPU_SUCCESS && o->index >= count)) {
        char where[16];
        snprintf(where, sizeof where, "%s.open", xs__gpu_kind(brand));
        return xs__fail(err, XS_ENODEV, where, result,
                        "the driver has %d devices, so there is no device number %d", count,
                        o->index);
    }
    return xs__gpu_status(&gpu->driver, result, "init", err);
}

static int load_kernels(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                        struct xs_error *err)
{
    int rc = xs__gpu_compiler_open(gpu, libraries, err);
    if (rc == XS_OK)
        xs__gpu_identify_compiler(gpu);
    if (rc == XS_OK)
        rc = xs__gpu_module_load(gpu, xs__gpu_source, &gpu->module, err);
    if (rc != XS_OK)
        return rc;
    for (int i = 0; i < XS_GPU_FUNCTIONS; i++)
        TRY(gpu, ModuleGetFunction(&gpu->functions[i], gpu->module, xs__gpu_names[i]), "function");
    return XS_OK;
}

static int calibrate_spin(struct xs_gpu *gpu, uint32_t fill_permille, double *per_ns,
                          struct xs_error *err)
{
    const struct xs_command command = {
        .kind = XS_SPIN, .batch = 1, .fill_permille = fill_permille, .waves = 1};
    struct xs_stream *stream = NULL;
    struct xs_kernel *kernel = NULL;
    int rc = xs__gpu_stream_create(&gpu->base, 0, &stream, err);
    if (rc == XS_OK)
        rc = xs__gpu_kernel_create(stream, &command, 0, &kernel, err);
    if (rc == XS_OK)
        rc = xs__gpu_measure_spin(gpu, kernel, per_ns, err);
    xs__gpu_stream_destroy(stream);
    xs__gpu_kernel_destroy(kernel);
    return rc;
}

/* Two blocks of a spin on one multiprocessor slow each other down. */
static int calibrate(struct xs_gpu *gpu, struct xs_error *err)
{
    int rc = calibrate_spin(gpu, 1000, &gpu->iterations_per_ns[1], err);
    return rc == XS_OK ? calibrate_spin(gpu, 500, &gpu->iterations_per_ns[0], err) : rc;
}

int xs__gpu_prepare(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                    struct xs_error *err)
{
    TRY(gpu, GetStreamPriorityRange(&gpu->least, &gpu->greatest), "priority_range");
    TRY(gpu, StreamCreateWithPriority(&gpu->setup, XS_GPU_STREAM_NON_BLOCKING, gpu->least),
        "stream_create");
    int rc = xs__gpu_identify(gpu, err);
    if (rc == XS_OK)
        rc = load_kernels(gpu, libraries, err);
    return rc == XS_OK ? calibrate(gpu, err) : rc;
}

void xs__gpu_release(struct xs_gpu *gpu)
{
    if (gpu->setup != NULL)
        gpu->driver.StreamDestroy(gpu->setup);
    if (gpu->module != NULL)
        gpu->driver.ModuleUnload(gpu->module);
    xs__gpu_compiler_close(gpu);
}
