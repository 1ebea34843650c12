/* gpu_driver.c - find the drivers and their compilers, and translate their errors. */
#include "devices/gpu/gpu_driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynlib.h"

/* ---- what differs between the brands ------------------------------------- */

struct brand {
    const char *kind, *compiler;
    const char *driver_names[6], *compiler_names[6]; /* the last is NULL */
    const char *option;                              /* option for the architecture */
};

static const struct brand brands[] = {
    [XS_BRAND_CUDA] = {.kind = "cuda",
                       .compiler = "nvrtc",
                       .driver_names = {"libcuda.so.1", "libcuda.so"},
                       .compiler_names = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                          "/usr/local/cuda/lib64/libnvrtc.so"},
                       .option = "--gpu-architecture="},
    [XS_BRAND_HIP] = {.kind = "hip",
                      .compiler = "hiprtc",
                      .driver_names = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                       "libamdhip64.so", "/opt/rocm*/lib/libamdhip64.so"},
                      .compiler_names = {"libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so",
                                         "/opt/rocm*/lib/libhiprtc.so"},
                      .option = "--offload-arch="},
};

const char *xs__gpu_kind(enum xs_gpu_brand brand)
{
    return brands[brand].kind;
}

/* ---- tables ---------------------------------------------------------------- */

/* A table row for each symbol; POSIX lets a function pointer be a void *. */
#define CUDA_ROW(member, cuda, hip, parameters) {cuda, (void **)&into->member},
#define HIP_ROW(member, cuda, hip, parameters) {hip, (void **)&into->member},
#define ONE_ROW(member, symbol, parameters) {symbol, (void **)&into->member},
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static int driver_symbols(struct xs_gpu_driver *into, const char *where, struct xs_error *err)
{
    const struct xs_symbol cuda_rows[] = {
        XS_GPU_SYMBOLS(CUDA_ROW){"cuGetErrorName", (void **)&into->cuda_error_name},
        {"cuGetErrorString", (void **)&into->cuda_error_text}};
    const struct xs_symbol hip_rows[] = {
        XS_GPU_SYMBOLS(HIP_ROW){"hipGetErrorName", (void **)&into->hip_error_name},
        {"hipGetErrorString", (void **)&into->hip_error_text}};
    return xs__dynlib_symbols(into->library, into->brand == XS_BRAND_HIP ? hip_rows : cuda_rows,
                              COUNT(cuda_rows), where, err);
}

static void optional_symbols(struct xs_gpu_driver *into)
{
    const struct xs_symbol cuda_rows[] = {XS_GPU_OPTIONAL_SYMBOLS(CUDA_ROW)};
    const struct xs_symbol hip_rows[] = {XS_GPU_OPTIONAL_SYMBOLS(HIP_ROW)};
    const struct xs_symbol *rows = into->brand == XS_BRAND_HIP ? hip_rows : cuda_rows;
    for (size_t i = 0; i < COUNT(cuda_rows); i++)
        *rows[i].target = dlsym(into->library, rows[i].name);
}

/* HIP numbers the types of nodes as CUDA does from HIP 6 on, which this symbol tells. */
#define HIP_6 "hipGetDevicePropertiesR0600"

static void graph_symbols(struct xs_gpu_driver *into)
{
    void *numbering;
    const struct xs_symbol cuda_rows[] = {XS_GPU_GRAPH_SYMBOLS(CUDA_ROW)
                                              XS_CUDA_EDGES_SYMBOLS(ONE_ROW)};
    const struct xs_symbol hip_rows[] = {XS_GPU_GRAPH_SYMBOLS(HIP_ROW)
                                             XS_HIP_EDGES_SYMBOLS(ONE_ROW){HIP_6, &numbering}};
    const struct xs_symbol cuda_names[] = {XS_CUDA_NAME_SYMBOLS(ONE_ROW)};
    const struct xs_symbol hip_names[] = {XS_HIP_NAME_SYMBOLS(ONE_ROW)};
    bool is_hip = into->brand == XS_BRAND_HIP;
    const struct xs_symbol *rows = is_hip ? hip_rows : cuda_rows;
    for (size_t i = 0; i < (is_hip ? COUNT(hip_rows) : COUNT(cuda_rows)); i++) {
        *rows[i].target = dlsym(into->library, rows[i].name);
        if (*rows[i].target == NULL && into->missing == NULL)
            into->missing = rows[i].name;
    }
    xs__dynlib_optional(into->library, is_hip ? hip_names : cuda_names, COUNT(cuda_names));
}

static int rtc_symbols(void *library, struct xs_rtc *into, const char *where, struct xs_error *err)
{
    const struct xs_symbol cuda_rows[] = {XS_RTC_SYMBOLS(CUDA_ROW)};
    const struct xs_symbol hip_rows[] = {XS_RTC_SYMBOLS(HIP_ROW)};
    return xs__dynlib_symbols(library, into->brand == XS_BRAND_HIP ? hip_rows : cuda_rows,
                              COUNT(cuda_rows), where, err);
}

int xs__gpu_driver_open(struct xs_gpu_driver *driver, enum xs_gpu_brand brand, const char *path,
                        struct xs_error *err)
{
    char where[16];
    snprintf(where, sizeof where, "%s.open", brands[brand].kind);
    driver->brand = brand;
    int rc = xs__dynlib_open(path, brands[brand].driver_names, where, &driver->library, err);
    if (rc == XS_OK)
        rc = driver_symbols(driver, where, err);
    if (rc == XS_OK)
        optional_symbols(driver);
    if (rc == XS_OK)
        graph_symbols(driver);
    return rc;
}

int xs__rtc_open(struct xs_rtc *rtc, const struct xs_gpu_driver *driver, const char *path,
                 struct xs_error *err)
{
    const struct brand *brand = &brands[driver->brand];
    char where[16];
    snprintf(where, sizeof where, "%s.open", brand->compiler);
    rtc->brand = driver->brand;
    /* Up to ROCm 6, the HIP runtime contains the compiler. */
    bool is_named = path != NULL && path[0] != '\0';
    if (!is_named && driver->brand == XS_BRAND_HIP &&
        dlsym(driver->library, "hiprtcCreateProgram") != NULL)
        return rtc_symbols(driver->library, rtc, where, err);
    int rc = xs__dynlib_open(path, brand->compiler_names, where, &rtc->library, err);
    if (rc == XS_ENODEV) /* there is a device, so a missing compiler is no reason to skip */
        return xs__fail(
            err, XS_EDEVICE, where, 0,
            "this machine has no %s, which compiles the kernels, under this or other usual names",
            brand->compiler_names[0]);
    return rc == XS_OK ? rtc_symbols(rtc->library, rtc, where, err) : rc;
}

/* ---- errors ---------------------------------------------------------------- */

int xs__gpu_status(const struct xs_gpu_driver *driver, int result, const char *what,
                   struct xs_error *err)
{
    const char *name = NULL, *text = NULL;
    char where[48];
    if (result == XS_GPU_SUCCESS)
        return XS_OK;
    if (driver->brand == XS_BRAND_HIP) {
        name = driver->hip_error_name(result);
        text = driver->hip_error_text(result);
    } else {
        driver->cuda_error_name(result, &name);
        driver->cuda_error_text(result, &text);
    }
    snprintf(where, sizeof where, "%s.%s", brands[driver->brand].kind, what);
    return xs__fail(err, result == XS_GPU_OUT_OF_MEMORY ? XS_ENOMEM : XS_EDEVICE, where, result,
                    "%s: %s", name != NULL ? name : "unknown error",
                    text != NULL ? text : "no text");
}

bool xs__gpu_no_device(int result)
{
    return result == XS_GPU_NO_DEVICE || result == XS_GPU_INVALID_DEVICE ||
           result == XS_GPU_NOT_INITIALIZED || result == XS_GPU_STUB_LIBRARY ||
           result == XS_GPU_DRIVER_TOO_OLD || result == XS_GPU_SHARED_OBJECT_INIT_FAILED;
}

/* ---- compiling ------------------------------------------------------------- */

/* Report the end of the log, as much as fits: the errors are there. */
static int compile_error(const struct xs_rtc *rtc, void *program, int result, struct xs_error *err)
{
    size_t bytes = 0;
    char *log = NULL, where[24];
    if (rtc->GetProgramLogSize(program, &bytes) == 0 && bytes > 1)
        log = calloc(1, bytes);
    if (log != NULL)
        rtc->GetProgramLog(program, log);
    size_t length = log != NULL ? strlen(log) : 0;
    for (size_t i = 0; i < length; i++)
        if (log[i] == '\n')
            log[i] = ' ';
    snprintf(where, sizeof where, "%s.compile", brands[rtc->brand].compiler);
    const size_t most = sizeof err->message - sizeof "...";
    xs__fail(err, XS_EDEVICE, where, result, "%s%s", length > most ? "..." : "",
             length == 0 ? "no log" : log + (length > most ? length - most : 0));
    free(log);
    return XS_EDEVICE;
}

int xs__rtc_compile(const struct xs_rtc *rtc, const char *source, const char *architecture,
                    void **image, size_t *bytes, struct xs_error *err)
{
    char option[128];
    const char *options[] = {option};
    void *program = NULL;
    *image = NULL;
    *bytes = 0;
    snprintf(option, sizeof option, "%s%s", brands[rtc->brand].option, architecture);
    int result = rtc->CreateProgram(&program, source, "pytest_xsched.cu", 0, NULL, NULL);
    if (result != 0)
        return xs__fail(err, XS_EDEVICE, brands[rtc->brand].compiler, result,
                        "the compiler created no program: error %d", result);
    result = rtc->CompileProgram(program, 1, options);
    if (result == 0)
        result = rtc->GetCodeSize(program, bytes);
    if (result == 0 && *bytes > 0)
        *image = malloc(*bytes);
    if (result == 0 && *image != NULL)
        result = rtc->GetCode(program, *image);
    int rc = result == 0 && *image != NULL ? XS_OK : compile_error(rtc, program, result, err);
    if (rc != XS_OK) {
        free(*image);
        *image = NULL;
    }
    rtc->DestroyProgram(&program);
    return rc;
}
