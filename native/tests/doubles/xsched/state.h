/* state.h - what the files of the double share: queues, their list and the lock.
 *
 * Lock rule: `preempt_lock` guards everything here. A thread takes a queue's `launching`
 * before it and holds it during the callback, so suspending a queue from its own callback
 * never returns, as with XSched. */
#ifndef XS_PREEMPT_STATE_H
#define XS_PREEMPT_STATE_H

#include <pthread.h>

#include "core/xqueue.h"
#include "preempt.h"

struct command {
    struct command *next, *before; /* first in the list of unsubmitted commands */
    LaunchCallback launch;
    void *data;
    bool barrier; /* a thread waits for it: synchronize after it */
};

struct hw_queue {
    struct hw_queue *next;
    void *native;
    const struct hw_driver *driver;
    void *context;
    struct queue *queue; /* its XQueue, or NULL */
};

struct hints {
    int32_t priority, lax_priority, critical_priority;
    int64_t deadline_ns, laxity_ns; /* negative: none */
    int32_t utilization;
    bool has_priority, has_utilization;
};

struct queue {
    struct queue *next;
    struct hw_queue *hw;
    struct xs_xqueue xqueue;      /* its marks: one after `threshold` launches */
    struct command *first, *last; /* submitted, not launched */
    int64_t batch_size;           /* no effect for callbacks, but it must fit */
    bool ready, stopping;
    bool configured;    /* with commands in flight */
    _Atomic bool loses; /* the next command is not launched, and counts */
    xs_ns ready_ns;     /* when it became ready */
    struct hints hints;
    bool stuck; /* the fault "policy-keeps" */
    pthread_t thread;
    pthread_cond_t changed;
    pthread_mutex_t launching;
    unsigned callbacks; /* of its commands so far; guarded by `launching` */
    /* For faults: */
    bool resumed;     /* and nothing was launched since */
    bool owes;        /* one command, although it is suspended */
    xs_ns resumed_ns; /* when it was resumed last */
    int suspends;     /* calls of XQueueSuspend() without one of XQueueResume() */
};

extern pthread_mutex_t preempt_lock;
extern struct queue *preempt_queues;
extern _Atomic int preempt_destroying; /* threads in XQueueDestroy() */

/* launch.c. The thread of a queue; `arg` is the queue. */
void *preempt_launch_thread(void *arg);

/* scheduler.c, all with the lock held. Decide which queues are suspended, and wake their
 * threads. */
void preempt_schedule(void);
/* The same if the policy decides by the time. */
void preempt_tick(void);
/* Return whether decisions change with time, without an event. */
bool preempt_ticks(void);
/* One edge of a queue: it got work, or has none left. */
void preempt_set_ready(struct queue *q, bool ready);
void preempt_set_suspended(struct queue *q, bool suspended);
/* Remove all hints. */
struct hints preempt_no_hints(void);

/* Look up something by its handle, with the lock held; NULL: it does not exist. */
struct queue *preempt_find(XQueueHandle handle); /* warns */
struct hw_queue *preempt_find_hw(HwQueueHandle handle);
bool preempt_has_command(HwCommandHandle handle);
/* Remove a command from the list of those that are not submitted. */
struct command *preempt_take_command(HwCommandHandle handle);
uint64_t preempt_handle(const void *object);

#endif
