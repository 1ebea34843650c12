/* launch.c - the thread of an XQueue: it launches submitted commands in order.
 *
 * Callbacks leave no event to wait for. So after every `threshold` launches, and when nothing
 * is left to launch, the thread synchronizes the whole hardware queue: that is the mark of
 * our XQueue. */
#include <stdlib.h>

#include "base/clock.h"
#include "faults.h"
#include "state.h"

/* The fault "poll". */
#define POLL_NS 6000000

static void poll(void)
{
    pthread_mutex_unlock(&preempt_lock);
    for (xs_ns end = xs__clock_ns() + 20000; xs__clock_ns() < end;)
        xs__clock_relax();
    xs__clock_yield();
    pthread_mutex_lock(&preempt_lock);
}

/* Nothing to launch and nothing in flight, or suspended. */
static void rest(struct queue *q)
{
    preempt_set_ready(q, xs_xqueue_busy(&q->xqueue));
    if (q->ready) { /* suspended: check again, because laxity ends without an event */
        xs__cond_wait_until(&q->changed, &preempt_lock, xs__clock_ns() + 1000000);
        preempt_schedule();
    } else if (preempt_faults.poll && xs__clock_ns() < q->ready_ns + POLL_NS) {
        poll();
    } else {
        pthread_cond_wait(&q->changed, &preempt_lock);
    }
}

static void synchronize(struct queue *q)
{
    pthread_mutex_unlock(&preempt_lock);
    q->hw->driver->synchronize(q->hw->native);
    pthread_mutex_lock(&preempt_lock);
    xs_xqueue_pass_mark(&q->xqueue);
    pthread_cond_broadcast(&q->changed);
}

static void run_callback(struct queue *q, struct command *command)
{
    int rc = 0;
    if (preempt_fault_allows(++q->callbacks))
        rc = command->launch((HwQueueHandle)(uintptr_t)q->hw->native, command->data);
    if (rc != 0)
        preempt_log("ERRO", "Assertion failed: a launch callback returned %d", rc);
    if (!preempt_faults.keep_memory)
        free(command);
}

/* Called with the lock, and releases it meanwhile, because the launch lock comes first. */
static void launch_one(struct queue *q)
{
    struct command *command = NULL;
    uint32_t slot;
    pthread_mutex_unlock(&preempt_lock);
    pthread_mutex_lock(&q->launching);
    pthread_mutex_lock(&preempt_lock);
    if (xs_xqueue_next_step(&q->xqueue) == XS_STEP_LAUNCH) { /* unless suspended meanwhile */
        command = q->first;
        q->first = command->next;
        if (q->first == NULL)
            q->last = NULL;
        xs_xqueue_launch(&q->xqueue, command->barrier, &slot);
    }
    pthread_mutex_unlock(&preempt_lock);
    if (command != NULL)
        run_callback(q, command);
    pthread_mutex_unlock(&q->launching);
    pthread_mutex_lock(&preempt_lock);
}

void *preempt_launch_thread(void *arg)
{
    struct queue *q = arg;
    uint32_t slot;
    if (q->hw->driver->enter != NULL)
        q->hw->driver->enter(q->hw->context);
    pthread_mutex_lock(&preempt_lock);
    for (;;) {
        if (q->stopping)
            q->xqueue.suspended = false; /* destroying waits for its commands */
        enum xs_step step = xs_xqueue_next_step(&q->xqueue);
        if (xs_xqueue_oldest_mark(&q->xqueue, &slot))
            synchronize(q);
        else if (step == XS_STEP_LAUNCH)
            launch_one(q);
        else if (step == XS_STEP_IDLE && xs_xqueue_flush(&q->xqueue, &slot))
            synchronize(q);
        else if (step == XS_STEP_IDLE && q->stopping)
            break;
        else
            rest(q);
    }
    preempt_set_ready(q, false);
    pthread_mutex_unlock(&preempt_lock);
    return NULL;
}
