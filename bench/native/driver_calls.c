/* driver_calls.c - a libcuda that forwards to the real one and keeps the times of the calls that
 * launch, mark, poll and wait, for `gpu_runner.py --calls`. It has only those calls: the real
 * driver is among its dependencies, where dlsym() and the linker find all others.
 *
 * DRIVER_CALLS names a file; each process writes its calls to that name and its id. The file is
 * mapped, so what was written is there however the process ends. Polls of one thread that follow
 * each other and find nothing are one entry. A full file takes no further calls.
 *
 * With DRIVER_CALLS_DEVICE=1 two more events go around each launch, and the entry of a launch gets
 * the time between them on the device. That changes what is measured: use it in a run of its own.
 *
 * It does not see calls that a program got from cuGetProcAddress(). gpu_runner.py builds it:
 * cc -O2 -shared -fPIC -DREAL='"libcuda.so.1"' driver_calls.c -Wl,--no-as-needed -lcuda -ldl */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    ENTRIES_MAX = 1 << 18,
    SUCCESS = 0,
    NOT_READY = 600,
    EVENT_DEFAULT = 0
};

#define LAUNCHES(X)                                                                                \
    X(cuGraphLaunch, (void *exec, void *stream), (exec, stream))                                   \
    X(cuLaunchKernel,                                                                              \
      (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,            \
       unsigned bz, unsigned shared, void *stream, void **parameters, void **extra),               \
      (function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra))
#define OTHERS(X)                                                                                  \
    X(cuEventRecord, (void *event, void *stream), (event, stream))                                 \
    X(cuEventQuery, (void *event), (event))                                                        \
    X(cuStreamQuery, (void *stream), (stream))                                                     \
    X(cuStreamSynchronize, (void *stream), (stream))                                               \
    X(cuCtxSetCurrent, (void *context), (context))                                                 \
    X(cuMemsetD8Async, (uint64_t to, unsigned char value, size_t count, void *stream),             \
      (to, value, count, stream))                                                                  \
    X(cuMemcpyDtoH_v2, (void *to, uint64_t from, size_t bytes), (to, from, bytes))
#define CALLS(X) LAUNCHES(X) OTHERS(X)

#define NUMBER(name, parameters, arguments) NUMBER_##name,
enum number {
    CALLS(NUMBER)
};

/* driver_calls.py reads this layout. Times are those of CLOCK_MONOTONIC, in ns. */
struct entry {
    int64_t begin, end; /* of a group of polls: of the first and of the last */
    int64_t inside;     /* sum of the times in the driver */
    int64_t device;     /* of a launch, with DRIVER_CALLS_DEVICE; else -1 */
    int32_t number, thread, times, result;
};

static struct entry *entries; /* NULL: nothing is written */
static _Atomic uint32_t used;
static _Thread_local struct entry *last;
static _Thread_local int32_t thread;

#define POINTER(name, parameters, arguments) static int(*real_##name) parameters;
CALLS(POINTER)

static int (*event_create)(void **event, unsigned flags);
static int (*elapsed)(float *ms, void *from, void *to);
static int is_timed; /* DRIVER_CALLS_DEVICE */
static _Thread_local struct {
    void *from, *to;
    struct entry *launch; /* whose events were recorded and not read */
} around;

static void *find(void *library, const char *name)
{
    void *function = dlsym(library, name);
    if (function == NULL) {
        fprintf(stderr, "driver_calls: %s has no %s\n", REAL, name);
        abort();
    }
    return function;
}

static void open_entries(const char *path)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.%d", path, (int)getpid());
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t bytes = ENTRIES_MAX * sizeof *entries;
    void *at = MAP_FAILED;
    if (file >= 0 && ftruncate(file, (off_t)bytes) == 0)
        at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (at == MAP_FAILED) {
        perror(name);
        abort();
    }
    close(file);
    memset(at, 0, bytes); /* or the first write to each page would cost time later */
    entries = at;
}

__attribute__((constructor)) static void start(void)
{
    void *library = dlopen(REAL, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "driver_calls: %s\n", dlerror());
        abort();
    }
#define FIND(name, parameters, arguments) *(void **)&real_##name = find(library, #name);
    CALLS(FIND)
    *(void **)&event_create = find(library, "cuEventCreate");
    *(void **)&elapsed = find(library, "cuEventElapsedTime");
    const char *path = getenv("DRIVER_CALLS"), *timed = getenv("DRIVER_CALLS_DEVICE");
    is_timed = timed != NULL && strcmp(timed, "1") == 0;
    if (path != NULL)
        open_entries(path);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void keep(enum number number, int64_t begin, int64_t end, int result)
{
    if (entries == NULL)
        return;
    if (thread == 0)
        thread = (int32_t)syscall(SYS_gettid);
    if (result == NOT_READY && last != NULL && last->number == (int32_t)number &&
        last->result == NOT_READY) {
        last->end = end;
        last->inside += end - begin;
        last->times++;
        return;
    }
    uint32_t at = used < ENTRIES_MAX ? used++ : ENTRIES_MAX;
    if (at >= ENTRIES_MAX)
        return;
    last = &entries[at];
    *last = (struct entry){.begin = begin,
                           .end = end,
                           .inside = end - begin,
                           .device = -1,
                           .number = (int32_t)number,
                           .thread = thread,
                           .times = 1,
                           .result = result};
}

/* ---- time on the device ---------------------------------------------------------- */

/* Is the time of a launch wanted? Then an event goes before it. On a stream that is captured, that
 * adds no node. */
static int before_launch(void *stream)
{
    if (!is_timed)
        return 0;
    if (around.from == NULL && (event_create(&around.from, EVENT_DEFAULT) != SUCCESS ||
                                event_create(&around.to, EVENT_DEFAULT) != SUCCESS))
        return 0;
    return real_cuEventRecord(around.from, stream) == SUCCESS;
}

static void after_launch(void *stream)
{
    around.launch = real_cuEventRecord(around.to, stream) == SUCCESS ? last : NULL;
}

/* A poll found that all is complete. */
static void read_time(void)
{
    float ms = 0;
    if (around.launch != NULL && elapsed(&ms, around.from, around.to) == SUCCESS)
        around.launch->device = (int64_t)((double)ms * 1e6 + 0.5);
    around.launch = NULL;
}

/* ---- the calls --------------------------------------------------------------------- */

#define FORWARD_LAUNCH(name, parameters, arguments)                                                \
    int name parameters                                                                            \
    {                                                                                              \
        int is_around = before_launch(stream);                                                     \
        int64_t begin = now_ns();                                                                  \
        int result = real_##name arguments;                                                        \
        keep(NUMBER_##name, begin, now_ns(), result);                                              \
        if (is_around)                                                                             \
            after_launch(stream);                                                                  \
        return result;                                                                             \
    }
LAUNCHES(FORWARD_LAUNCH)

#define FORWARD(name, parameters, arguments)                                                       \
    int name parameters                                                                            \
    {                                                                                              \
        int64_t begin = now_ns();                                                                  \
        int result = real_##name arguments;                                                        \
        keep(NUMBER_##name, begin, now_ns(), result);                                              \
        if (NUMBER_##name == NUMBER_cuEventQuery && result == SUCCESS)                             \
            read_time();                                                                           \
        return result;                                                                             \
    }
OTHERS(FORWARD)
