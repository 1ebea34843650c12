/* queues.c - the XQueues of the double: the calls on them. */
#include "state.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "faults.h"

enum {
    DEFAULT_THRESHOLD = 16,
    DEFAULT_BATCH_SIZE = 8,
    FEW = 3,         /* of "few-queues" */
    COUNTED_MAX = 50 /* of "count-falls" */
};

pthread_mutex_t preempt_lock = PTHREAD_MUTEX_INITIALIZER;
struct queue *preempt_queues;
static struct hints hints_of_destroyed;
static bool has_destroyed;

_Atomic int preempt_destroying;
static int waiting;           /* threads in wait_all() */
static bool destroyed_beside; /* a queue was destroyed while a thread waited for another one */
static int suspending;        /* threads in XQueueSuspend() */

/* ---- look-up ---------------------------------------------------------------------- */

struct queue *preempt_find(XQueueHandle handle)
{
    struct queue *q = preempt_queues;
    while (q != NULL && preempt_handle(q) != handle)
        q = q->next;
    if (q == NULL)
        preempt_log("WARN", "there is no XQueue of the handle 0x%llx", (unsigned long long)handle);
    return q;
}

/* Lock, and return the queue; or unlock, and return NULL. */
static struct queue *lock_queue(XQueueHandle handle)
{
    pthread_mutex_lock(&preempt_lock);
    struct queue *q = preempt_find(handle);
    if (q == NULL)
        pthread_mutex_unlock(&preempt_lock);
    return q;
}

static int unlock(int result)
{
    pthread_mutex_unlock(&preempt_lock);
    return result;
}

/* ---- XQueues: create and destroy --------------------------------------------------- */

/* Called with the lock. Return whether it could be created; *out is the queue that `hw` has
 * then. */
static bool make_queue(struct hw_queue *hw)
{
    struct queue *q = calloc(1, sizeof *q), **last = &preempt_queues;
    if (q == NULL)
        return false;
    *q = (struct queue){.hw = hw, .batch_size = DEFAULT_BATCH_SIZE, .hints = preempt_no_hints()};
    if (preempt_faults.inherit_hints && has_destroyed)
        q->hints = hints_of_destroyed;
    xs_xqueue_init(&q->xqueue, DEFAULT_THRESHOLD, DEFAULT_THRESHOLD);
    pthread_mutex_init(&q->launching, NULL);
    if (xs__cond_init(&q->changed) != 0 ||
        pthread_create(&q->thread, NULL, preempt_launch_thread, q) != 0) {
        free(q);
        return false;
    }
    while (*last != NULL)
        last = &(*last)->next;
    *last = hw->queue = q;
    return true;
}

static int count_queues(void)
{
    int count = 0;
    for (struct queue *q = preempt_queues; q != NULL; q = q->next)
        count++;
    return count;
}

int XQueueCreate(XQueueHandle *xq, HwQueueHandle hwq, int64_t level, int64_t flags)
{
    (void)level; /* not checked: all are level 1 */
    if (xq == NULL)
        return PREEMPT_INVALID_VALUE;
    if (flags & CREATE_BLOCKING_SUBMIT)
        return PREEMPT_NOT_SUPPORTED;
    pthread_mutex_lock(&preempt_lock);
    struct hw_queue *hw = preempt_find_hw(hwq);
    if (hw == NULL)
        return unlock(PREEMPT_NOT_FOUND);
    if (preempt_faults.few_queues && count_queues() >= FEW)
        return unlock(PREEMPT_NOT_ALLOWED);
    if (hw->queue != NULL)
        preempt_log("WARN", "there is an XQueue over the hardware queue already");
    else if (!make_queue(hw))
        preempt_log("ERRO", "Assertion failed: no thread for an XQueue");
    *xq = preempt_handle(hw->queue);
    preempt_schedule();
    return unlock(PREEMPT_SUCCESS);
}

int XQueueGet(XQueueHandle *xq, HwQueueHandle hwq)
{
    pthread_mutex_lock(&preempt_lock);
    struct hw_queue *hw = preempt_find_hw(hwq);
    if (hw == NULL || hw->queue == NULL)
        return unlock(PREEMPT_NOT_FOUND);
    *xq = preempt_handle(hw->queue);
    return unlock(PREEMPT_SUCCESS);
}

int XQueueDestroy(XQueueHandle xq)
{
    struct queue *q = lock_queue(xq), **at = &preempt_queues;
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    bool had_work = xs_xqueue_busy(&q->xqueue);
    if (preempt_faults.crash_destroy && had_work)
        raise(SIGSEGV);
    preempt_destroying++;
    q->stopping = true; /* waits for its commands, also if suspended */
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&preempt_lock);
    while (preempt_faults.hang_destroy)
        pause();
    pthread_join(q->thread, NULL);
    pthread_mutex_lock(&preempt_lock);
    preempt_destroying--;
    destroyed_beside = destroyed_beside || waiting > 0;
    q->hw->queue = NULL;
    if (preempt_faults.destroyed_holds && had_work) {
        q->ready = true; /* and it is never freed */
        preempt_schedule();
        return unlock(PREEMPT_SUCCESS);
    }
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    hints_of_destroyed = q->hints;
    has_destroyed = true;
    preempt_schedule();
    pthread_mutex_unlock(&preempt_lock);
    pthread_mutex_destroy(&q->launching);
    pthread_cond_destroy(&q->changed);
    if (!preempt_faults.keep_queues)
        free(q);
    return PREEMPT_SUCCESS;
}

/* ---- XQueues: use ------------------------------------------------------------------- */

int XQueueSetPreemptLevel(XQueueHandle xq, int64_t level)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    if (level < 1 || level > 3)
        preempt_log("ERRO", "Assertion failed: there is no level %lld", (long long)level);
    return unlock(PREEMPT_NOT_SUPPORTED);
}

/* Called with the lock. Wait until the commands submitted before are complete: a pipeline
 * barrier. It never returns on a suspended queue with work. */
static void wait_all(struct queue *q)
{
    uint64_t target = q->xqueue.submitted;
    if (q->last != NULL)
        q->last->barrier = true;
    waiting++;
    while (q->xqueue.completed < target)
        pthread_cond_wait(&q->changed, &preempt_lock);
    while (preempt_faults.hang_wait_beside_destroy && destroyed_beside)
        pthread_cond_wait(&q->changed, &preempt_lock);
    waiting--;
}

/* The fault "lose-at-config". */
static void drop_waiting(struct queue *q)
{
    for (struct command *command; (command = q->first) != NULL; free(command)) {
        q->first = command->next;
        q->xqueue.submitted--;
    }
    q->last = NULL;
    pthread_cond_broadcast(&q->changed);
}

/* Zero and below: no change. The marks of the XQueue itself come after `threshold` launches. */
int XQueueSetLaunchConfig(XQueueHandle xq, int64_t threshold, int64_t batch_size)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    bool hangs = preempt_faults.hang_config && xs_xqueue_busy(&q->xqueue);
    if (hangs)
        pthread_mutex_unlock(&preempt_lock);
    while (hangs)
        pause();
    if (preempt_faults.lose_at_config)
        drop_waiting(q);
    wait_all(q);
    if (preempt_faults.lose_during_config) {
        pthread_mutex_unlock(&preempt_lock);
        usleep(20000);
        pthread_mutex_lock(&preempt_lock);
    }
    if (threshold <= 0)
        threshold = q->xqueue.threshold;
    if (batch_size <= 0)
        batch_size = q->batch_size;
    if (threshold < batch_size)
        preempt_log("ERRO", "Assertion failed: threshold %lld is less than batch size %lld",
                    (long long)threshold, (long long)batch_size);
    q->batch_size = batch_size;
    threshold += preempt_faults.threshold_plus_one;
    uint32_t most = threshold < XS_THRESHOLD_MAX ? (uint32_t)threshold : XS_THRESHOLD_MAX;
    xs_xqueue_configure(&q->xqueue, most, most);
    q->configured = true;
    q->loses = preempt_faults.lose_during_config && xs_xqueue_busy(&q->xqueue);
    pthread_cond_broadcast(&q->changed);
    return unlock(PREEMPT_SUCCESS);
}

static bool is_one_ready(void)
{
    const struct queue *q = preempt_queues;
    while (q != NULL && !q->ready)
        q = q->next;
    return q != NULL;
}

int XQueueSubmit(XQueueHandle xq, HwCommandHandle hw_cmd)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    struct command *command = preempt_take_command(hw_cmd);
    if (command == NULL)
        return unlock(PREEMPT_NOT_FOUND);
    if (q->last != NULL)
        q->last->next = command;
    else
        q->first = command;
    q->last = command;
    xs_xqueue_submit(&q->xqueue, 1);
    bool wake = q->ready || !preempt_faults.lost_wakeup || !is_one_ready();
    preempt_set_ready(q, true);
    if (wake)
        pthread_cond_broadcast(&q->changed);
    uint64_t submitted = q->xqueue.submitted;
    unlock(PREEMPT_SUCCESS);
    preempt_fault_after_submit(submitted);
    return PREEMPT_SUCCESS;
}

/* Useless, as in the original: a submitted command is not found any more, and one that is not
 * submitted never completes. */
int XQueueWait(XQueueHandle xq, HwCommandHandle hw_cmd)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    bool is_pending = preempt_has_command(hw_cmd);
    pthread_mutex_unlock(&preempt_lock);
    while (is_pending)
        pause();
    return PREEMPT_NOT_FOUND;
}

int XQueueWaitAll(XQueueHandle xq)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    wait_all(q);
    return unlock(PREEMPT_SUCCESS);
}

int XQueueQuery(XQueueHandle xq, int *state)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    *state = q->ready ? QUEUE_READY : QUEUE_IDLE;
    return unlock(PREEMPT_SUCCESS);
}

static void leave_suspend(void)
{
    if (preempt_faults.hang_two_suspends)
        usleep(20000); /* so that a second thread gets here */
    pthread_mutex_lock(&preempt_lock);
    bool hangs = preempt_faults.hang_two_suspends && suspending > 1;
    suspending -= !hangs;
    pthread_mutex_unlock(&preempt_lock);
    while (hangs)
        pause();
}

/* The next event of a policy undoes it. It returns when no callback executes any more. */
int XQueueSuspend(XQueueHandle xq, int64_t flags)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    q->suspends++;
    suspending++;
    preempt_set_suspended(q, true);
    pthread_mutex_unlock(&preempt_lock);
    if (preempt_faults.slow_suspend)
        xs__clock_sleep_until(xs__clock_ns() + 200000000);
    if (!preempt_faults.suspend_beside_launch) {
        pthread_mutex_lock(&q->launching);
        pthread_mutex_unlock(&q->launching);
    }
    leave_suspend();
    return flags & SUSPEND_SYNC_HW_QUEUE
               ? HwQueueSynchronize((HwQueueHandle)(uintptr_t)q->hw->native)
               : PREEMPT_SUCCESS;
}

int XQueueResume(XQueueHandle xq, int64_t flags)
{
    struct queue *q = lock_queue(xq);
    (void)flags; /* commands are not dropped at level 1 */
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    q->suspends -= q->suspends > 0;
    if (q->suspends == 0 || !preempt_faults.suspends_add_up)
        preempt_set_suspended(q, false);
    return unlock(PREEMPT_SUCCESS);
}

int XQueueProfileHwCommandCount(XQueueHandle xq, int64_t *count)
{
    struct queue *q = lock_queue(xq);
    if (q == NULL)
        return PREEMPT_NOT_FOUND;
    *count = (int64_t)q->xqueue.submitted;
    if (preempt_faults.count_falls)
        *count %= COUNTED_MAX;
    return unlock(PREEMPT_SUCCESS);
}
