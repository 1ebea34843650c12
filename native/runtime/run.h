/* run.h - what the two engines share: a run and its queues, and the steps of
 * a queue. The engines (engine_threads.c in real time, engine_sim.c in virtual
 * time) decide when a step is taken and by which thread; what a step does is
 * in queue.c, and who is suspended in schedule.c.
 *
 * The one lock of a run is never held across a device call that can take
 * time. Fields say who may touch them:
 *   (setup)  written before the run starts, constant then
 *   (owner)  only the thread that drives the queue: its own in real time,
 *            whoever holds the lock in virtual time
 *   (lock)   under run->lock */
#ifndef XS_RUN_H
#define XS_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/load.h"
#include "core/pace.h"
#include "core/xqueue.h"
#include "devices/device.h"
#include "policies/policy.h"
#include "runtime/heartbeat.h"

struct xs_engine_ops {
    /* The run's clock starts; queues that were added begin. */
    int (*start)(struct xs_run *run, struct xs_error *err);
    int (*wait)(struct xs_run *run, int64_t timeout_ns, struct xs_error *err);
    xs_ns (*now)(const struct xs_run *run);
    /* A queue joins or leaves; it begins when it is enlisted in a started run,
     * and leaving returns when nobody drives it any more. */
    int (*join)(struct xs_queue *queue, struct xs_error *err);
    void (*leave)(struct xs_queue *queue);
    /* Look at the queue again: it was resumed or pushed to, or the run stops. Lock held. */
    void (*wake)(struct xs_queue *queue);
    /* XS_LOAD_MANUAL: until the ticket is complete or timeout_ns went by. */
    int (*await)(struct xs_queue *queue, uint64_t ticket, int64_t timeout_ns, struct xs_error *err);
    /* Virtual time only, else NULL; lock held. Do what is due now; let time pass. */
    void (*settle)(struct xs_run *run);
    int (*advance)(struct xs_run *run, int64_t duration_ns, struct xs_error *err);
};

extern const struct xs_engine_ops xs_engine_threads;
extern const struct xs_engine_ops xs_engine_sim;

struct xs_run {
    struct xs_device *device;           /* (setup) */
    const struct xs_policy *policy;     /* (setup) */
    const struct xs_engine_ops *engine; /* (setup) */
    xs_ns window_start, window_end;     /* (setup) of the measured window */
    xs_ns hard_end;                     /* (setup) behind the drain */
    int32_t waiting;                    /* (setup) enum xs_waiting */
    xs_ns start_clock;                  /* (setup) time 0 by the clock; 0: as soon as possible */
    struct xs_heartbeat heartbeat;      /* (setup) */
    pthread_mutex_t lock;
    pthread_cond_t changed;                 /* a queue finished, a ticket completed, an error */
    struct xs_queue *queues[XS_QUEUES_MAX]; /* (lock) in order of creation */
    uint32_t queue_count;                   /* (lock) */
    uint32_t loads;                         /* (lock) loads that are not finished */
    bool started;                           /* (lock) */
    bool off;                               /* (lock) there is no policy any more */
    bool canceled;                          /* (lock) stopped before its end */
    struct xs_error error;                  /* (lock) the first one; status XS_OK: none */
    _Atomic bool stopping;                  /* everybody leaves */
    _Atomic bool stop_wanted;               /* xs_run_stop() waits for the lock */
    _Atomic uint32_t open_loads;            /* open loops that are not finished */
    _Atomic xs_ns policy_due;               /* the policy, then; written under the lock */
    xs_ns epoch;                            /* engine_threads: clock at time 0; else 0 */
    struct xs_heart heart;                  /* engine_threads (lock) */
    xs_ns virtual_now;                      /* engine_sim (lock) */
};

/* One kind of command on the queue's stream. */
struct xs_prepared_command {
    struct xs_prepared_command *next;
    struct xs_command command;
    struct xs_kernel *kernel;
    uint64_t launches; /* (owner) */
    xs_ns cost;        /* (owner) what one takes, for the queue's pace */
};

/* The commands of a request, ready to launch. */
struct xs_prepared_request {
    struct xs_prepared_request *next;
    uint32_t count;
    struct xs_prepared_command *commands[];
};

struct xs_queue {
    struct xs_run *run;                  /* (setup) */
    struct xs_device *device;            /* (setup) the run's, or another one */
    char name[64];                       /* (setup) */
    uint32_t seed;                       /* (setup) */
    struct xs_stream *stream;            /* (setup) */
    struct xs_xqueue xq;                 /* (owner) */
    struct xs_pace pace;                 /* (owner) */
    struct xs_load load;                 /* (owner) */
    bool finished;                       /* (owner) its load will do nothing more */
    struct xs_prepared_request *request; /* (setup) of every request; NULL for XS_LOAD_MANUAL */

    /* XS_LOAD_MANUAL: rings by request % XS_PENDING_MAX. A slot belongs to the
     * submitter until `pushed` passes it, to the owner until completed. */
    pthread_mutex_t submit_lock; /* one submitter at a time; taken before run->lock */
    struct xs_prepared_request **pending;
    struct xs_sample *samples;
    uint32_t *sizes;
    struct xs_prepared_command *commands; /* submitters, or (setup) */
    struct xs_prepared_request *requests; /* submitters, or (setup) */
    _Atomic uint64_t pushed;              /* requests */
    bool enlisted;                        /* (lock) one of run->queues */

    const struct xs_change *changes; /* (setup) */
    uint32_t change_count;           /* (setup) */
    uint32_t changed;                /* (owner) how many took effect */

    uint32_t share;      /* (setup) a hint to the policy, percent */
    xs_ns deadline_ns;   /* (setup) likewise; XS_NEVER: none */
    bool running;        /* (lock) as the policy left it: ready and not suspended */
    xs_ns used_reported; /* (lock) of `used`, what the policy was told */
    int64_t own[2];      /* (lock) the policy's */
    int32_t priority;    /* (lock) */
    _Atomic bool busy;   /* has unfinished commands, as the policy sees it; set under the lock */
    bool held;           /* (lock) suspended by the user */
    uint64_t suspended_count; /* (lock) */
    /* Threshold << 32 | batch size that the owner is to take; 0: as they are. */
    _Atomic uint64_t depth;
    _Atomic bool suspended; /* by user or policy; set under the lock, read before a launch */

    /* Published by the owner for everybody. */
    _Atomic uint64_t submitted, launched, completed, failed;
    _Atomic uint64_t requests_submitted, requests_completed;
    _Atomic uint64_t most_in_flight; /* commands */
    _Atomic xs_ns oldest;            /* arrival of its oldest unfinished request */
    _Atomic xs_ns used;              /* of the device's time */

    /* engine_threads */
    pthread_t thread;
    _Atomic int64_t thread_id; /* the kernel's; 0: it has not begun */
    xs_ns waiting_since;       /* (owner) by the clock */
    _Atomic bool launching;    /* between the look at `suspended` and the launch */
    pthread_cond_t wake;
    _Atomic bool leaving;
};

/* ---- queue.c: the steps of a queue, all by its owner ------------------- */

xs_ns xs__queue_due(struct xs_queue *q); /* next arrival or change, XS_NEVER */
int xs__queue_submit_due(struct xs_queue *q, xs_ns now, struct xs_error *err);
/* Looks at `suspended` first. */
enum xs_step xs__queue_next_step(struct xs_queue *q, xs_ns now);
/* Behind a step: the next arrival, or the moment from which an automatic
 * threshold has room, if that is earlier. */
xs_ns xs__queue_next_event(struct xs_queue *q);
int xs__queue_launch(struct xs_queue *q, xs_ns now, struct xs_error *err);
/* Count the marks that were passed; *moved if any. */
int xs__queue_poll(struct xs_queue *q, bool *moved, struct xs_error *err);
bool xs__queue_is_finished(struct xs_queue *q, xs_ns now);
/* The queue submits and launches nothing any more: flag what is unfinished. */
void xs__queue_end(struct xs_queue *q);
/* Behind that: count what is still in flight as it completes; *left of it. */
int xs__queue_drain(struct xs_queue *q, uint64_t *left, struct xs_error *err);
void xs__queue_free(struct xs_queue *q); /* a half-made one is fine */

/* ---- queue_change.c ------------------------------------------------------- */

int xs__check_priority(const char *name, int32_t priority, struct xs_error *err);
int xs__check_depth(const char *name, uint32_t threshold, uint32_t batch_size,
                    struct xs_error *err);
int xs__check_changes(const struct xs_queue_spec *spec, struct xs_error *err);
/* The next change if it is due, NULL; it counts as made. */
const struct xs_change *xs__queue_change_due(struct xs_queue *q, xs_ns now);
/* What the policy sees of a change; lock held. What a scheduler below is told; no
 * lock held, and nothing happens where there is none. */
void xs__queue_change(struct xs_queue *q, const struct xs_change *change);
int xs__queue_change_scheduler(struct xs_queue *q, const struct xs_change *change,
                               struct xs_error *err);

/* ---- prepare.c ---------------------------------------------------------- */

/* NULL: *err (not NULL) says why. It stays the queue's. */
struct xs_prepared_request *xs__request_prepare(struct xs_queue *q,
                                                const struct xs_command *commands, uint32_t count,
                                                struct xs_error *err);
void xs__prepared_free(struct xs_queue *q); /* behind the stream */

/* ---- schedule.c, lock held --------------------------------------------- */

/* The queue is, or is no longer, busy; asks the policy if that is news. */
void xs__queue_set_busy(struct xs_queue *q, bool busy);
/* Ask the policy about the queues of each device, suspend and resume. Sets policy_due. */
void xs__schedule(struct xs_run *run);

/* ---- run.c ------------------------------------------------------------- */

/* Whether a queue of the run may be on the device that its spec names. */
int xs__run_check_device(const struct xs_run *run, const struct xs_queue_spec *spec,
                         struct xs_error *err);

/* Lock held, all three. Keep the first error and stop the run; make everybody
 * leave; the first error, XS_ECANCELED, or XS_OK. */
void xs__run_fail(struct xs_run *run, int status, const struct xs_error *error);
void xs__run_halt(struct xs_run *run);
int xs__run_status(const struct xs_run *run, struct xs_error *err);

#endif
