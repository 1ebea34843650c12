/* partition.c - to each queue its share of the device's time (the utilization
 * partition of XSched, OSDI'25).
 *
 * The shares of the queues that are ready are taken in proportion, so what one does
 * not use is divided among the others. See weight.c.
 *
 * Bad at: latency. A request waits for the turns of all others, and a turn is at least
 * what a queue has in flight: with long commands, or a deep threshold, turns are long. */
#include "policies/policy.h"

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    double weights[XS_QUEUES_MAX];
    for (uint32_t i = 0; i < count; i++)
        weights[i] = (double)views[i].share / 100;
    return xs__policy_by_weight(now, views, weights, count, suspend);
}

const struct xs_policy xs_policy_partition = {.name = "partition", .decide = decide};
