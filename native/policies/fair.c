/* fair.c - everybody gets of the device's time, more with a higher priority
 * (the CFS of XSched, after that of Linux, 2.6.23).
 *
 * A level of priority is worth a factor of 1.2, priorities beyond -20 and 20 count as
 * these. See weight.c.
 *
 * Bad at: what partition is bad at, and at promises: the share of a queue depends on
 * who else has work. */
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
