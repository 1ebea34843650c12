/* launch.c - the thread of an XQueue: it launches submitted commands in order.
 *
 * Callbacks leave no event to wait for. So after every `threshold` launches, and when nothing
 * is left to launch, the thread synchronizes the whole hardware queue: that is the mark of
 * our XQueue. */
#include <stdlib.h>

#include "base/clock.h"
#include "faults.h"
#include "state.h"

#define SLOW_NS 300000000 /* of "slow-resume" */
#define LONG_NS 20000000  /* of "long-command" */
#define TWICE 7

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
    if (preempt_faults.idle_spin && !q->ready) {
        pthread_mutex_unlock(&preempt_lock);
        xs__clock_relax();
        pthread_mutex_lock(&preempt_lock);
        return;
    }
    if (q->ready && preempt_ticks()) { /* suspended, and the time may end that without an event */
        xs__cond_wait_until(&q->changed, &preempt_lock, xs__clock_ns() + 1000000);
        preempt_schedule();
    } else if (preempt_faults.poll && xs__clock_ns() < q->ready_ns + POLL_NS) {
        poll();
    } else if (preempt_faults.ticks) {
        xs__cond_wait_until(&q->changed, &preempt_lock, xs__clock_ns() + 1000000);
    } else {
        pthread_cond_wait(&q->changed, &preempt_lock);
    }
}

/* The fault "long-command": wait no longer than some time for each of the commands. */
static void lose_patience(const struct hw_queue *hw, uint64_t commands)
{
    xs_ns end = xs__clock_ns() + (xs_ns)commands * LONG_NS;
    while (!hw->driver->is_complete(hw->native) && xs__clock_ns() < end)
        xs__clock_sleep_until(xs__clock_ns() + 500000);
}

static void synchronize(struct queue *q)
{
    uint64_t commands = q->xqueue.launched - q->xqueue.completed;
    pthread_mutex_unlock(&preempt_lock);
    if (preempt_faults.long_command && q->hw->driver->is_complete != NULL)
        lose_patience(q->hw, commands);
    else
        q->hw->driver->synchronize(q->hw->native);
    pthread_mutex_lock(&preempt_lock);
    xs_xqueue_pass_mark(&q->xqueue);
    pthread_cond_broadcast(&q->changed);
}

static void run_callback(struct queue *q, struct command *command, bool resumed)
{
    int rc = 0;
    bool skip = !preempt_fault_allows(++q->callbacks) || q->loses ||
                (preempt_faults.lose_at_resume && resumed);
    bool again = preempt_faults.twice && q->callbacks % TWICE == 0;
    q->loses = false;
    for (int i = 0; rc == 0 && !skip && i < 1 + again; i++)
        rc = command->launch((HwQueueHandle)(uintptr_t)q->hw->native, command->data);
    if (rc != 0)
        preempt_log("ERRO", "Assertion failed: a launch callback returned %d", rc);
    if (!preempt_faults.keep_memory)
        free(command);
}

/* Let the first two of at least three waiting commands change places. */
static void swap_first(struct queue *q)
{
    struct command *first = q->first, *second = first->next;
    if (second == NULL || second->next == NULL)
        return;
    first->next = second->next;
    second->next = first;
    q->first = second;
}

/* Called with the lock, and releases it meanwhile, because the launch lock comes first. */
static void launch_one(struct queue *q)
{
    struct command *command = NULL;
    bool resumed = false;
    uint32_t slot;
    pthread_mutex_unlock(&preempt_lock);
    pthread_mutex_lock(&q->launching);
    pthread_mutex_lock(&preempt_lock);
    if (xs_xqueue_next_step(&q->xqueue) == XS_STEP_LAUNCH) { /* unless suspended meanwhile */
        resumed = q->resumed;
        q->resumed = false;
        if (preempt_faults.reorder && resumed)
            swap_first(q);
        command = q->first;
        q->first = command->next;
        if (q->first == NULL)
            q->last = NULL;
        xs_xqueue_launch(&q->xqueue, command->barrier, &slot);
    }
    pthread_mutex_unlock(&preempt_lock);
    if (command != NULL)
        run_callback(q, command, resumed);
    pthread_mutex_unlock(&q->launching);
    pthread_mutex_lock(&preempt_lock);
}

/* The fault "one-more". */
static void launch_suspended(struct queue *q)
{
    q->owes = false;
    q->xqueue.suspended = false;
    launch_one(q);
    q->xqueue.suspended = true;
}

/* The fault "slow-resume". */
static bool is_slow(const struct queue *q)
{
    return preempt_faults.slow_resume && !q->stopping && xs__clock_ns() < q->resumed_ns + SLOW_NS;
}

void *preempt_launch_thread(void *arg)
{
    struct queue *q = arg;
    uint32_t slot;
    if (q->hw->driver->enter != NULL)
        q->hw->driver->enter(q->hw->context);
    pthread_mutex_lock(&preempt_lock);
    for (;;) {
        preempt_tick();
        if (q->stopping && !preempt_faults.hang_destroy_below)
            q->xqueue.suspended = false; /* destroying waits for its commands */
        enum xs_step step = xs_xqueue_next_step(&q->xqueue);
        q->configured = q->configured && q->xqueue.launched > q->xqueue.completed;
        if (xs_xqueue_oldest_mark(&q->xqueue, &slot))
            synchronize(q);
        else if (q->configured && xs_xqueue_flush(&q->xqueue, &slot))
            synchronize(q); /* the new threshold may be full of commands without a mark */
        else if (step == XS_STEP_LAUNCH && is_slow(q))
            xs__cond_wait_until(&q->changed, &preempt_lock, q->resumed_ns + SLOW_NS);
        else if (step == XS_STEP_LAUNCH)
            launch_one(q);
        else if (step == XS_STEP_PAUSED && q->owes && preempt_faults.one_more)
            launch_suspended(q);
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
