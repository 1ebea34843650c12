/* device.h - what a backend does: it executes commands in order on streams, and reports when
 * a mark was passed. A backend knows no queue and no policy.
 *
 * To add a device, follow docs/howto/new_device.md: copy cpu/device_cpu.c, add a line to
 * XS_BACKENDS below and a name to pytest_xsched/base/constants.py. test_conformance.c finds the
 * device by itself, and must pass. */
#ifndef XS_DEVICE_H
#define XS_DEVICE_H

#include "base/base.h"

/* A backend embeds this struct as its first member. All threads of a run share it. */
struct xs_device {
    const struct xs_device_ops *ops;
    int32_t opened_by; /* process id; a forked child gets XS_EFORKED instead of a crash */
    /* The device hangs, and a thread that waits for it would, too. Everything on it stays as
     * it is. */
    _Atomic bool lost;
    _Atomic bool in_run; /* virtual time: a run moves its clock, and only one run can */
    /* When the runner last saw a command complete: by the clock, or in the virtual time of
     * the run. */
    _Atomic xs_ns completed_at;
};
struct xs_stream; /* in order; one thread at a time calls launch, mark, passed and wait */
struct xs_kernel; /* what one command needs on one stream */

/* ---- optional groups of functions: see the rule in struct xs_device_ops ---- */

/* Reads results. Both functions first wait for all commands that were launched on the
 * stream of the kernel; see xs_queue_checksum(). */
struct xs_result_ops {
    int (*checksum)(struct xs_kernel *kernel, int64_t *out, struct xs_error *err);
    int (*output)(struct xs_kernel *kernel, float *out, uint64_t count, struct xs_error *err);
};

/* Virtual time: the time of the next event (XS_NEVER: none), and the move to a time. The
 * engine calls advance() before every launch() at `now`. slow_launches() sets what each launch
 * of a new stream takes in addition. */
struct xs_virtual_time_ops {
    xs_ns (*next_due)(const struct xs_device *dev);
    void (*advance)(struct xs_device *dev, xs_ns now);
    void (*slow_launches)(struct xs_stream *stream, xs_ns launch_ns);
};

/* A scheduler of the device's own, to which launch() only submits commands. Any thread
 * may call these functions, one thread at a time; launched_at() is for the owner of the
 * stream. */
struct xs_scheduler_ops {
    /* False takes the policy of the scheduler away. True restores it, and is only allowed
     * while the device has no streams. */
    int (*enable)(struct xs_device *dev, bool on, struct xs_error *err);
    int (*configure)(struct xs_stream *stream, const struct xs_queue_spec *spec,
                     struct xs_error *err);
    int (*set_priority)(struct xs_stream *stream, int32_t priority, struct xs_error *err);
    /* 0: none. */
    int (*set_deadline)(struct xs_stream *stream, xs_ns deadline, struct xs_error *err);
    int (*set_laxity)(struct xs_stream *stream, xs_ns laxity, struct xs_error *err);
    int (*set_utilization)(struct xs_stream *stream, int32_t percent, struct xs_error *err);
    int (*hold)(struct xs_stream *stream, bool held, struct xs_error *err);
    int (*set_depth)(struct xs_stream *stream, uint32_t threshold, uint32_t batch_size,
                     struct xs_error *err);
    int (*count)(struct xs_stream *stream, struct xs_scheduler_counts *out, struct xs_error *err);
    /* The call of the scheduler that has not returned yet, or NULL, and the number of commands
     * that the scheduler launched. It calls nothing, so it returns while the scheduler hangs. */
    const char *(*call)(const struct xs_stream *stream, uint64_t *launched);
    /* When the scheduler launched launch `number` of the stream (from 0), by the clock. Valid
     * for a complete launch, until XS_THRESHOLD_MAX later launches. */
    xs_ns (*launched_at)(const struct xs_stream *stream, uint64_t number);
};

/* What graph.c and the backend share of a captured graph; see xs_graph_open(). The backend
 * embeds this struct as its first member. */
struct xs_graph {
    struct xs_device *device; /* of the backend, not one that wraps it */
    struct xs_graph_info info;
    char **kernels;           /* the names */
    uint32_t *kernels_before; /* nodes + 1: how many kernels the first nodes have */
    uint32_t *cuts;           /* positions */
    _Atomic uint32_t uses;    /* the caller, and kernels of its segments; the last one frees it */
};
struct xs_capture {
    struct xs_device *device;
    struct xs_stream *stream;
    void **graphs; /* of the driver */
    uint32_t graph_count;
    bool is_active;
};

/* Captured graphs. The caller has made the device current. xs_graph_open() and so on say the
 * rest; `capture` has its device. */
struct xs_graph_ops {
    int (*open)(struct xs_device *dev, void *handle, struct xs_graph **out, struct xs_error *err);
    int (*cut)(struct xs_graph *graph, const uint32_t *ends, uint32_t count, struct xs_error *err);
    int (*launch)(struct xs_graph *graph, struct xs_error *err);
    int (*wait)(struct xs_graph *graph, int64_t until_ns, int64_t limit_ns, int64_t *segment_ns,
                struct xs_error *err);
    void (*release)(struct xs_graph *graph); /* one of graph->uses ends */
    int (*capture_open)(struct xs_device *dev, const uint32_t *units, uint32_t words,
                        struct xs_capture **out, struct xs_error *err);
    int (*capture_begin)(struct xs_capture *capture, struct xs_error *err);
    int (*capture_end)(struct xs_capture *capture, struct xs_error *err);
    void (*capture_close)(struct xs_capture *capture);
};

/* The functions of a backend.
 *
 * The rule: a capability is one pointer. The functions of the first part must be there.
 * A pointer of the optional part, to a function or to a group of functions, is NULL where the
 * device lacks the capability, so that each caller tests one pointer. A group is complete. */
struct xs_device_ops {
    const char *kind; /* the name that xs_device_open() takes */

    /* XS_ENODEV if the driver or the device is absent. The caller closes *out;
     * xs_device_open() fills its base. */
    int (*open)(const struct xs_device_options *options, struct xs_device **out,
                struct xs_error *err);
    void (*describe)(struct xs_device *dev, struct xs_device_info *out);
    void (*close)(struct xs_device *dev);

    /* Make dev current on the calling thread. Every thread calls it before the functions
     * below, because HIP and CUDA keep the context per thread. */
    int (*bind_thread)(struct xs_device *dev, struct xs_error *err);

    /* The caller destroys *out before close(). Destroying waits for all commands that were
     * launched: after a stop, commands may be in flight that no mark covers. */
    int (*stream_create)(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                         struct xs_error *err);
    void (*stream_destroy)(struct xs_stream *stream);

    /* Prepare everything that `command` needs: launch() allocates nothing. Any thread may
     * call it. The inputs follow from `seed`. The caller destroys *out after its stream. A
     * source that the command points to lives as long as *out. */
    int (*kernel_create)(struct xs_stream *stream, const struct xs_command *command, uint32_t seed,
                         struct xs_kernel **out, struct xs_error *err);
    void (*kernel_destroy)(struct xs_kernel *kernel);

    /* Launch one command, and do not wait for it. At most XS_THRESHOLD_MAX commands are in
     * flight on a stream. The command adds `argument` to its results. */
    int (*launch)(struct xs_stream *stream, struct xs_kernel *kernel, uint32_t argument,
                  struct xs_error *err);

    /* Set mark `slot` (< XS_THRESHOLD_MAX) after all commands that were launched. The
     * slot is free again after the mark was passed. */
    int (*mark)(struct xs_stream *stream, uint32_t slot, struct xs_error *err);
    /* XS_OK once the mark is passed, XS_EAGAIN before. */
    int (*passed)(struct xs_stream *stream, uint32_t slot, struct xs_error *err);

    /* ---- optional ---------------------------------------------------------- */

    /* Block until the mark is passed (XS_OK) or until the clock (clock.h) reads `until_ns`
     * (XS_EAGAIN). The caller holds no lock. NULL: the engine polls passed(). */
    int (*wait)(struct xs_stream *stream, uint32_t slot, int64_t until_ns, struct xs_error *err);

    /* See xs_device_locate(). NULL: each process has a device of its own. */
    int (*locate)(const struct xs_device_options *options, struct xs_device_place *out,
                  struct xs_error *err);

    /* stream_create() on some of the multiprocessors: see struct xs_queue_spec. NULL where
     * xs_device_info.units is 0. */
    int (*stream_create_on)(struct xs_device *dev, int32_t priority, const uint32_t *units,
                            uint32_t words, struct xs_stream **out, struct xs_error *err);

    /* The driver's own handle of a stream, for XSched. NULL: there is no driver. */
    void *(*stream_handle)(struct xs_stream *stream);

    /* When the device began and ended command `number` of a stream, counted from 0, in the
     * time of marks; -1: not yet. Called while the runner counts the command as in flight.
     * NULL: the device does not tell. */
    void (*executed)(const struct xs_stream *stream, uint64_t number, int64_t *began,
                     int64_t *ended);

    bool runs_sources; /* kernel_create() takes XS_KERNEL */

    const struct xs_graph_ops *graphs; /* kernel_create() takes XS_SEGMENT; NULL: no graphs */

    const struct xs_result_ops *results;            /* NULL: the device computes nothing */
    const struct xs_virtual_time_ops *virtual_time; /* NULL: the device runs in real time */
    const struct xs_scheduler_ops *scheduler;       /* NULL: the runner alone schedules */
};

/* The list of backends, and the only one in C: one line a backend, in the order of
 * xs_device_kind(). */
#define XS_BACKENDS(X)                                                                             \
    X(cpu)                                                                                         \
    X(sim)                                                                                         \
    X(hip)                                                                                         \
    X(cuda)                                                                                        \
    X(opencl)

#define XS_DECLARE_BACKEND(kind) extern const struct xs_device_ops xs_device_##kind;
XS_BACKENDS(XS_DECLARE_BACKEND)

/* Open a device with the given functions. registry.c uses it, and so do tests that wrap a
 * backend. */
int xs__device_open(const struct xs_device_ops *ops, const struct xs_device_options *options,
                    struct xs_device **out, struct xs_error *err);

/* XS_EFORKED in a fork of the process that opened the device. */
int xs__device_check(const struct xs_device *dev, const char *where, struct xs_error *err);

/* In command.c. XS_EINVAL for a command that no device can execute. */
int xs__command_check(const struct xs_command *command, struct xs_error *err);
bool xs__command_equal(const struct xs_command *a, const struct xs_command *b);
/* Number of elements of its output; 0 for the other kinds. */
uint64_t xs__command_items(const struct xs_command *command);
/* Copy a command that passed the check, with its source. The caller frees the copy. */
int xs__command_copy(const struct xs_command *from, struct xs_command *to, struct xs_error *err);
void xs__command_free(struct xs_command *command);

#endif
