/* fake.h - what the files of the fake driver share; fake_cuda.c describes it. */
#ifndef XS_FAKE_H
#define XS_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FAKE_PROCESSORS = 4,
    FAKE_PARAMETERS_MAX = 9,
    FAKE_SET_MAX = 64,
    FAKE_BAD_GRID = -1,
    FAKE_HANGS = -2
};

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    ILLEGAL_STATE = 401,
    LOSSY_QUERY = 402,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_TIMEOUT = 702,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905
};

struct fake_grid {
    uint64_t x, y, z; /* blocks */
    uint64_t threads; /* of a block */
};

struct fake_kernel {
    const char *name;
    /* Return its time in ns, FAKE_BAD_GRID if the grid does not cover the work, or FAKE_HANGS if
     * it never ends. */
    int64_t (*run)(struct fake_grid grid, void **parameters);
    unsigned char sizes[FAKE_PARAMETERS_MAX]; /* bytes of each parameter; 0 after the last */
    bool is_early;   /* begins before the end of the kernel before (programmatic launch) */
    bool is_library; /* its node has a CUkernel and no CUfunction */
    bool counts;     /* its first parameter is a counter, which only one launch may use */
};

/* ---- objects: fake_cuda.c makes them, fake_graph.c captures -------------------- */

struct fake_node;
struct fake_capture;

/* What the next node must wait for. */
struct fake_set {
    struct fake_node *nodes[FAKE_SET_MAX];
    size_t count;
};

struct fake_stream {
    _Atomic int64_t end_ns; /* of what was launched on it; INT64_MAX: it hangs */
    int device;
    struct fake_capture *capture; /* NULL: it executes */
    struct fake_set last;         /* of the capture */
};

struct fake_event {
    _Atomic int64_t at_ns;
    bool has_time;
    uint64_t capture; /* number of the capture that recorded it; 0: it was recorded in time */
    struct fake_set last;
};

#define FAKE_MEMORY_BYTES ((size_t)1 << 32)
#define FAKE_DEVICES_MAX 4

/* NULL: there is no such kernel. */
const struct fake_kernel *fake_find(const char *name);

/* Write a line to the file that FAKE_CUDA_LOG names, if it is set. */
__attribute__((format(printf, 1, 2))) void fake_note(const char *format, ...);

/* Objects of the driver: those that exist are counted. */
void *fake_make(size_t bytes);
int fake_drop(void *object); /* SUCCESS, or INVALID_HANDLE for NULL */

int64_t fake_now_ns(void);

/* Let the device work for `duration_ns` (or FAKE_HANGS) on a stream. fake_lock() is held. */
void fake_work(struct fake_stream *stream, int64_t duration_ns);
void fake_lock(void);
void fake_unlock(void);

/* Is the context of a device current on this thread? */
bool fake_has_context(void);
/* The device whose context is current on this thread; -1: none. */
int fake_device(void);
/* FAKE_CUDA_DEVICES, or one. */
int fake_device_count(void);

/* ---- fake_graph.c ------------------------------------------------------------- */

/* Record a node on a stream that is captured. */
int fake_capture_kernel(struct fake_stream *stream, const struct fake_kernel *kernel,
                        const unsigned grid[3], const unsigned block[3], void **parameters);
int fake_capture_memset(struct fake_stream *stream, uint64_t to, int value, size_t count);
/* A call that cannot be captured: the capture is void. Return CAPTURE_UNSUPPORTED. */
int fake_capture_spoil(struct fake_capture *capture);
/* The capture that this thread has begun; NULL: none. */
struct fake_capture *fake_capture_here(void);
/* Memory is freed: a counter there is no longer one. */
void fake_forget_counter(uint64_t address);
void fake_capture_event(struct fake_event *event, struct fake_stream *stream);

/* Return the result that XS_FAKE_FAULT wants for this call; 0: the normal one. */
int fake_misbehave(const char *call);

/* The first statement of every call. */
#define ENTER                                                                                      \
    do {                                                                                           \
        int enter_result = fake_misbehave(__func__);                                               \
        if (enter_result != 0)                                                                     \
            return enter_result;                                                                   \
    } while (0)

/* The first statement of every call that needs a context. */
#define WITH_CONTEXT                                                                               \
    ENTER;                                                                                         \
    if (!fake_has_context())                                                                       \
    return INVALID_CONTEXT

#endif
