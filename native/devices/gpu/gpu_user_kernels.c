/* gpu_user_kernels.c - kernels of users: their modules, memory and parameters. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/gpu/gpu_device.h"

/* ---- modules: one for each source text --------------------------------------- */

struct xs_gpu_module {
    struct xs_gpu_module *next;
    void *module;
    char text[];
};

/* Call it with gpu->modules_lock held. It compiles with the lock held, so a thread that needs
 * the same text waits. */
static int find_module(struct xs_gpu *gpu, const char *text, void **module, struct xs_error *err)
{
    for (const struct xs_gpu_module *m = gpu->modules; m != NULL; m = m->next)
        if (strcmp(m->text, text) == 0) {
            *module = m->module;
            return XS_OK;
        }
    size_t bytes = strlen(text) + 1;
    struct xs_gpu_module *made = malloc(sizeof *made + bytes);
    if (made == NULL)
        return xs__fail(err, XS_ENOMEM, "gpu.kernel_create", 0, "no memory for a source text");
    memcpy(made->text, text, bytes);
    int rc = xs__gpu_module_load(gpu, text, &made->module, err);
    if (rc != XS_OK) {
        free(made);
        return rc;
    }
    made->next = gpu->modules;
    gpu->modules = made;
    *module = made->module;
    return XS_OK;
}

void xs__gpu_modules_free(struct xs_gpu *gpu)
{
    while (gpu->modules != NULL) {
        struct xs_gpu_module *next = gpu->modules->next;
        gpu->driver.ModuleUnload(gpu->modules->module);
        free(gpu->modules);
        gpu->modules = next;
    }
}

static int find_function(struct xs_gpu *gpu, const struct xs_source *source, void **function,
                         struct xs_error *err)
{
    void *module = NULL;
    pthread_mutex_lock(&gpu->modules_lock);
    int rc = find_module(gpu, source->text, &module, err);
    pthread_mutex_unlock(&gpu->modules_lock);
    if (rc != XS_OK)
        return rc;
    int result = gpu->driver.ModuleGetFunction(function, module, source->name);
    if (result == XS_GPU_NOT_FOUND)
        return xs__fail(
            err, XS_EDEVICE, "gpu.kernel_create", result,
            "the source has no kernel '%.64s'; declare it as extern \"C\" __global__ void",
            source->name);
    return xs__gpu_status(&gpu->driver, result, "function", err);
}

/* ---- kernels ------------------------------------------------------------------ */

struct xs_gpu_user {
    void *function;
    uint64_t values[XS_ARGUMENTS_MAX]; /* addresses of buffers; other values in the first bytes */
    void *parameters[XS_ARGUMENTS_MAX];
};

static int make_buffer(struct xs_kernel *k, uint64_t items, uint32_t seed, uint64_t *out,
                       struct xs_error *err)
{
    uint64_t bytes = items * sizeof(float);
    int result = k->gpu->driver.MemAlloc(out, bytes);
    if (result == XS_GPU_OUT_OF_MEMORY)
        return xs__fail(err, XS_ENOMEM, "gpu.kernel_create", result,
                        "kernel '%.64s': a buffer of %.1f GB is more than is free",
                        k->command.source->name, (double)bytes / 1e9);
    int rc = xs__gpu_status(&k->gpu->driver, result, "kernel_create", err);
    return rc == XS_OK ? xs__gpu_fill(k->gpu, *out, items, seed, 0, err) : rc;
}

static int make_value(struct xs_kernel *k, const struct xs_argument *a, uint32_t seed,
                      uint64_t *value, struct xs_error *err)
{
    int32_t narrow = (int32_t)a->integer;
    switch (a->kind) {
    case XS_BUFFER:
        return make_buffer(k, (uint64_t)a->integer, seed, value, err);
    case XS_INT32:
        memcpy(value, &narrow, sizeof narrow);
        return XS_OK;
    case XS_INT64:
        memcpy(value, &a->integer, sizeof a->integer);
        return XS_OK;
    default:
        memcpy(value, &a->real, sizeof a->real);
        return XS_OK;
    }
}

int xs__gpu_user_create(struct xs_kernel *k, uint32_t seed, struct xs_error *err)
{
    struct xs_gpu *gpu = k->gpu;
    const struct xs_source *source = k->command.source;
    struct xs_gpu_user *user = k->user = calloc(1, sizeof *user);
    if (user == NULL)
        return xs__fail(err, XS_ENOMEM, "gpu.kernel_create", 0, "no memory for a kernel");
    int rc = find_function(gpu, source, &user->function, err);
    for (uint32_t i = 0; rc == XS_OK && i < source->argument_count; i++) {
        const struct xs_argument *a = &source->arguments[i];
        user->parameters[i] = &user->values[i];
        rc = make_value(k, a, seed, &user->values[i], err);
        if (a->kind == XS_BUFFER && k->out == 0) { /* the first buffer can be read back */
            k->out = user->values[i];
            k->items = (uint64_t)a->integer;
        }
    }
    if (rc != XS_OK)
        return rc;
    TRY(gpu, StreamSynchronize(gpu->setup), "kernel_create");
    return XS_OK;
}

void xs__gpu_user_destroy(struct xs_kernel *k)
{
    const struct xs_source *source = k->command.source;
    if (k->user == NULL)
        return;
    for (uint32_t i = 0; i < source->argument_count; i++)
        if (source->arguments[i].kind == XS_BUFFER && k->user->values[i] != 0)
            k->gpu->driver.MemFree(k->user->values[i]);
    k->out = 0;
    free(k->user);
}

int xs__gpu_user_launch(struct xs_stream *stream, struct xs_kernel *k, struct xs_error *err)
{
    const struct xs_source *s = k->command.source;
    const struct xs_gpu_grid g = {{s->grid[0], s->grid[1], s->grid[2]},
                                  {s->block[0], s->block[1], s->block[2]}};
    return xs__gpu_start(stream->gpu, k->user->function, g, stream->stream, k->user->parameters,
                         "launch", err);
}
