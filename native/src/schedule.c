/* schedule.c - the control loop of a run: from queues that get or run out of
 * work, through the policy, to the `suspended` flag that each queue reads
 * before it launches. Called with run->lock held, at edges only. */
#include "run.h"

static void apply(struct xs_queue *q, bool suspended)
{
    if (suspended == q->suspended)
        return;
    if (suspended && q->busy)
        q->suspended_count++;
    q->suspended = suspended;
    if (!suspended)
        q->run->engine->wake(q);
}

void xs__schedule(struct xs_run *run)
{
    struct xs_queue_view views[XS_QUEUES_MAX];
    bool suspend[XS_QUEUES_MAX] = {false};
    for (uint32_t i = 0; i < run->queue_count; i++) {
        const struct xs_queue *q = run->queues[i];
        /* A queue that the user holds must not keep others waiting. */
        views[i] = (struct xs_queue_view){.priority = q->priority, .ready = q->busy && !q->held};
    }
    run->policy->decide(views, run->queue_count, suspend);
    for (uint32_t i = 0; i < run->queue_count; i++)
        apply(run->queues[i], run->queues[i]->held || suspend[i]);
}

void xs__schedule_edge(struct xs_queue *q, bool busy)
{
    if (busy == q->busy)
        return;
    q->busy = busy;
    xs__schedule(q->run);
}
