/* xs_api.h - the whole boundary between the native runner and Python.
 *
 * cffi_build/build.py hands everything between the two cdef marks to cffi, so
 * between them: plain C declarations only, no macros, no #if, no #include.
 *
 * Arrays go in, arrays come out: arrivals and samples belong to the caller,
 * who keeps them alive until xs_run_close(). The library never calls back,
 * never prints, never exits. Times are nanoseconds since the start of the run
 * unless a name says otherwise. Every call that can fail returns an
 * enum xs_status and fills *err (NULL is allowed); outputs are set first. */
#ifndef XS_API_H
#define XS_API_H

#include <stdint.h>

/* cdef begin */
enum xs_status {
    XS_OK = 0,
    XS_EAGAIN = -1,    /* not an error: not there yet, call again */
    XS_EINVAL = -2,    /* the caller's values are wrong; the message names one */
    XS_ENOMEM = -3,    /* the message names what was to be allocated */
    XS_ENODEV = -4,    /* no such device here */
    XS_EDEVICE = -5,   /* a device call failed: err->where, err->native */
    XS_EFORKED = -6,   /* called in a child of the process that opened it */
    XS_ECANCELED = -7, /* xs_run_stop() came before the end */
    XS_ENOTSUP = -8    /* this device cannot do that */
};

enum xs_limit {
    XS_PRIORITY_MIN = -255,
    XS_PRIORITY_MAX = 255,
    XS_THRESHOLD_MAX = 1024,  /* commands in flight on one stream */
    XS_QUEUES_MAX = 256,      /* queues of one run */
    XS_COMMANDS_MAX = 4096,   /* commands of one request */
    XS_PENDING_MAX = 4096,    /* unfinished requests of one XS_LOAD_MANUAL queue */
    XS_WAVES_MAX = 1024,      /* of one XS_SPIN */
    XS_ARGUMENTS_MAX = 64,    /* of one XS_KERNEL */
    XS_ITEMS_MAX = 2147483647 /* elements of an output or a buffer */
};

struct xs_error {
    int32_t status; /* enum xs_status */
    int32_t native; /* the driver's code or errno; 0 if none */
    char where[48]; /* the call that failed: "cpu.launch" */
    /* One sentence, or the end of a compiler's log; UTF-8, no newline. */
    char message[1024];
};

enum xs_sample_flag {
    XS_SAMPLE_WARMUP = 1,  /* scheduled before the measured window */
    XS_SAMPLE_DRAIN = 2,   /* scheduled after the measured window */
    XS_SAMPLE_CENSORED = 4 /* not completed when the run ended */
};

/* One request. -1: never reached. */
struct xs_sample {
    int64_t scheduled_ns; /* its arrival; latency counts from here */
    int64_t submitted_ns; /* handed to its XQueue */
    int64_t launched_ns;  /* its first command was launched */
    int64_t completed_ns; /* the mark behind its last command was seen passed */
    int64_t flags;        /* enum xs_sample_flag */
};

enum xs_command_kind {
    XS_MATMUL = 1,     /* batch x (n x n) . (n x n), float32 */
    XS_VECTOR_ADD = 2, /* n + n elements, float32 */
    XS_SPIN = 3,       /* keep the device busy for duration_ns */
    XS_KERNEL = 4      /* a kernel of the user's own; on cuda and hip */
};

enum xs_argument_kind {
    XS_BUFFER = 1, /* float32 *, filled like the first operand of our own commands */
    XS_INT32 = 2,
    XS_INT64 = 3,
    XS_FLOAT32 = 4
};

struct xs_argument {
    int32_t kind;    /* enum xs_argument_kind */
    float real;      /* XS_FLOAT32, else 0 */
    int64_t integer; /* of the others; of XS_BUFFER its elements, [1, XS_ITEMS_MAX] */
};

struct xs_source {
    const char *text;           /* in the language of the device: CUDA's, HIP's */
    const char *name;           /* of a kernel in it, extern "C" */
    uint32_t grid[3], block[3]; /* x, y, z: blocks; threads of one; >= 1 */
    uint32_t argument_count;    /* [0, XS_ARGUMENTS_MAX] */
    const struct xs_argument *arguments;
};

struct xs_command {
    int32_t kind;        /* enum xs_command_kind */
    uint32_t n;          /* >= 1; 0 for XS_SPIN and XS_KERNEL */
    uint32_t batch;      /* >= 1 */
    int64_t duration_ns; /* XS_SPIN only; >= 0 */
    /* XS_SPIN only, and for GPUs: the share of the device that it takes, in
     * thousandths, 0 being all of it; and how many waves of blocks it makes of its
     * duration, one behind the other, 0 being one. Others run it as a whole. */
    uint32_t fill_permille;         /* [0, 1000] */
    uint32_t waves;                 /* [0, XS_WAVES_MAX]; above 1 only where it takes all */
    const struct xs_source *source; /* XS_KERNEL, else NULL */
};

/* ---- devices ---------------------------------------------------------- */

struct xs_cpu_model {
    uint32_t workers;        /* commands executed at once, [1, 64] */
    int32_t honour_priority; /* 0: first come, first served */
    int64_t spin_ns;         /* busy-wait this long before sleeping, >= 0 */
};

struct xs_sim_model {
    uint32_t slots;          /* commands executed at once, [1, 64] */
    int32_t honour_priority; /* 0: first come, first served */
    int64_t launch_ns;       /* from a launch to the device, serial per stream */
    double flops_per_s;      /* of a full device, > 0 */
    double bytes_per_s;      /* of a full device, > 0 */
    double full_items;       /* work items that fill the device, >= 1 */
};

struct xs_gpu_libraries {
    const char *driver;   /* a file, instead of the names that are searched; NULL: search */
    const char *compiler; /* likewise */
    const char *cache;    /* directory of compiled kernels, made if need be; NULL: none */
};

struct xs_device_options {
    int32_t index; /* which one, from 0 */
    struct xs_gpu_libraries gpu;
    struct xs_cpu_model cpu;
    struct xs_sim_model sim;
};

struct xs_device_info {
    char kind[16];
    char name[128];
    int32_t virtual_time;    /* 1: no clock of its own, runs at any speed */
    int32_t computes;        /* 1: results can be read back and checked */
    int32_t on_host;         /* 1: its commands run on the processors of this machine */
    int32_t honour_priority; /* 1: streams of higher priority go first; -1: not known */
    int32_t least_priority;  /* of streams; what is below counts as this */
    int32_t most_priority;   /* likewise above */
    uint32_t parallel;       /* commands executed at once; 0: not known */
    uint32_t units;          /* multiprocessors that a queue can be bound to; 0: it cannot */
    uint32_t unit_step;      /* they are given in groups of so many, from 0 */
    /* Of a GPU; "" and 0: not known. */
    char architecture[64]; /* what kernels are compiled for: "sm_90", "gfx90a:sramecc+:xnack-" */
    char uuid[48];
    char pci_id[32]; /* "0000:1b:00.0" */
    char driver_version[24];
    char compiler_version[24];
    int64_t memory_bytes;
    char driver_file[512]; /* the library that drives it, as the loader knows it */
};

struct xs_device_place {
    char pci_id[32]; /* of a GPU; "": not one that processes share */
};

/* Where that is which xs_device_open() would open. Makes no context on it, so
 * that the caller can first wait until others are done with it. The driver
 * stays loaded. */
int xs_device_locate(const char *kind, const struct xs_device_options *options,
                     struct xs_device_place *out, struct xs_error *err);

/* Opening is slow and outlives runs: open once, run often. The caller closes
 * it after the last run on it. */
struct xs_device;
int xs_device_open(const char *kind, const struct xs_device_options *options,
                   struct xs_device **out, struct xs_error *err);
int xs_device_describe(struct xs_device *dev, struct xs_device_info *out, struct xs_error *err);
void xs_device_close(struct xs_device *dev); /* NULL is fine; nothing in a forked child */

/* The user's own XSched, over a device. */
struct xs_xsched_options {
    const char *preempt;  /* libpreempt.so */
    const char *hal;      /* the libhal*.so for the device's kind */
    int32_t scheduler;    /* as XSched counts them: 1 app-managed, 2 local, 3 global */
    int32_t policy;       /* likewise; 0 unless local */
    int32_t level;        /* of preemption, >= 1 */
    int64_t timeslice_us; /* of its policies that have one; 0: their own */
    uint32_t k;           /* of K-EDF; 0: its own */
};

/* *out is `device` with XSched between launches and streams, and owns it: it is
 * closed with *out. After an error the caller still has it. XSched's state is the
 * process's, and there is no way back: one scheduler a process. It may end the
 * process, or hang in any call. */
int xs_xsched_open(struct xs_device *device, const struct xs_xsched_options *options,
                   struct xs_device **out, struct xs_error *err);

/* Let the policy forget every hint that it was given, and what it knows of queues; between
 * runs. `device` and `options` are those of xs_xsched_open(), whose files are not read. */
int xs_xsched_forget(struct xs_device *device, const struct xs_xsched_options *options,
                     struct xs_error *err);

/* The n-th device kind that xs_device_open() takes, NULL behind the last. */
const char *xs_device_kind(uint32_t n);
/* The n-th policy that xs_run_open() takes, NULL behind the last. */
const char *xs_policy_name(uint32_t n);

/* ---- runs -------------------------------------------------------------- */

enum xs_load_kind {
    XS_LOAD_OPEN = 1,   /* at the given arrivals, whatever happens */
    XS_LOAD_CLOSED = 2, /* `concurrency` clients, each: request, think, again */
    XS_LOAD_MANUAL = 3  /* by xs_queue_submit() only */
};

struct xs_load_spec {
    int32_t kind;               /* enum xs_load_kind */
    uint32_t concurrency;       /* XS_LOAD_CLOSED: clients, >= 1 */
    int64_t think_ns;           /* XS_LOAD_CLOSED: >= 0 */
    const int64_t *arrivals_ns; /* XS_LOAD_OPEN: ascending, >= 0 */
    uint64_t arrival_count;
    struct xs_sample *samples; /* written in order of arrival; NULL for XS_LOAD_MANUAL */
    uint64_t sample_cap;       /* XS_LOAD_OPEN: >= arrival_count */
};

/* For schedulers that take them; 0: none. */
struct xs_hints {
    uint32_t threshold, batch_size; /* of the XQueue that a scheduler below makes */
    int32_t utilization;            /* percent of the device, [0, 100] */
    int64_t deadline_ns;            /* of a burst of work, from its begin */
    int64_t laxity_ns;              /* from there on it is critical */
};

enum xs_change_kind {
    XS_CHANGE_PRIORITY = 1, /* to `value` */
    XS_CHANGE_HELD = 2      /* value 1: suspended by the user, 0: resumed */
};

struct xs_change {
    int64_t at_ns;
    int32_t kind; /* enum xs_change_kind */
    int32_t value;
};

struct xs_queue_spec {
    const char *name;                  /* for messages; copied */
    int32_t priority;                  /* for the policy; higher runs first */
    int32_t stream_priority;           /* for the device; higher runs first */
    uint32_t threshold;                /* [batch_size, XS_THRESHOLD_MAX]; 0: automatic */
    uint32_t batch_size;               /* >= 1; 0 with an automatic threshold */
    uint32_t seed;                     /* of the inputs of its commands */
    uint32_t command_count;            /* [1, XS_COMMANDS_MAX]; 0 for XS_LOAD_MANUAL */
    const struct xs_command *commands; /* of each request; copied, sources too */
    const uint32_t *units;             /* bit i % 32 of word i / 32: may use multiprocessor i */
    uint32_t unit_words;               /* 0: all of them */
    struct xs_hints hints;
    const struct xs_change *changes; /* ascending; the caller's until xs_run_close() */
    uint32_t change_count;
    struct xs_load_spec load;
    struct xs_device *device; /* another than the run's, in real time only; NULL: the run's */
};

/* What a thread does that waits for a device which can only be polled. */
enum xs_waiting {
    XS_WAIT_YIELD = 0, /* spin for a while, then let others run between looks */
    XS_WAIT_SPIN = 1,  /* never leave the processor */
    XS_WAIT_SLEEP = 2  /* spin for a while, then sleep 50 us between looks */
};

/* Of a thread that does nothing but wake up every 2 ms of the measured window: how
 * late it did at worst, for each slot of time from the begin of the window. */
struct xs_heartbeat {
    int64_t slot_ns;     /* length of one; > 0 */
    uint64_t slot_count; /* 0: no such thread; must be 0 in virtual time */
    int64_t *late_ns;    /* set to 0 first; 0 then is a slot without a beat; >= 1 */
};

struct xs_timing {
    int64_t warmup_ns;   /* samples before are flagged; >= 0 */
    int64_t duration_ns; /* of the measured window behind it; 0: until stopped */
    /* Longest wait behind the window for unfinished requests, >= 0. What is on
     * the device then is still seen to complete, but its requests are censored;
     * what takes more than 10 s beyond is an error, and its device is given up. */
    int64_t drain_ns;
    int32_t waiting; /* enum xs_waiting; no effect in virtual time */
    /* When time 0 of the run is to be, by CLOCK_MONOTONIC, which all processes share: not
     * before now and at most 60 s ahead. 0: as soon as possible; must be 0 in virtual time. */
    int64_t start_clock_ns;
    /* Its array is the caller's until xs_run_close(), and complete when the run is over. */
    struct xs_heartbeat heartbeat;
};

enum xs_queue_state {
    XS_QUEUE_IDLE = 1,     /* nothing submitted is unfinished */
    XS_QUEUE_READY = 2,    /* has unfinished commands and may launch */
    XS_QUEUE_SUSPENDED = 3 /* may not launch: by the user or by the policy */
};

struct xs_queue_counts {
    uint64_t submitted, launched, completed, failed; /* commands */
    uint64_t requests_submitted, requests_completed;
    uint64_t suspended;      /* times the queue was suspended while it had work */
    uint64_t most_in_flight; /* commands at once */
    int32_t priority;        /* in effect */
    int32_t state;           /* enum xs_queue_state */
};

/* A run: one device, one policy, some queues. Add queues, start, wait until
 * XS_OK, read, close. Queues of XS_LOAD_MANUAL can be added and destroyed
 * while it runs. `device`, and other devices of its queues, must stay open until
 * xs_run_close(); a device of virtual time takes one run at a time. The policy
 * schedules the queues of each device among themselves. */
struct xs_run;
int xs_run_open(struct xs_device *device, const char *policy, struct xs_run **out,
                struct xs_error *err);
int xs_run_start(struct xs_run *run, const struct xs_timing *timing, struct xs_error *err);
/* XS_OK: over. XS_EAGAIN: not yet, after at most timeout_ns of wall time.
 * Else the first error of the run. */
int xs_run_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err);
int64_t xs_run_now(struct xs_run *run); /* since the start; 0 before, and in a forked child */
void xs_run_stop(struct xs_run *run);   /* any thread, any number of times */
void xs_run_close(struct xs_run *run);  /* stop, join, free, queues too; NULL is fine */

/* A queue belongs to its run and dies with it at the latest. */
struct xs_queue;
int xs_queue_add(struct xs_run *run, const struct xs_queue_spec *spec, struct xs_queue **out,
                 struct xs_error *err);
/* What was submitted is dropped, what was launched is waited for. NULL is fine. */
void xs_queue_destroy(struct xs_queue *queue);
int xs_queue_counts(struct xs_queue *queue, struct xs_queue_counts *out, struct xs_error *err);
/* What the kernel calls the thread that drives the queue (gettid); 0: there is none, as in
 * virtual time, or it has not begun. */
int64_t xs_queue_thread(struct xs_queue *queue);
int xs_queue_set_priority(struct xs_queue *queue, int32_t priority, struct xs_error *err);
/* How many commands are launched ahead, and how many lie between marks. What is in
 * flight stays so, until it completes beyond a lower threshold. XS_EINVAL for an
 * automatic threshold. A scheduler below the runner may wait for all that was submitted. */
int xs_queue_set_depth(struct xs_queue *queue, uint32_t threshold, uint32_t batch_size,
                       struct xs_error *err);
int xs_queue_suspend(struct xs_queue *queue, struct xs_error *err); /* until resumed by the user */
int xs_queue_resume(struct xs_queue *queue, struct xs_error *err);

struct xs_scheduler_counts {
    uint64_t submitted; /* as the scheduler counts them */
    uint64_t launched;  /* times it launched one */
    uint64_t in_flight; /* most at once, as seen before each launch; of XS_LOAD_MANUAL only */
};

/* Commands of a queue that went through a scheduler below the runner, such as
 * XSched. XS_ENOTSUP where there is none. */
int xs_queue_scheduler_counts(struct xs_queue *queue, struct xs_scheduler_counts *out,
                              struct xs_error *err);

/* XS_LOAD_MANUAL. One request; *ticket counts from 0. */
int xs_queue_submit(struct xs_queue *queue, const struct xs_command *commands, uint32_t count,
                    uint64_t *ticket, struct xs_error *err);
/* Until the ticket's request completed (XS_OK, *out filled if not NULL) or
 * timeout_ns went by (XS_EAGAIN); of virtual time where the device has it, and
 * then also XS_EAGAIN after some 50 ms of wall time. */
int xs_queue_wait(struct xs_queue *queue, uint64_t ticket, int64_t timeout_ns,
                  struct xs_sample *out, struct xs_error *err);
/* No policy any more, of ours or of a scheduler below: from here on every queue runs that
 * the user does not hold. */
int xs_run_switch_off(struct xs_run *run, struct xs_error *err);
/* Let virtual time pass; XS_EAGAIN: part of it, after some 50 ms of wall time.
 * XS_ENOTSUP where time is real. */
int xs_run_advance(struct xs_run *run, int64_t duration_ns, struct xs_error *err);

/* Results of command `index` of a queue's requests, when the run is over:
 * `launches` of it were executed; `checksum` is the sum over launches k of
 * output element (k * 2654435761 mod 2^32) mod items, and of k mod 1024 for
 * XS_SPIN. Commands that are equal share inputs, output and both numbers.
 * XS_ENOTSUP for XS_KERNEL. */
int xs_queue_checksum(struct xs_queue *queue, uint32_t index, uint64_t *launches, int64_t *checksum,
                      struct xs_error *err);
/* The output of its last launch: `count` float32, row-major. Of XS_KERNEL its
 * first buffer. */
int xs_queue_output(struct xs_queue *queue, uint32_t index, float *out, uint64_t count,
                    struct xs_error *err);
/* cdef end */

#endif
