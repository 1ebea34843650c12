/* A libcuda and an NVRTC in one, without a GPU: for tests of what is around the
 * kernels. Device memory is host memory, a launch is over when it returns, and
 * compiled code is the source text itself. Kernels are known by their names.
 * `scale` stands for a user's own. Compilations, loads, and launches of it and of
 * spins are lines in the file that FAKE_CUDA_LOG names. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    NOT_FOUND = 500,
    COMPILATION_FAILED = 6
};

static void note(const char *what, const char *detail)
{
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%s %s\n", what, detail);
    fclose(file);
}

/* ---- the driver --------------------------------------------------------------- */

int cuInit(unsigned flags)
{
    return (int)flags;
}
int cuDriverGetVersion(int *version)
{
    const char *text = getenv("FAKE_CUDA_VERSION");
    *version = text != NULL ? atoi(text) : 13000;
    return 0;
}
int cuDeviceGetCount(int *count)
{
    return *count = 1, 0;
}
int cuDeviceGet(int *device, int ordinal)
{
    return *device = ordinal, 0;
}
int cuDeviceGetName(char *name, int length, int device)
{
    return snprintf(name, (size_t)length, "fake %d", device), 0;
}
int cuDeviceGetPCIBusId(char *id, int length, int device)
{
    return snprintf(id, (size_t)length, "0000:%02d:00.0", device), 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    return (void)device, *bytes = (size_t)1 << 30, 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 4; /* sm_90, 4 multiprocessors */
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device)
{
    return (void)device, *context = context, 0;
}
int cuDevicePrimaryCtxRelease_v2(int device)
{
    return (void)device, 0;
}
int cuCtxSetCurrent(void *context)
{
    return (void)context, 0;
}
int cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    return *least = 0, *greatest = -5, 0;
}
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
    return (void)flags, (void)priority, *stream = stream, 0;
}
int cuStreamDestroy_v2(void *stream)
{
    return (void)stream, 0;
}
int cuStreamSynchronize(void *stream)
{
    return (void)stream, 0;
}
int cuEventCreate(void **event, unsigned flags)
{
    return (void)flags, *event = event, 0;
}
int cuEventDestroy_v2(void *event)
{
    return (void)event, 0;
}
int cuEventRecord(void *event, void *stream)
{
    return (void)event, (void)stream, 0;
}
int cuEventQuery(void *event)
{
    return (void)event, 0;
}
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes)
{
    void *memory = malloc(bytes);
    *pointer = (uint64_t)(uintptr_t)memory;
    return memory != NULL ? 0 : 2;
}
int cuMemFree_v2(uint64_t pointer)
{
    return free((void *)(uintptr_t)pointer), 0;
}
int cuMemsetD8Async(uint64_t pointer, unsigned char value, size_t count, void *stream)
{
    (void)stream;
    return memset((void *)(uintptr_t)pointer, value, count), 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes)
{
    return memcpy(to, (const void *)(uintptr_t)from, bytes), 0;
}
int cuModuleLoadData(void **module, const void *image)
{
    note("load", "");
    return *module = strdup(image), 0;
}
int cuModuleUnload(void *module)
{
    return free(module), 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name)
{
    static char names[64][64];
    static int count;
    if (strstr(module, name) == NULL)
        return NOT_FOUND;
    snprintf(names[count % 64], sizeof names[0], "%s", name);
    return *function = names[count++ % 64], 0;
}
int cuGetErrorName(int result, const char **text)
{
    return *text = result == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR", 0;
}
int cuGetErrorString(int result, const char **text)
{
    return (void)result, *text = "fake", 0;
}

/* ---- its kernels -------------------------------------------------------------- */

#define ARGUMENT(type, i) (*(type *)parameters[i])

static void fill(void **parameters)
{
    float *out = ARGUMENT(float *, 0);
    uint64_t count = ARGUMENT(uint64_t, 1);
    uint32_t seed = ARGUMENT(uint32_t, 2), which = ARGUMENT(uint32_t, 3);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t h = (uint32_t)i * 2654435761u + (2u * seed + which) * 668265263u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        out[i] = (float)(h % 5u) - 2.0f;
    }
}

static void vector_add(void **parameters)
{
    const float *a = ARGUMENT(float *, 0), *b = ARGUMENT(float *, 1);
    float *out = ARGUMENT(float *, 2);
    for (uint32_t i = 0; i < ARGUMENT(uint32_t, 3); i++)
        out[i] = a[i] + b[i] + (float)(ARGUMENT(uint32_t, 4) % 1024u);
    *ARGUMENT(int64_t *, 6) += (int64_t)out[ARGUMENT(uint64_t, 5)];
}

/* A nanosecond an iteration, and eight with more than a block on a multiprocessor: more than a busy
 * machine makes of it. */
static void spin(void **parameters, unsigned blocks)
{
    struct timespec now, start;
    char detail[64];
    snprintf(detail, sizeof detail, "%u %llu", blocks, ARGUMENT(unsigned long long, 0));
    note("spin", detail);
    int64_t ns = ARGUMENT(int64_t, 0) * (blocks > 4 ? 8 : 1);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < ns);
    *ARGUMENT(int64_t *, 2) += ARGUMENT(uint32_t, 1) % 1024u;
}

/* A user's: (float *x, long long n, float by, int more). */
static void scale(void **parameters)
{
    float *x = ARGUMENT(float *, 0);
    for (long long i = 0; i < ARGUMENT(long long, 1); i++)
        x[i] = x[i] * ARGUMENT(float, 2) + (float)ARGUMENT(int, 3);
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra)
{
    char grid[128];
    (void)shared, (void)stream, (void)extra;
    snprintf(grid, sizeof grid, "%u %u %u %u %u %u", gx, gy, gz, bx, by, bz);
    if (strcmp(function, "xs_fill") == 0)
        fill(parameters);
    else if (strcmp(function, "xs_vector_add") == 0)
        vector_add(parameters);
    else if (strcmp(function, "xs_spin") == 0)
        spin(parameters, gx);
    else if (strcmp(function, "scale") == 0)
        note("scale", grid), scale(parameters);
    else
        return NOT_FOUND;
    return 0;
}

/* ---- the compiler ------------------------------------------------------------- */

static const char failure[] = "pytest_xsched.cu(1): error: this is\nthe end of the log\n";

int nvrtcVersion(int *major, int *minor)
{
    return *major = 13, *minor = 0, 0;
}
int nvrtcCreateProgram(void **program, const char *source, const char *name, int header_count,
                       const char *const *headers, const char *const *include_names)
{
    (void)name, (void)header_count, (void)headers, (void)include_names;
    return *program = strdup(source), 0;
}
int nvrtcCompileProgram(void *program, int option_count, const char *const *options)
{
    note("compile", option_count == 1 ? options[0] : "?");
    return strstr(program, "#error") != NULL ? COMPILATION_FAILED : 0;
}
int nvrtcGetCUBINSize(void *program, size_t *bytes)
{
    return *bytes = strlen(program) + 1, 0;
}
int nvrtcGetCUBIN(void *program, char *code)
{
    return strcpy(code, program), 0;
}
int nvrtcGetProgramLogSize(void *program, size_t *bytes)
{
    return (void)program, *bytes = 5000 + sizeof failure, 0;
}
int nvrtcGetProgramLog(void *program, char *log)
{
    (void)program;
    memset(log, '.', 5000);
    return strcpy(log + 5000, failure), 0;
}
int nvrtcDestroyProgram(void **program)
{
    return free(*program), *program = NULL, 0;
}
