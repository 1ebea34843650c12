/* fair.c - every ready queue gets device time, more with a higher priority (the CFS policy of
 * XSched, after that of Linux 2.6.23).
 *
 * One level of priority is a factor of 1.2. Priorities below -20 and above 20 count as -20
 * and 20. weight.c has the algorithm.
 *
 * Bad at: what partition is bad at, and guarantees. The share of a queue depends on which
 * other queues have work. */
#include "policies/policy.h"

enum {
    LEVEL_MAX = 20
};

static double weight_of(int32_t priority)
{
    double weight = 1;
    int32_t level = priority < 0 ? -priority : priority;
    for (int32_t i = 0; i < level && i < LEVEL_MAX; i++)
        weight *= 1.2;
    return priority < 0 ? 1 / weight : weight;
}

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    double weights[XS_QUEUES_MAX];
    for (uint32_t i = 0; i < count; i++)
        weights[i] = weight_of(views[i].priority);
    return xs__policy_by_weight(now, views, weights, count, suspend);
}

const struct xs_policy xs_policy_fair = {.name = "fair", .decide = decide};
