/* gpu_modules.c - turn a source text into a module of the driver, with the compiler or with
 * the cache of its earlier results. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/gpu/gpu_device.h"
#include "devices/kernels/kernel_cache.h"

int xs__gpu_compiler_open(struct xs_gpu *gpu, const struct xs_gpu_libraries *libraries,
                          struct xs_error *err)
{
    if (libraries->cache != NULL) {
        gpu->cache = strdup(libraries->cache);
        if (gpu->cache == NULL)
            return xs__fail(err, XS_ENOMEM, "gpu.open", 0, "no memory for the name of the cache");
    }
    return xs__rtc_open(&gpu->rtc, &gpu->driver, libraries->compiler, err);
}

void xs__gpu_compiler_close(struct xs_gpu *gpu)
{
    xs__gpu_modules_free(gpu);
    if (gpu->rtc.library != NULL)
        dlclose(gpu->rtc.library);
    free(gpu->cache);
    pthread_mutex_destroy(&gpu->modules_lock);
}

/* Return everything that the code depends on; NULL where that is unknown. */
static char *key_of(const struct xs_gpu *gpu, const char *source)
{
    int major = 0, minor = 0, driver = 0;
    size_t bytes = strlen(source) + 256;
    char *key = malloc(bytes);
    if (key == NULL || gpu->rtc.Version(&major, &minor) != 0 ||
        gpu->driver.GetVersion(&driver) != XS_GPU_SUCCESS) {
        free(key);
        return NULL;
    }
    snprintf(key, bytes, "%s driver %d compiler %d.%d architecture %s\n%s",
             xs__gpu_kind(gpu->driver.brand), driver, major, minor, gpu->architecture, source);
    return key;
}

static int image_of(const struct xs_gpu *gpu, const char *source, void **image,
                    struct xs_error *err)
{
    size_t bytes;
    char *key = gpu->cache != NULL ? key_of(gpu, source) : NULL;
    int rc = XS_OK;
    if (key == NULL || !xs__cache_load(gpu->cache, key, image, &bytes)) {
        rc = xs__rtc_compile(&gpu->rtc, source, gpu->architecture, image, &bytes, err);
        if (rc == XS_OK && key != NULL)
            xs__cache_store(gpu->cache, key, *image, bytes);
    }
    free(key);
    return rc;
}

int xs__gpu_module_load(struct xs_gpu *gpu, const char *source, void **module, struct xs_error *err)
{
    void *image = NULL;
    int rc = image_of(gpu, source, &image, err);
    if (rc == XS_OK)
        rc = xs__gpu_status(&gpu->driver, gpu->driver.ModuleLoadData(module, image), "module", err);
    free(image);
    return rc;
}
