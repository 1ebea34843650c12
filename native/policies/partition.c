/* partition.c - each queue gets its share of the device's time (the utilization partition of
 * XSched, OSDI'25).
 *
 * The shares of the ready queues are scaled to 100 %, so the time that one queue leaves
 * unused goes to the others. weight.c has the algorithm.
 *
 * Bad at: latency. A request waits until the other queues had their turns, and a turn lasts
 * at least as long as the commands that a queue has in flight. With long commands or a deep
 * threshold, turns are long. */
#include "policies/policy.h"

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    double weights[XS_QUEUES_MAX];
    for (uint32_t i = 0; i < count; i++)
        weights[i] = (double)views[i].share / 100;
    return xs__policy_by_weight(now, views, weights, count, suspend);
}

const struct xs_policy xs_policy_partition = {.name = "partition", .decide = decide};
