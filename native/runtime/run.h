/* run.h - what the two engines share: a run, its queues, and the steps of a queue. The
 * engines (engine_threads.c in real time, engine_sim.c in virtual time) decide when a step
 * happens and in which thread. queue.c has the steps, and schedule.c decides which queues are
 * suspended.
 *
 * A run has one lock. No thread holds it during a device call that can take time. Each field
 * names who may use it:
 *
 *     (setup)  written before the run starts, constant then
 *     (owner)  only the thread that drives the queue: its own thread in real time,
 *              the thread that holds the lock in virtual time
 *     (lock)   only with run->lock held */
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
    /* Start the clock of the run, and the queues that were added. */
    int (*start)(struct xs_run *run, struct xs_error *err);
    int (*wait)(struct xs_run *run, int64_t timeout_ns, struct xs_error *err);
    xs_ns (*now)(const struct xs_run *run);
    /* Start or stop driving a queue. A queue that joins begins once it is enlisted in a
     * started run. After leave(), no thread drives the queue. */
    int (*join)(struct xs_queue *queue, struct xs_error *err);
    void (*leave)(struct xs_queue *queue);
    /* Let the engine check the queue again: the user resumed it or submitted to it, or the
     * run stops. Lock held. */
    void (*wake)(struct xs_queue *queue);
    /* XS_LOAD_MANUAL: wait until the ticket is complete or timeout_ns are over. Lock held. */
    int (*await)(struct xs_queue *queue, uint64_t ticket, int64_t timeout_ns, struct xs_error *err);
    /* Virtual time only, else NULL. Do what is due now; let time pass. Lock held. */
    void (*settle)(struct xs_run *run);
    int (*advance)(struct xs_run *run, int64_t duration_ns, struct xs_error *err);
};

extern const struct xs_engine_ops xs_engine_threads;
extern const struct xs_engine_ops xs_engine_sim;

struct xs_run {
    struct xs_device *device;               /* (setup) */
    const struct xs_policy *_Atomic policy; /* written with the lock held */
    const struct xs_engine_ops *engine;     /* (setup) */
    xs_ns window_start, window_end;         /* (setup) start and end of the measured window */
    xs_ns hard_end;                         /* (setup) end of the drain */
    int32_t waiting;                        /* (setup) enum xs_waiting */
    xs_ns start_clock;                      /* (setup) clock at time 0; 0: as soon as possible */
    struct xs_heartbeat heartbeat;          /* (setup) */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a queue finished, a ticket completed, or an error occurred */
    struct xs_queue *queues[XS_QUEUES_MAX]; /* (lock) in order of creation */
    uint32_t queue_count;                   /* (lock) */
    uint32_t loads;                         /* (lock) number of unfinished loads */
    bool started;                           /* (lock) */
    bool off;                               /* (lock) the user switched the policy off */
    bool canceled;                          /* (lock) xs_run_stop() came before the end */
    struct xs_error error;                  /* (lock) the first error; status XS_OK: none */
    _Atomic bool stopping;                  /* all threads of the run end */
    _Atomic bool stop_wanted;               /* xs_run_stop() waits for the lock */
    _Atomic uint32_t open_loads;            /* number of unfinished open loops */
    _Atomic xs_ns policy_due; /* time of the policy's next call; written with the lock held */
    xs_ns epoch;              /* engine_threads: clock at time 0; else 0 */
    struct xs_heart heart;    /* engine_threads (lock) */
    xs_ns virtual_now;        /* engine_sim (lock) */
};

/* A command that is ready to launch on the stream of the queue. */
struct xs_prepared_command {
    struct xs_prepared_command *next;
    struct xs_command command;
    struct xs_kernel *kernel;
    uint64_t launches; /* (owner) */
    xs_ns cost;        /* (owner) estimated time of one launch, for the pace of the queue */
};

/* The commands of a request, ready to launch. */
struct xs_prepared_request {
    struct xs_prepared_request *next;
    uint32_t count;
    struct xs_prepared_command *commands[];
};

/* A request waits for a request of `queue`. NULL: for none, or that queue is gone. */
struct xs_dependency {
    struct xs_queue *queue;
    uint64_t ticket;
};

struct xs_queue {
    struct xs_run *run;                  /* (setup) */
    struct xs_device *device;            /* (setup) the device of the run, or another one */
    char name[64];                       /* (setup) */
    uint32_t seed;                       /* (setup) */
    xs_ns command_ns;                    /* (setup) time of a command alone; 0: not known */
    xs_ns launch_ns;                     /* (setup) what a launch takes in addition */
    struct xs_stream *stream;            /* (setup) */
    struct xs_xqueue xq;                 /* (owner) */
    struct xs_pace pace;                 /* (owner) */
    struct xs_load load;                 /* (owner) */
    struct xs_record_spec record;        /* (setup); commands: (owner), suspensions: (lock) */
    bool finished;                       /* (owner) its load does nothing more */
    struct xs_prepared_request *request; /* (setup) the same for all; NULL for XS_LOAD_MANUAL */

    /* XS_LOAD_MANUAL: rings, request r at r % XS_PENDING_MAX. A slot belongs to the submitter
     * until `pushed` passes it, then to the owner until the request is complete. */
    pthread_mutex_t submit_lock; /* one submitter at a time; locked before run->lock */
    struct xs_prepared_request **pending;
    struct xs_sample *samples;
    uint32_t *sizes;
    struct xs_prepared_command *commands; /* (setup), or a submitter */
    struct xs_prepared_request *requests; /* (setup), or a submitter */
    _Atomic uint64_t pushed;              /* requests that the user submitted */
    struct xs_dependency *dependencies;   /* (lock) ring; NULL: no request ever waited */
    bool enlisted;                        /* (lock) it is in run->queues */

    struct xs_queue *after;    /* (lock) request n waits for its request n; NULL: for none */
    _Atomic bool awaited;      /* requests of other queues may wait for its requests */
    _Atomic uint64_t released; /* requests before it may start; written with the lock held;
                                  UINT64_MAX: none waits */
    /* XS_LOAD_MANUAL: the load in the background, see xs_queue_start_load(). Written with the
     * lock held. */
    struct xs_prepared_request *background; /* (lock) */
    _Atomic uint32_t background_most;       /* most unfinished requests; 0: no load */
    xs_ns background_every;                 /* (lock) 0: as soon as one completes */
    _Atomic xs_ns background_due;           /* when the next request arrives */
    _Atomic uint64_t background_commands, background_requests; /* that it has submitted */

    const struct xs_change *changes; /* (setup) */
    uint32_t change_count;           /* (setup) */
    uint32_t changed;                /* (owner) number of changes that took effect */

    uint32_t share;           /* (lock) hint to the policy, percent */
    xs_ns deadline_ns;        /* (lock) hint to the policy; XS_NEVER: none */
    bool running;             /* (lock) ready and not suspended after the policy's last call */
    xs_ns used_reported;      /* (lock) the part of `used` that the policy has seen */
    int64_t own[2];           /* (lock) memory of the policy */
    int32_t priority;         /* (lock) */
    _Atomic bool busy;        /* has unfinished commands; written with the lock held */
    bool held;                /* (lock) the user suspends it */
    uint64_t suspended_count; /* (lock) while it had work */
    uint64_t suspensions;     /* (lock) changes of `suspended` */
    /* New threshold << 32 | new batch size, which the owner takes over; 0: no change. */
    _Atomic uint64_t depth;
    _Atomic bool suspended; /* (lock) to write; read before each launch */

    /* The owner publishes these for all other threads. */
    _Atomic uint64_t submitted, launched, completed, failed;
    _Atomic uint64_t requests_submitted, requests_completed;
    _Atomic uint64_t most_in_flight; /* most commands in flight at once */
    _Atomic xs_ns longest_stall;     /* see struct xs_queue_counts */
    _Atomic xs_ns oldest;            /* arrival of its oldest unfinished request */
    _Atomic xs_ns used;              /* device time */

    /* engine_threads */
    pthread_t thread;
    _Atomic int64_t thread_id; /* id in the kernel; 0: it has not started */
    xs_ns waiting_since;       /* (owner) clock at the start of the wait */
    _Atomic bool launching;    /* between the read of `suspended` and the launch */
    pthread_cond_t wake;
    _Atomic bool leaving;
};

/* ---- queue.c: the steps of a queue, called by its owner ------------------ */

xs_ns xs__queue_due(struct xs_queue *q); /* next arrival or change, or XS_NEVER */
int xs__queue_submit_due(struct xs_queue *q, xs_ns now, struct xs_error *err);
/* Return the next step. It reads `suspended` first. */
enum xs_step xs__queue_next_step(struct xs_queue *q, xs_ns now);
/* After a step, return the time of the next arrival, or the earlier time from which an
 * automatic threshold has room. */
xs_ns xs__queue_next_event(struct xs_queue *q);
int xs__queue_launch(struct xs_queue *q, xs_ns now, struct xs_error *err);
/* Count the marks that were passed. *moved: there was one. */
int xs__queue_poll(struct xs_queue *q, bool *moved, struct xs_error *err);
bool xs__queue_is_finished(struct xs_queue *q, xs_ns now);
/* The queue submits and launches nothing more: flag its unfinished requests. */
void xs__queue_end(struct xs_queue *q);
/* After that, count the commands in flight as they complete. *left: number of those left. */
int xs__queue_drain(struct xs_queue *q, uint64_t *left, struct xs_error *err);
void xs__queue_free(struct xs_queue *q); /* accepts a queue that is only partly made */

/* ---- dependency.c --------------------------------------------------------- */

/* Return how many of the user's requests may start. */
uint64_t xs__queue_startable(struct xs_queue *q);
/* Release what waited for requests of a queue that completed some of them, or that is gone.
 * Lock held. */
void xs__release_dependents(const struct xs_queue *source);
void xs__forget_source(const struct xs_queue *source);
/* Let the request of q that is pushed next wait for a request of `source`, or, if that is
 * NULL, for none. Lock held. */
int xs__queue_depend(struct xs_queue *q, struct xs_queue *source, uint64_t ticket,
                     struct xs_error *err);

/* ---- background.c ---------------------------------------------------------- */

/* When the next request of the load in the background arrives, or XS_NEVER. */
xs_ns xs__background_due(const struct xs_queue *q);
/* Submit the requests of that load that are due. Called by the owner. */
void xs__background_submit(struct xs_queue *q, xs_ns now);
/* Put a request into the ring, which has room. Lock held. */
void xs__queue_push(struct xs_queue *q, struct xs_prepared_request *request);

/* ---- record.c: what the caller wants to know of each command --------------- */

/* The owner launched command `index` of a request, the last of xq.launched. */
void xs__record_launch(struct xs_queue *q, uint64_t request, uint32_t index, xs_ns now);
/* All commands before `completed` are complete, those from `first` on since now. now is -1
 * after the end of the run. */
void xs__record_complete(struct xs_queue *q, uint64_t first, uint64_t completed, xs_ns now);
/* The queue is about to change to `suspended`. Lock held. */
void xs__record_suspension(struct xs_queue *q, bool suspended);

/* ---- queue_change.c ------------------------------------------------------- */

int xs__check_priority(const char *name, int32_t priority, struct xs_error *err);
int xs__check_depth(const char *name, uint32_t threshold, uint32_t batch_size,
                    struct xs_error *err);
int xs__check_changes(const struct xs_queue_spec *spec, struct xs_error *err);
/* Return the next change if it is due, else NULL, and count it as made. */
const struct xs_change *xs__queue_change_due(struct xs_queue *q, xs_ns now);
/* Apply a change for the policy; lock held. Apply it in the device's own scheduler, if there
 * is one; no lock held. */
void xs__queue_change(struct xs_queue *q, const struct xs_change *change);
int xs__queue_change_scheduler(struct xs_queue *q, const struct xs_change *change,
                               struct xs_error *err);

/* ---- prepare.c ---------------------------------------------------------- */

/* Prepare a request, or find an equal one. The queue owns it. */
int xs__request_prepare(struct xs_queue *q, const struct xs_command *commands, uint32_t count,
                        struct xs_prepared_request **out, struct xs_error *err);
void xs__prepared_free(struct xs_queue *q); /* after the stream was destroyed */

/* ---- schedule.c, lock held --------------------------------------------- */

/* Set `busy`, and call the policy if the value is new. */
void xs__queue_set_busy(struct xs_queue *q, bool busy);
/* Call the policy for the queues of each device, and suspend and resume queues. Sets
 * policy_due. */
void xs__schedule(struct xs_run *run);

/* ---- run.c ------------------------------------------------------------- */

/* Check that a queue of the run may use the device that its spec names. */
int xs__run_check_device(const struct xs_run *run, const struct xs_queue_spec *spec,
                         struct xs_error *err);

/* Call these four with the lock held. Keep the first error and stop the run; make all
 * threads leave; return the first error, XS_ECANCELED, or XS_OK; return an error unless the
 * run has started and goes on. */
void xs__run_fail(struct xs_run *run, int status, const struct xs_error *error);
void xs__run_halt(struct xs_run *run);
int xs__run_status(const struct xs_run *run, struct xs_error *err);
int xs__run_check_active(const struct xs_run *run, const char *where, struct xs_error *err);

#endif
