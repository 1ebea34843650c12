/* fake_cuda.c - a libcuda without a GPU, for tests of the gpu devices.
 *
 * Its one device executes one command at a time, in the order of launches. Results exist at
 * once (fake_kernels.c), time passes by the clock. It is strict: a thread that has not made
 * the context current, a flag that our code never sets, or a grid that does not cover the
 * work gets an error. Objects that still exist when the context is destroyed end the process.
 * FAKE_CUDA_LOG names a file that gets a line for each compilation, load, spin and launch of
 * a user's kernel or of a graph (fake_graph.c). FAKE_CUDA_VERSION is the version of the driver,
 * instead of 13000. With CUDA_MPS_PIPE_DIRECTORY a process is a client of the MPS daemon there,
 * which is a script of the tests.
 *
 * It also simulates a bad driver: XS_FAKE_FAULT="cuEventQuery:50:700" makes that call return
 * 700 from the 50th time on. Instead of the number: exit, segfault, hang, and for
 * cuLaunchKernel idle, which reports success and does nothing. A test in the same process
 * calls xs_fake_fault() instead, and reads afterwards whether the fault came and how many
 * objects exist. */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

enum {
    IDLE = -1,   /* for fake_misbehave() only */
    STICKY = 700 /* from here on, the context is broken for good */
};

/* The attribute avoids __tls_get_addr(), whose memory LeakSanitizer takes for other memory if it
 * begins 16 bytes after the start of a page, and crashes. */
static _Thread_local void *current __attribute__((tls_model("initial-exec")));
static char contexts[FAKE_DEVICES_MAX]; /* their addresses are the handles */
static bool initialized;
static _Atomic int retained, alive; /* alive: streams, events, memory, modules */

/* ---- faults ------------------------------------------------------------------- */

static struct {
    char call[64], what[16];
    int nth;
} fault;
static _Atomic int fault_calls, broken;
static _Atomic bool has_failed;

int xs_fake_fault(const char *text)
{
    fault_calls = broken = 0;
    has_failed = false;
    memset(&fault, 0, sizeof fault);
    return text == NULL || sscanf(text, "%63[^:]:%d:%15s", fault.call, &fault.nth, fault.what) == 3;
}

int xs_fake_has_failed(void)
{
    return has_failed;
}

/* How often the call of the fault was made. */
int xs_fake_calls(void)
{
    return fault_calls;
}

int xs_fake_alive(void)
{
    return alive;
}

__attribute__((constructor)) static void read_fault(void)
{
    if (!xs_fake_fault(getenv("XS_FAKE_FAULT"))) {
        fprintf(stderr, "XS_FAKE_FAULT is not CALL:NTH:WHAT\n");
        abort();
    }
}

int fake_misbehave(const char *call)
{
    if (strcmp(call, fault.call) != 0 || ++fault_calls < fault.nth)
        return broken;
    has_failed = true;
    if (strcmp(fault.what, "exit") == 0) {
        fprintf(stderr, "fake_cuda: %s gives up\n", call);
        _exit(1);
    }
    if (strcmp(fault.what, "segfault") == 0)
        raise(SIGSEGV);
    while (strcmp(fault.what, "hang") == 0)
        pause();
    if (strcmp(fault.what, "idle") == 0)
        return IDLE;
    int result = atoi(fault.what);
    if (result >= STICKY)
        broken = result;
    return result;
}

bool fake_has_context(void)
{
    return fake_device() >= 0 && retained > 0;
}

int fake_device(void)
{
    for (int i = 0; i < fake_device_count(); i++)
        if (current == &contexts[i])
            return i;
    return -1;
}

int fake_device_count(void)
{
    const char *text = getenv("FAKE_CUDA_DEVICES");
    int count = text != NULL ? atoi(text) : 1;
    return count > FAKE_DEVICES_MAX ? FAKE_DEVICES_MAX : count;
}

/* ---- what tests can read ------------------------------------------------------- */

void fake_note(const char *format, ...)
{
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    va_list values;
    if (file == NULL)
        return;
    va_start(values, format);
    vfprintf(file, format, values);
    va_end(values);
    fputs("\n", file);
    fclose(file);
}

/* ---- device and context -------------------------------------------------------- */

/* Register as a client of the MPS daemon of the tests, as a driver does that finds one: a file
 * with the settings, under the id of the process. */
static void become_client(void)
{
    const char *pipe = getenv("CUDA_MPS_PIPE_DIRECTORY"), *share, *priority;
    char path[512];
    if (pipe == NULL || snprintf(path, sizeof path, "%s/clients/%d", pipe, (int)getpid()) >= 512)
        return;
    FILE *file = fopen(path, "w"); /* NULL: no daemon is there */
    if (file == NULL)
        return;
    share = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    priority = getenv("CUDA_MPS_CLIENT_PRIORITY");
    fprintf(file, "%s %s\n", share != NULL ? share : "100", priority != NULL ? priority : "0");
    fclose(file);
}

int cuInit(unsigned flags)
{
    ENTER;
    initialized = flags == 0;
    become_client();
    return initialized ? SUCCESS : INVALID_VALUE;
}

int cuDriverGetVersion(int *version)
{
    ENTER;
    const char *text = getenv("FAKE_CUDA_VERSION");
    *version = text != NULL ? atoi(text) : 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int *count)
{
    ENTER;
    *count = fake_device_count();
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int ordinal)
{
    ENTER;
    *device = ordinal;
    return ordinal < fake_device_count() ? SUCCESS : INVALID_VALUE;
}

int cuDevicePrimaryCtxRetain(void **out, int device)
{
    ENTER;
    if (device >= fake_device_count())
        return INVALID_VALUE;
    *out = &contexts[device];
    retained++;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    if (--retained == 0 && alive != 0) {
        fprintf(stderr, "fake_cuda: %d objects are left\n", alive);
        abort();
    }
    return SUCCESS;
}

int cuCtxSetCurrent(void *to)
{
    ENTER;
    current = to;
    return fake_device() >= 0 ? SUCCESS : INVALID_CONTEXT;
}

int cuCtxGetCurrent(void **out)
{
    ENTER;
    *out = current;
    return SUCCESS;
}

int cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    WITH_CONTEXT;
    *least = 0;
    *greatest = -5;
    return SUCCESS;
}

/* ---- streams, events ------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t end_ns[FAKE_DEVICES_MAX];

void fake_lock(void)
{
    pthread_mutex_lock(&lock);
}

void fake_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

int64_t fake_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* A stream that hangs leaves the device to the others. */
void fake_work(struct fake_stream *stream, int64_t duration_ns)
{
    int64_t now = fake_now_ns();
    if (duration_ns == FAKE_HANGS)
        stream->end_ns = INT64_MAX;
    if (stream->end_ns == INT64_MAX)
        return;
    int64_t *end = &end_ns[stream->device];
    *end = (*end > now ? *end : now) + duration_ns;
    stream->end_ns = *end;
}

void *fake_make(size_t bytes)
{
    void *object = calloc(1, bytes > 0 ? bytes : 1);
    alive += object != NULL;
    return object;
}

int fake_drop(void *object)
{
    free(object);
    alive -= object != NULL;
    return object != NULL ? SUCCESS : INVALID_HANDLE;
}

int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
    WITH_CONTEXT;
    if (flags != 1 || priority > 0 || priority < -5)
        return INVALID_VALUE;
    struct fake_stream *made = *stream = fake_make(sizeof(struct fake_stream));
    if (made == NULL)
        return OUT_OF_MEMORY;
    made->device = fake_device();
    return SUCCESS;
}

int cuStreamDestroy_v2(struct fake_stream *stream)
{
    if (stream != NULL && stream->capture != NULL) /* strict: ours never does it */
        return ILLEGAL_STATE;
    return fake_drop(stream);
}

int cuStreamGetCtx(struct fake_stream *stream, void **out)
{
    ENTER;
    if (stream == NULL)
        return INVALID_HANDLE;
    *out = &contexts[stream->device];
    return SUCCESS;
}

/* Waiting for a stream that hangs is an error, so that tests stay fast. */
int cuStreamSynchronize(struct fake_stream *stream)
{
    WITH_CONTEXT;
    int64_t left_ns;
    if (stream->capture != NULL)
        return fake_capture_spoil(stream->capture);
    if (stream->end_ns == INT64_MAX)
        return LAUNCH_TIMEOUT;
    while ((left_ns = stream->end_ns - fake_now_ns()) > 0) {
        struct timespec t = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        nanosleep(&t, NULL);
    }
    return SUCCESS;
}

int cuStreamQuery(struct fake_stream *stream)
{
    WITH_CONTEXT;
    if (stream->capture != NULL)
        return fake_capture_spoil(stream->capture);
    return stream->end_ns <= fake_now_ns() ? SUCCESS : NOT_READY;
}

int cuEventCreate(void **event, unsigned flags)
{
    WITH_CONTEXT;
    if (flags != 0 && flags != 2)
        return INVALID_VALUE;
    struct fake_event *made = *event = fake_make(sizeof(struct fake_event));
    if (made != NULL)
        made->has_time = flags == 0;
    return made != NULL ? SUCCESS : OUT_OF_MEMORY;
}

int cuEventDestroy_v2(void *event)
{
    return fake_drop(event);
}

int cuEventRecord(struct fake_event *event, struct fake_stream *stream)
{
    WITH_CONTEXT;
    if (stream->capture != NULL) {
        fake_capture_event(event, stream);
        return SUCCESS;
    }
    int64_t now = fake_now_ns();
    event->capture = 0;
    event->at_ns = stream->end_ns > now ? stream->end_ns : now;
    return SUCCESS;
}

int cuEventQuery(struct fake_event *event)
{
    WITH_CONTEXT;
    if (event->capture != 0)
        return CAPTURE_UNSUPPORTED;
    return event->at_ns <= fake_now_ns() ? SUCCESS : NOT_READY;
}

int cuEventElapsedTime(float *ms, struct fake_event *from, struct fake_event *to)
{
    WITH_CONTEXT;
    if (!from->has_time || !to->has_time)
        return INVALID_HANDLE;
    if (from->at_ns > fake_now_ns() || to->at_ns > fake_now_ns())
        return NOT_READY;
    *ms = (float)(to->at_ns - from->at_ns) / 1e6f;
    return SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------ */

int cuMemAlloc_v2(uint64_t *pointer, size_t bytes)
{
    WITH_CONTEXT;
    if (fake_capture_here() != NULL)
        return fake_capture_spoil(fake_capture_here());
    *pointer = bytes > FAKE_MEMORY_BYTES ? 0 : (uint64_t)(uintptr_t)fake_make(bytes);
    return *pointer != 0 ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemFree_v2(uint64_t pointer)
{
    fake_forget_counter(pointer);
    return fake_drop((void *)(uintptr_t)pointer);
}

int cuMemsetD8Async(uint64_t pointer, unsigned char value, size_t count, struct fake_stream *stream)
{
    WITH_CONTEXT;
    if (stream != NULL && stream->capture != NULL)
        return fake_capture_memset(stream, pointer, value, count);
    memset((void *)(uintptr_t)pointer, value, count);
    return stream != NULL ? SUCCESS : INVALID_HANDLE;
}

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes)
{
    WITH_CONTEXT;
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return SUCCESS;
}

/* ---- modules and launches --------------------------------------------------------- */

int cuModuleLoadData(void **module, const void *image)
{
    WITH_CONTEXT;
    fake_note("load");
    if (strstr(image, "__global__") == NULL) /* code is the source text itself */
        return INVALID_IMAGE;
    *module = fake_make(strlen(image) + 1);
    if (*module == NULL)
        return OUT_OF_MEMORY;
    strcpy(*module, image);
    return SUCCESS;
}

int cuModuleUnload(void *module)
{
    return fake_drop(module);
}

int cuModuleGetFunction(const void **function, void *module, const char *name)
{
    WITH_CONTEXT;
    *function = strstr(module, name) != NULL ? fake_find(name) : NULL;
    return *function != NULL ? SUCCESS : NOT_FOUND;
}

int cuLaunchKernel(const struct fake_kernel *kernel, unsigned gx, unsigned gy, unsigned gz,
                   unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   struct fake_stream *stream, void **parameters, void **extra)
{
    int result = fake_misbehave(__func__);
    if (result != SUCCESS)
        return result == IDLE ? SUCCESS : result;
    if (!fake_has_context())
        return INVALID_CONTEXT;
    struct fake_grid grid = {gx, gy, gz, (uint64_t)bx * by * bz};
    if (grid.threads > 1024 || grid.threads == 0 || gz > 65535 || shared != 0 || extra != NULL)
        return INVALID_VALUE;
    if (stream->capture != NULL)
        return fake_capture_kernel(stream, kernel, (unsigned[]){gx, gy, gz},
                                   (unsigned[]){bx, by, bz}, parameters);
    if (strncmp(kernel->name, "xs_", 3) != 0)
        fake_note("%s %u %u %u %u %u %u", kernel->name, gx, gy, gz, bx, by, bz);
    fake_lock();
    int64_t duration_ns = kernel->run(grid, parameters);
    if (duration_ns != FAKE_BAD_GRID)
        fake_work(stream, duration_ns);
    fake_unlock();
    return duration_ns != FAKE_BAD_GRID ? SUCCESS : INVALID_VALUE;
}
