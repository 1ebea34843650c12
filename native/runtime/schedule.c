/* schedule.c - the control loop of a run: queues get work or run out of it, the policy
 * decides, and each queue reads its `suspended` flag before it launches. Called with
 * run->lock held, at these edges only. The policy is called for one device at a time: a queue
 * must not be suspended for the sake of a queue on another device. */
#include <string.h>

#include "runtime/run.h"

static void set_suspended(struct xs_queue *q, bool suspended)
{
    if (suspended == q->suspended)
        return;
    if (suspended && q->busy)
        q->suspended_count++;
    xs__record_suspension(q, suspended);
    q->suspended = suspended;
    if (!suspended && q->busy) /* an idle queue has nothing to launch */
        q->run->engine->wake(q);
}

static void fill_view(struct xs_queue *q, struct xs_queue_view *view)
{
    xs_ns used = q->used;
    *view = (struct xs_queue_view){.priority = q->priority,
                                   /* The user's suspended queues do not delay others. */
                                   .ready = q->busy && !q->held,
                                   .running = q->running,
                                   .share = q->share,
                                   .deadline = q->deadline_ns,
                                   .since = q->oldest,
                                   .used = used - q->used_reported};
    memcpy(view->own, q->own, sizeof view->own);
    q->used_reported = used;
}

/* Return the time of the policy's next call. */
static xs_ns schedule_device(struct xs_run *run, const struct xs_device *device, xs_ns now)
{
    struct xs_queue *queues[XS_QUEUES_MAX];
    /* Only the first `count` are set: clearing all of them would delay every request. */
    struct xs_queue_view views[XS_QUEUES_MAX];
    bool suspend[XS_QUEUES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        if (q->device != device)
            continue;
        fill_view(q, &views[count]);
        suspend[count] = false;
        queues[count++] = q;
    }
    const struct xs_policy *policy = run->off ? &xs_policy_none : run->policy;
    xs_ns again = policy->decide(now, views, count, suspend);
    XS_ASSERT(again > now);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(queues[i]->own, views[i].own, sizeof queues[i]->own);
        queues[i]->running = views[i].ready && !suspend[i];
        set_suspended(queues[i], queues[i]->held || suspend[i]);
    }
    return again;
}

void xs__schedule(struct xs_run *run)
{
    xs_ns now = run->started ? run->engine->now(run) : 0, again = XS_NEVER;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        uint32_t first = 0;
        while (run->queues[first]->device != run->queues[i]->device)
            first++;
        if (first == i) {
            xs_ns at = schedule_device(run, run->queues[i]->device, now);
            again = at < again ? at : again;
        }
    }
    run->policy_due = again;
}

void xs__queue_set_busy(struct xs_queue *q, bool busy)
{
    if (busy == q->busy)
        return;
    q->busy = busy;
    xs__schedule(q->run);
}
