/* schedule.c - the control loop of a run: from queues that get or run out of
 * work, through the policy, to the `suspended` flag that each queue reads
 * before it launches. Called with run->lock held, at edges only. The policy is
 * asked about one device at a time: a queue that waited for one on another
 * device would give its own away for nothing. */
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

static void schedule_device(struct xs_run *run, const struct xs_device *device)
{
    struct xs_queue *queues[XS_QUEUES_MAX];
    struct xs_queue_view views[XS_QUEUES_MAX] = {{0}};
    bool suspend[XS_QUEUES_MAX] = {false};
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        if (q->device != device)
            continue;
        /* A queue that the user holds must not keep others waiting. */
        views[count] =
            (struct xs_queue_view){.priority = q->priority, .ready = q->busy && !q->held};
        queues[count++] = q;
    }
    run->policy->decide(views, count, suspend);
    for (uint32_t i = 0; i < count; i++)
        apply(queues[i], queues[i]->held || suspend[i]);
}

void xs__schedule(struct xs_run *run)
{
    for (uint32_t i = 0; i < run->queue_count; i++) {
        uint32_t first = 0;
        while (run->queues[first]->device != run->queues[i]->device)
            first++;
        if (first == i)
            schedule_device(run, run->queues[i]->device);
    }
}

void xs__schedule_edge(struct xs_queue *q, bool busy)
{
    if (busy == q->busy)
        return;
    q->busy = busy;
    xs__schedule(q->run);
}
