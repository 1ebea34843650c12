/* hpf.c - highest priority first (the HPF policy of XSched, OSDI'25).
 *
 * While a queue is ready, every queue of lower priority is suspended, ready or not, so that
 * work which arrives there later does not start. Queues of the same, highest priority run
 * together. If no queue is ready, no queue is suspended.
 *
 * Bad at: fairness. A queue that never runs out of work starves all queues of lower priority,
 * and the device decides how queues of equal priority share it. */
#include "policies/policy.h"

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    (void)now;
    int32_t top = XS_PRIORITY_MIN;
    for (uint32_t i = 0; i < count; i++)
        if (views[i].ready && views[i].priority > top)
            top = views[i].priority;
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = views[i].priority < top;
    return XS_NEVER;
}

const struct xs_policy xs_policy_hpf = {.name = "hpf", .decide = decide};
