/* xs_api.h - the whole boundary between the native runner and Python.
 *
 * cffi_build/build.py passes everything between the two cdef marks to cffi. Between the marks
 * stand plain C declarations only: no macros, no #if, no #include.
 *
 * Arrays go in, and arrays come out. Arrivals and samples belong to the caller, who keeps
 * them alive until xs_run_close(). The library never calls back, never prints and never
 * exits. Times are nanoseconds since the start of the run unless a name says otherwise. Every
 * call that can fail returns an enum xs_status and fills *err (NULL is allowed). It sets its
 * outputs first. */
#ifndef XS_API_H
#define XS_API_H

#include <stdint.h>

/* cdef begin */
enum xs_status {
    XS_OK = 0,
    XS_EAGAIN = -1,    /* not an error: not ready yet, call again */
    XS_EINVAL = -2,    /* a value of the caller is wrong; the message names it */
    XS_ENOMEM = -3,    /* the message names what could not be allocated */
    XS_ENODEV = -4,    /* this machine has no such device */
    XS_EDEVICE = -5,   /* a device call failed: err->where, err->native */
    XS_EFORKED = -6,   /* called in a fork of the process that opened the device */
    XS_ECANCELED = -7, /* xs_run_stop() was called before the end */
    XS_ENOTSUP = -8    /* the device lacks the capability */
};

enum xs_limit {
    XS_PRIORITY_MIN = -255,
    XS_PRIORITY_MAX = 255,
    XS_THRESHOLD_MAX = 1024,  /* commands in flight on one stream */
    XS_QUEUES_MAX = 256,      /* queues of one run */
    XS_COMMANDS_MAX = 4096,   /* commands of one request */
    XS_PENDING_MAX = 4096,    /* unfinished requests of one XS_LOAD_MANUAL queue */
    XS_WAVES_MAX = 1024,      /* waves of one XS_SPIN */
    XS_ARGUMENTS_MAX = 64,    /* arguments of one XS_KERNEL */
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
    XS_SAMPLE_WARMUP = 1,  /* it arrived before the measured window */
    XS_SAMPLE_DRAIN = 2,   /* it arrived after the measured window */
    XS_SAMPLE_CENSORED = 4 /* it was not complete when the run ended */
};

/* One request. A time of -1: the request did not get there. */
struct xs_sample {
    int64_t scheduled_ns; /* its arrival; latency is measured from here */
    int64_t submitted_ns; /* the runner submitted it to its XQueue */
    int64_t launched_ns;  /* the runner launched its first command */
    int64_t completed_ns; /* the runner saw that the mark after its last command was passed */
    int64_t flags;        /* enum xs_sample_flag */
};

/* One launched command. A time of -1: unknown, or the command did not get there. */
struct xs_command_record {
    int64_t request;      /* number of its request, from 0 in order of arrival */
    int64_t index;        /* number of the command in the request, from 0 */
    int64_t launched_ns;  /* the runner launched it, or the device's own scheduler did */
    int64_t began_ns;     /* the device began to execute it; -1 where the device does not tell */
    int64_t ended_ns;     /* the device ended it; likewise */
    int64_t completed_ns; /* the runner saw that a mark after it was passed */
};

/* A change of a queue from suspended to not suspended, or back. A queue starts as not
 * suspended. */
struct xs_suspension {
    int64_t at_ns;
    int32_t suspended; /* 1: from now on the queue launches nothing; 0: it may launch */
    int32_t held;      /* 1: the user suspends it; 0: the policy alone decided */
};

enum xs_command_kind {
    XS_MATMUL = 1,     /* batch x (n x n) . (n x n), float32 */
    XS_VECTOR_ADD = 2, /* n + n elements, float32 */
    XS_SPIN = 3,       /* keep the device busy for duration_ns */
    XS_KERNEL = 4,     /* a kernel of the user; on cuda and hip */
    XS_SEGMENT = 5     /* a segment of a captured graph; on cuda and hip */
};

enum xs_argument_kind {
    XS_BUFFER = 1, /* float32 *, with the contents of the first operand of a built-in command */
    XS_INT32 = 2,
    XS_INT64 = 3,
    XS_FLOAT32 = 4
};

struct xs_argument {
    int32_t kind;    /* enum xs_argument_kind */
    float real;      /* the value of XS_FLOAT32, else 0 */
    int64_t integer; /* of XS_INT32, XS_INT64; of XS_BUFFER its elements, [1, XS_ITEMS_MAX] */
};

struct xs_source {
    const char *text;           /* CUDA or HIP source text */
    const char *name;           /* the kernel in the text, declared extern "C" */
    uint32_t grid[3], block[3]; /* x, y, z: number of blocks; threads of a block; each >= 1 */
    uint32_t argument_count;    /* [0, XS_ARGUMENTS_MAX] */
    const struct xs_argument *arguments;
};

struct xs_graph;

struct xs_command {
    int32_t kind;        /* enum xs_command_kind */
    uint32_t n;          /* >= 1; 0 for XS_SPIN and XS_KERNEL; of XS_SEGMENT its number, from 0 */
    uint32_t batch;      /* >= 1 */
    int64_t duration_ns; /* XS_SPIN only; >= 0 */
    /* XS_SPIN only. On a GPU, fill_permille is the share of the device that the command uses,
     * in thousandths; 0 means all of it. `waves` is the number of waves of blocks that
     * execute one after another within the duration; 0 means one. Other devices ignore both. */
    uint32_t fill_permille;         /* [0, 1000] */
    uint32_t waves;                 /* [0, XS_WAVES_MAX]; above 1 only with all of the device */
    const struct xs_source *source; /* XS_KERNEL, else NULL */
    struct xs_graph *graph;         /* XS_SEGMENT, else NULL; see xs_graph_open() */
};

/* ---- devices ---------------------------------------------------------- */

struct xs_cpu_model {
    uint32_t workers;        /* commands that execute at once, [1, 64] */
    int32_t honour_priority; /* 0: the device executes commands in the order of their launches */
    int64_t spin_ns;         /* how long a thread spins before it sleeps, >= 0 */
};

struct xs_sim_model {
    uint32_t slots;          /* commands that execute at once, [1, 64] */
    int32_t honour_priority; /* 0: the device executes commands in the order of their launches */
    int32_t interleave;      /* 1: streams take turns; 0: commands execute as they were launched */
    int64_t launch_ns;       /* delay from a launch to the device, serial for each stream */
    int64_t tail_ns;         /* end of a command in which its slot is free already, >= 0 */
    double flops_per_s;      /* of a full device, > 0 */
    double bytes_per_s;      /* of a full device, > 0 */
    double full_items;       /* work items that fill the device, >= 1 */
};

struct xs_gpu_libraries {
    const char *driver;   /* path of the library; NULL: search the usual names */
    const char *compiler; /* path of the library; NULL: search the usual names */
    const char *cache;    /* directory of compiled kernels, created on demand; NULL: none */
};

struct xs_device_options {
    int32_t index; /* the number of the device, from 0 */
    struct xs_gpu_libraries gpu;
    struct xs_cpu_model cpu;
    struct xs_sim_model sim;
};

struct xs_device_info {
    char kind[16];
    char name[128];
    int32_t virtual_time;    /* 1: the engine moves the time of the device */
    int32_t computes;        /* 1: results can be read back and checked */
    int32_t on_host;         /* 1: commands execute on the processors of this machine */
    int32_t honour_priority; /* 1: streams of higher priority go first; -1: unknown */
    int32_t least_priority;  /* the lowest of a stream; lower values count as this one */
    int32_t most_priority;   /* the highest of a stream; higher values count as this one */
    uint32_t parallel;       /* commands that execute at once; 0: unknown */
    uint32_t units;          /* multiprocessors that a queue can be bound to; 0: none */
    uint32_t unit_step;      /* they are bound in whole groups of this number */
    /* The following fields describe a GPU; "" and 0: unknown. */
    char architecture[64]; /* the target of the compiler: "sm_90", "gfx90a:sramecc+:xnack-" */
    char uuid[48];
    char pci_id[32]; /* "0000:1b:00.0" */
    char driver_version[24];
    char compiler_version[24];
    int64_t memory_bytes;
    char driver_file[512]; /* path of the driver library, as the loader reports it */
};

struct xs_device_place {
    char pci_id[32]; /* of a GPU; "": processes do not share this device */
};

/* Find the device that xs_device_open() would open. It creates no context there, so the
 * caller can first wait until other processes are done with the device. The driver stays
 * loaded. */
int xs_device_locate(const char *kind, const struct xs_device_options *options,
                     struct xs_device_place *out, struct xs_error *err);

/* Opening is slow, and an open device serves many runs. The caller closes the device after
 * the last run on it. */
struct xs_device;
int xs_device_open(const char *kind, const struct xs_device_options *options,
                   struct xs_device **out, struct xs_error *err);
int xs_device_describe(struct xs_device *dev, struct xs_device_info *out, struct xs_error *err);
void xs_device_close(struct xs_device *dev); /* accepts NULL; does nothing in a forked child */

/* The settings of the user's XSched. */
struct xs_xsched_options {
    const char *preempt;  /* path of libpreempt.so */
    const char *hal;      /* path of the libhal*.so for the kind of the device */
    int32_t scheduler;    /* in XSched's numbers: 1 app-managed, 2 local, 3 global */
    int32_t policy;       /* in XSched's numbers; 0 unless the scheduler is local */
    int32_t level;        /* preemption level, >= 1 */
    int64_t timeslice_us; /* timeslice of the policies that have one; 0: XSched's default */
    uint32_t k;           /* of K-EDF; 0: XSched's default */
};

/* *out is a device that launches the commands of `device` through XSched. It owns `device`:
 * closing *out closes both. After an error the caller still owns `device`. The state of
 * XSched belongs to the process and cannot be undone, so a process uses one scheduler. XSched
 * may end the process, and any call of it may hang. */
int xs_xsched_open(struct xs_device *device, const struct xs_xsched_options *options,
                   struct xs_device **out, struct xs_error *err);

/* Set another policy of XSched, which forgets all hints; `device` is that of xs_xsched_open(). */
int xs_xsched_set_policy(struct xs_device *device, const struct xs_xsched_options *options,
                         struct xs_error *err);
/* Let the policy forget all hints and all queues, between runs. `device` and `options` are
 * those of xs_xsched_open(); the paths are not read. */
int xs_xsched_forget(struct xs_device *device, const struct xs_xsched_options *options,
                     struct xs_error *err);

/* The name of the n-th device kind, for xs_device_open(); NULL after the last one. */
const char *xs_device_kind(uint32_t n);
/* The name of the n-th policy, for xs_run_open(); NULL after the last one. */
const char *xs_policy_name(uint32_t n);

/* ---- captured graphs ---------------------------------------------------- */

/* A graph of the driver (CUgraph, hipGraph_t) that was read, so that its segments can be
 * commands. A segment is a part of the graph that runs as one; all of them, in order, are one
 * request. A segment must not run alone or out of order: a kernel of a library may wait for a
 * counter that an earlier node clears, and would wait for ever. One thread at a time calls
 * these functions for a graph. */

struct xs_graph_info {
    uint32_t nodes;    /* nodes of the graph, in a topological order */
    uint32_t kernels;  /* kernels among them and in their child graphs */
    uint32_t cuts;     /* positions where the graph may be cut */
    uint32_t segments; /* 0 before xs_graph_cut() */
};

/* Read a graph. It stays the caller's, who keeps it, and `device` open, until
 * xs_graph_close(). XS_ENOTSUP: the device has no graphs, or an older driver. XS_EINVAL: the
 * graph has no nodes, or nodes that cannot be cut or run again; the message names them. */
int xs_graph_open(struct xs_device *device, void *handle, struct xs_graph **out,
                  struct xs_error *err);
void xs_graph_describe(const struct xs_graph *graph, struct xs_graph_info *out);
/* The name of kernel `index` (< kernels) in the order of the nodes; "": unknown. */
const char *xs_graph_kernel(const struct xs_graph *graph, uint32_t index);
/* How many kernels the first `position` (<= nodes) nodes have. */
uint32_t xs_graph_kernels_before(const struct xs_graph *graph, uint32_t position);
/* Position `index` (< cuts) of those where the graph may be cut without a loss of
 * parallelism: the number of nodes before the cut. They ascend; the last is `nodes`. */
uint32_t xs_graph_cut_at(const struct xs_graph *graph, uint32_t index);
/* Cut the graph into `count` segments, in [1, XS_COMMANDS_MAX]. ends[i] is the position after
 * segment i; they ascend, and the last is `nodes`. The segments replace earlier ones, which no
 * run may use any more. One queue at a time may use them. XS_EINVAL: `ends` are wrong, or a run
 * uses the earlier ones, and they stay. If the driver refuses a call or memory is short, the graph
 * has no segments. */
int xs_graph_cut(struct xs_graph *graph, const uint32_t *ends, uint32_t count,
                 struct xs_error *err);
/* Launch all segments in order, on a stream of the graph's own. */
int xs_graph_launch(struct xs_graph *graph, struct xs_error *err);
/* Wait for the end of xs_graph_launch(): XS_OK, with the time of each segment in
 * segment_ns, or XS_EAGAIN after timeout_ns. XS_EDEVICE if the end is not there limit_ns after
 * the launch: the device hangs, and is left as it is. */
int xs_graph_wait(struct xs_graph *graph, int64_t timeout_ns, int64_t limit_ns, int64_t *segment_ns,
                  struct xs_error *err);
/* Accepts NULL. What a run still uses lives until xs_run_close(). */
void xs_graph_close(struct xs_graph *graph);

/* Captures graphs of what is launched on a stream of its own: kernels of libraries have a
 * workspace for each stream, which graphs of two queues must not share. It owns stream and graphs.
 */
struct xs_capture;
/* With unit_words > 0 the stream is bound to multiprocessors, as in struct xs_queue_spec. */
int xs_capture_open(struct xs_device *device, const uint32_t *units, uint32_t unit_words,
                    struct xs_capture **out, struct xs_error *err);
void *xs_capture_stream(const struct xs_capture *capture); /* CUstream, hipStream_t */
/* From xs_capture_begin() to xs_capture_end(), on one thread, launches on the stream are
 * recorded instead of executed. *graph lives until xs_capture_close(). */
int xs_capture_begin(struct xs_capture *capture, struct xs_error *err);
int xs_capture_end(struct xs_capture *capture, void **graph, struct xs_error *err);
void xs_capture_close(struct xs_capture *capture); /* accepts NULL; waits for the stream */

/* ---- runs -------------------------------------------------------------- */

enum xs_load_kind {
    XS_LOAD_OPEN = 1,   /* requests arrive at given times, in any case */
    XS_LOAD_CLOSED = 2, /* each of `concurrency` clients: request, wait, think, repeat */
    XS_LOAD_MANUAL = 3  /* requests come from xs_queue_submit() only */
};

struct xs_load_spec {
    int32_t kind;               /* enum xs_load_kind */
    uint32_t concurrency;       /* XS_LOAD_CLOSED: clients, >= 1 */
    int64_t think_ns;           /* XS_LOAD_CLOSED: >= 0 */
    const int64_t *arrivals_ns; /* XS_LOAD_OPEN: ascending, >= 0 */
    uint64_t arrival_count;
    struct xs_sample *samples; /* written in order of arrival; NULL for XS_LOAD_MANUAL */
    uint64_t sample_cap;       /* XS_LOAD_OPEN: >= arrival_count */
    /* Moments within a request that have times of their own: milestone i is reached when the
     * first milestones[i] commands of the request are complete. Both arrays belong to the
     * caller, who keeps them until xs_run_close(). */
    const uint32_t *milestones; /* ascending, in [1, command_count] */
    uint32_t milestone_count;   /* 0 for XS_LOAD_MANUAL */
    int64_t *milestone_ns;      /* of request r at r * milestone_count + i; -1: not reached */
};

/* Hints to the scheduler; 0: no hint. */
struct xs_hints {
    uint32_t threshold, batch_size; /* of the XQueue that XSched creates */
    int32_t utilization;            /* share of the device in percent, [0, 100] */
    int64_t deadline_ns;            /* deadline of a burst of work, from its start */
    int64_t laxity_ns;              /* when a burst becomes critical, from its start */
    int32_t without_priority;       /* 1: XSched gets no priority of the queue, and takes its own */
};

enum xs_change_kind {
    XS_CHANGE_PRIORITY = 1, /* set the priority to `value` */
    XS_CHANGE_HELD = 2      /* value 1: suspend the queue, 0: resume it */
};

struct xs_change {
    int64_t at_ns;
    int32_t kind; /* enum xs_change_kind */
    int32_t value;
};

/* What to keep of a queue with a load. The arrays belong to the caller, who keeps them until
 * xs_run_close(). They are complete when the run is over. Each is a ring: entry n lies at n
 * modulo its length, so the last entries are there. */
struct xs_record_spec {
    struct xs_command_record *commands; /* in order of launch: xs_queue_counts.launched entries */
    uint64_t command_cap;               /* > XS_THRESHOLD_MAX; 0: keep no commands */
    struct xs_suspension *suspensions;  /* xs_queue_counts.suspensions entries */
    uint64_t suspension_cap;            /* 0: keep no suspensions */
};

struct xs_queue_spec {
    const char *name;                  /* used in messages; copied */
    int32_t priority;                  /* seen by the policy; higher runs first */
    int32_t stream_priority;           /* seen by the device; higher runs first */
    uint32_t threshold;                /* [batch_size, XS_THRESHOLD_MAX]; 0: automatic */
    uint32_t batch_size;               /* >= 1; 0 with an automatic threshold */
    uint32_t seed;                     /* determines the inputs of the commands */
    uint32_t command_count;            /* [1, XS_COMMANDS_MAX]; 0 for XS_LOAD_MANUAL */
    const struct xs_command *commands; /* commands of each request; copied with their sources */
    const uint32_t *units;             /* bit i % 32 of word i / 32: may use multiprocessor i */
    uint32_t unit_words;               /* 0: the queue may use all multiprocessors */
    struct xs_hints hints;
    const struct xs_change *changes; /* ascending; kept by the caller until xs_run_close() */
    uint32_t change_count;
    struct xs_load_spec load;
    struct xs_record_spec record;
    struct xs_device *device; /* in real time only; NULL: the device of the run */
    int64_t command_ns;       /* time that a command takes alone at most; 0: not known. At the
                               * end the run waits longer for slow commands. */
    /* What each launch takes in addition, in the thread that launches; >= 0. In virtual time,
     * that much of the way from a launch to the device. */
    int64_t launch_ns;
};

/* How a thread waits for a device that can only be polled. All three first spin for 200 us. */
enum xs_waiting {
    XS_WAIT_YIELD = 0, /* then call sched_yield() between polls */
    XS_WAIT_SPIN = 1,  /* then spin on */
    XS_WAIT_SLEEP = 2  /* then sleep for 50 us between polls */
};

/* The heartbeat is a thread that wakes up every 2 ms and does nothing else. This is how late
 * it woke up at worst, for each slot of time from the start of the measured window. */
struct xs_heartbeat {
    int64_t slot_ns;     /* length of a slot, > 0 */
    uint64_t slot_count; /* 0: no heartbeat; must be 0 in virtual time */
    int64_t *late_ns;    /* zeros before the run; after it, 0 is a slot without a beat */
};

struct xs_timing {
    int64_t warmup_ns;   /* the runner flags samples that arrive before; >= 0 */
    int64_t duration_ns; /* of the measured window; 0: until the run is stopped */
    /* Longest wait after the window for unfinished requests, >= 0. The runner still sees
     * later commands complete, but their requests are censored. If commands need more than
     * another 10 s, the run fails and leaves its device as it is. */
    int64_t drain_ns;
    int32_t waiting; /* enum xs_waiting; without effect in virtual time */
    /* Time 0 of the run on CLOCK_MONOTONIC, which all processes share: not in the past and at
     * most 60 s ahead. 0: as soon as possible; must be 0 in virtual time. */
    int64_t start_clock_ns;
    /* Its array belongs to the caller, who keeps it until xs_run_close(). It is complete when
     * the run is over. */
    struct xs_heartbeat heartbeat;
};

enum xs_queue_state {
    XS_QUEUE_IDLE = 1,      /* all submitted commands are complete */
    XS_QUEUE_READY = 2,     /* it has unfinished commands and may launch */
    XS_QUEUE_SUSPENDED = 3, /* the user or the policy suspends it */
    XS_QUEUE_WAITING = 4    /* its next request waits for a request of another queue */
};

struct xs_queue_counts {
    uint64_t submitted, launched, completed, failed; /* commands */
    uint64_t requests_submitted, requests_completed;
    /* The part of those submitted that a load in the background made. */
    uint64_t background_commands, background_requests;
    uint64_t suspended;      /* how often the queue was suspended while it had work */
    uint64_t suspensions;    /* how often it changed between suspended and not suspended */
    uint64_t most_in_flight; /* the largest number of commands in flight at once */
    /* The longest time within the measured window in which the queue had an unfinished
     * request, and none of its commands was launched or completed. 0 for XS_LOAD_MANUAL. */
    int64_t longest_stall_ns;
    int32_t priority; /* the current priority */
    int32_t state;    /* enum xs_queue_state */
};

/* A run: one device, one policy, some queues. Add queues, start the run, wait until XS_OK,
 * read the results, close. XS_LOAD_MANUAL queues can be added and destroyed while the run is
 * active. `device`, and other devices of its queues, must stay open until xs_run_close(). A
 * device of virtual time takes one run at a time. The policy schedules the queues of each
 * device separately. */
struct xs_run;
int xs_run_open(struct xs_device *device, const char *policy, struct xs_run **out,
                struct xs_error *err);
int xs_run_start(struct xs_run *run, const struct xs_timing *timing, struct xs_error *err);
/* XS_OK: the run is over. XS_EAGAIN: it is not, after at most timeout_ns of wall time. Other
 * values: the first error of the run. */
int xs_run_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err);
int64_t xs_run_now(struct xs_run *run); /* since the start; 0 before it and in a fork */
void xs_run_stop(struct xs_run *run);   /* any thread may call it, any number of times */
void xs_run_close(struct xs_run *run);  /* stop, join, free; accepts NULL */

/* A queue belongs to its run, which destroys it at the latest when it is closed. */
struct xs_queue;
int xs_queue_add(struct xs_run *run, const struct xs_queue_spec *spec, struct xs_queue **out,
                 struct xs_error *err);
/* Drop the submitted commands and wait for the launched ones. Accepts NULL. */
void xs_queue_destroy(struct xs_queue *queue);
/* Let request n of a queue start when request n of `source` is complete, and not before its
 * own arrival. Both are XS_LOAD_OPEN queues of a run that has not started, and `source` has at
 * least as many arrivals. XS_EINVAL if `source` waits for the queue, through others, too. */
int xs_queue_after(struct xs_queue *queue, struct xs_queue *source, struct xs_error *err);
int xs_queue_counts(struct xs_queue *queue, struct xs_queue_counts *out, struct xs_error *err);
/* The kernel's id (gettid) of the thread that drives the queue; 0: there is no thread, as in
 * virtual time, or it has not started. */
int64_t xs_queue_thread(struct xs_queue *queue);
/* The call of XSched on this queue that has not returned yet; NULL: none, or another scheduler.
 * `launched` gets the number of commands that XSched has launched. It does not call XSched. */
const char *xs_queue_scheduler_call(struct xs_queue *queue, uint64_t *launched);
int xs_queue_set_priority(struct xs_queue *queue, int32_t priority, struct xs_error *err);
/* Change its deadline, which counts from the arrival of a request, or under XSched from the
 * begin of a burst. 0: none from now on. */
int xs_queue_set_deadline(struct xs_queue *queue, int64_t deadline_ns, struct xs_error *err);
/* Change its laxity, which counts from the begin of a burst, and only XSched reads. Then its
 * priority is the critical one. It must be positive. */
int xs_queue_set_laxity(struct xs_queue *queue, int64_t laxity_ns, struct xs_error *err);
/* Change its share of the device in percent, [1, 100]. */
int xs_queue_set_utilization(struct xs_queue *queue, int32_t percent, struct xs_error *err);
/* How many commands may be in flight, and how many lie between two marks. After a lower
 * threshold, more commands may still be in flight until they complete. XS_EINVAL for an
 * automatic threshold. XSched may wait for all commands that were submitted. */
int xs_queue_set_depth(struct xs_queue *queue, uint32_t threshold, uint32_t batch_size,
                       struct xs_error *err);
int xs_queue_suspend(struct xs_queue *queue, struct xs_error *err); /* until xs_queue_resume() */
int xs_queue_resume(struct xs_queue *queue, struct xs_error *err);

struct xs_scheduler_counts {
    uint64_t submitted; /* commands that the scheduler counts */
    uint64_t launched;  /* how often the scheduler launched a command */
    uint64_t in_flight; /* the largest number of commands in flight, read before each launch;
                           XS_LOAD_MANUAL only */
};

/* Commands of a queue that went through a scheduler between the runner and the device, such
 * as XSched. XS_ENOTSUP if there is none. */
int xs_queue_scheduler_counts(struct xs_queue *queue, struct xs_scheduler_counts *out,
                              struct xs_error *err);

/* XS_LOAD_MANUAL. Start a load in the background, in place of an earlier one: the queue submits
 * such requests itself, between those that the user submits. One arrives every `every_ns`, or
 * with 0 as soon as there is room: at most `most` requests of the queue are unfinished, and
 * arrivals without room wait. XS_EINVAL before the run starts, XS_ECANCELED after its
 * end. */
int xs_queue_start_load(struct xs_queue *queue, const struct xs_command *commands, uint32_t count,
                        uint32_t most, int64_t every_ns, struct xs_error *err);
/* Stop the load. What it has submitted stays. *requests: all requests of the queue so far. */
int xs_queue_stop_load(struct xs_queue *queue, uint64_t *requests, struct xs_error *err);

/* XS_LOAD_MANUAL. Submit one request; *ticket counts from 0. */
int xs_queue_submit(struct xs_queue *queue, const struct xs_command *commands, uint32_t count,
                    uint64_t *ticket, struct xs_error *err);
/* The same, for a request that starts when request `source_ticket` of `source`, an
 * XS_LOAD_MANUAL queue of the same run, is complete, or when that queue is destroyed. NULL:
 * at once. Later requests of the queue start after it. */
int xs_queue_submit_after(struct xs_queue *queue, const struct xs_command *commands, uint32_t count,
                          struct xs_queue *source, uint64_t source_ticket, uint64_t *ticket,
                          struct xs_error *err);
/* Wait until the request of the ticket is complete (XS_OK; fills *out unless it is NULL) or
 * timeout_ns are over (XS_EAGAIN). The timeout is virtual time where the device has it; then
 * the call also returns XS_EAGAIN after some 50 ms of wall time. */
int xs_queue_wait(struct xs_queue *queue, uint64_t ticket, int64_t timeout_ns,
                  struct xs_sample *out, struct xs_error *err);
/* Take the policy away, the runner's and XSched's. From now on, every queue runs that the
 * user does not suspend. */
int xs_run_switch_off(struct xs_run *run, struct xs_error *err);
/* Set another policy of the runner, which decides at once, also after xs_run_switch_off().
 * XS_EINVAL: there is none of the name. */
int xs_run_set_policy(struct xs_run *run, const char *policy, struct xs_error *err);
/* Let virtual time pass. XS_EAGAIN: part of it, after some 50 ms of wall time. XS_ENOTSUP in
 * real time. */
int xs_run_advance(struct xs_run *run, int64_t duration_ns, struct xs_error *err);

/* Results of command `index` of the requests of a queue, when the run is over. The device
 * executed the command `launches` times. `checksum` is a sum over the launches k: of output
 * element (k * 2654435761 mod 2^32) mod items, or of k mod 1024 for XS_SPIN. Equal commands
 * share inputs, output and both numbers. XS_ENOTSUP for XS_KERNEL and XS_SEGMENT. */
int xs_queue_checksum(struct xs_queue *queue, uint32_t index, uint64_t *launches, int64_t *checksum,
                      struct xs_error *err);
/* The output of the last launch: `count` float32, row-major. For XS_KERNEL it is the first
 * buffer. */
int xs_queue_output(struct xs_queue *queue, uint32_t index, float *out, uint64_t count,
                    struct xs_error *err);
/* cdef end */

#endif
