/* cuda_api.c - finding libcuda and NVRTC, and their errors in our words. */
#include "cuda_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"

/* A table row for each symbol; POSIX lets a function pointer be a void *. */
#define ROW(member, symbol, arguments) {symbol, (void **)&api->member},
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

int xs__cuda_api_open(struct xs_cuda_api *api, const char *path, struct xs_error *err)
{
    static const char *const names[] = {"libcuda.so.1", "libcuda.so", NULL};
    int rc = xs__library_open(path, names, "cuda.open", &api->library, err);
    if (rc != XS_OK)
        return rc;
    const struct xs_symbol rows[] = {XS_CUDA_SYMBOLS(ROW)};
    return xs__library_symbols(api->library, rows, COUNT(rows), "cuda.open", err);
}

int xs__nvrtc_api_open(struct xs_nvrtc_api *api, const char *path, struct xs_error *err)
{
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                        "/usr/local/cuda/lib64/libnvrtc.so", NULL};
    int rc = xs__library_open(path, names, "nvrtc.open", &api->library, err);
    if (rc == XS_ENODEV) /* there is a device, so its compiler is missing: no reason to skip */
        return xs__fail(err, XS_EDEVICE, "nvrtc.open", 0,
                        "%s, which compiles the kernels, is not here, nor under other names",
                        names[0]);
    if (rc != XS_OK)
        return rc;
    const struct xs_symbol rows[] = {XS_NVRTC_SYMBOLS(ROW)};
    return xs__library_symbols(api->library, rows, COUNT(rows), "nvrtc.open", err);
}

int xs__cuda_status(const struct xs_cuda_api *api, int result, const char *where,
                    struct xs_error *err)
{
    const char *name = NULL, *text = NULL;
    if (result == XS_CUDA_SUCCESS)
        return XS_OK;
    api->GetErrorName(result, &name);
    api->GetErrorString(result, &text);
    return xs__fail(err, result == XS_CUDA_OUT_OF_MEMORY ? XS_ENOMEM : XS_EDEVICE, where, result,
                    "%s: %s", name != NULL ? name : "unknown error",
                    text != NULL ? text : "no text");
}

int xs__cuda_no_device(int result)
{
    return result == XS_CUDA_NO_DEVICE || result == XS_CUDA_INVALID_DEVICE ||
           result == XS_CUDA_NOT_INITIALIZED || result == XS_CUDA_STUB_LIBRARY ||
           result == XS_CUDA_DRIVER_TOO_OLD || result == XS_CUDA_SHARED_OBJECT_INIT_FAILED;
}

/* The end of the log: NVRTC puts the errors there. */
static int compile_error(const struct xs_nvrtc_api *api, void *program, int result,
                         struct xs_error *err)
{
    size_t bytes = 0;
    char *log = NULL;
    if (api->GetProgramLogSize(program, &bytes) == 0 && bytes > 1)
        log = calloc(1, bytes);
    if (log != NULL)
        api->GetProgramLog(program, log);
    size_t length = log != NULL ? strlen(log) : 0;
    for (size_t i = 0; i < length; i++)
        if (log[i] == '\n')
            log[i] = ' ';
    xs__fail(err, XS_EDEVICE, "nvrtc.compile", result, "%s",
             length == 0 ? "no log" : log + (length > 180 ? length - 180 : 0));
    free(log);
    return XS_EDEVICE;
}

int xs__nvrtc_compile(const struct xs_nvrtc_api *api, const char *source, const char *architecture,
                      void **image, struct xs_error *err)
{
    char option[64];
    const char *options[] = {option};
    void *program = NULL;
    size_t bytes = 0;
    *image = NULL;
    snprintf(option, sizeof option, "--gpu-architecture=%s", architecture);
    int result = api->CreateProgram(&program, source, "pytest_xsched.cu", 0, NULL, NULL);
    if (result != 0)
        return xs__fail(err, XS_EDEVICE, "nvrtc.create", result, "error %d", result);
    result = api->CompileProgram(program, 1, options);
    if (result == 0)
        result = api->GetCUBINSize(program, &bytes);
    if (result == 0 && bytes > 0)
        *image = malloc(bytes);
    if (result == 0 && *image != NULL)
        result = api->GetCUBIN(program, *image);
    int rc = result == 0 && *image != NULL ? XS_OK : compile_error(api, program, result, err);
    if (rc != XS_OK) {
        free(*image);
        *image = NULL;
    }
    api->DestroyProgram(&program);
    return rc;
}
