/* pace.c - see pace.h. */
#include "core/pace.h"

xs_ns xs_pace_oldest(const struct xs_pace *pace)
{
    return pace->flight[pace->completed % XS_THRESHOLD_MAX].launched_at;
}

/* Return the earliest time since which the device can have worked on the oldest command in
 * flight. */
static xs_ns busy_since(const struct xs_pace *pace)
{
    xs_ns launched = xs_pace_oldest(pace);
    return launched > pace->completed_at ? launched : pace->completed_at;
}

/* A command that takes longer than expected may take longer still, so its overtime does not
 * let the next command start. */
xs_ns xs_pace_due(const struct xs_pace *pace)
{
    xs_ns early = pace->in_flight_ns - XS_PACE_AHEAD_NS;
    if (!pace->on || pace->launched == pace->completed || early < 0)
        return 0;
    if (early >= pace->flight[pace->completed % XS_THRESHOLD_MAX].charged)
        return XS_NEVER;
    return busy_since(pace) + early;
}

/* The first launch of a command is charged with the whole allowance: one in flight is enough. */
static xs_ns charge(const xs_ns *cost)
{
    if (*cost == 0)
        return XS_PACE_AHEAD_NS;
    return *cost < XS_PACE_LEAST_NS ? XS_PACE_LEAST_NS : *cost;
}

bool xs_pace_launch(struct xs_pace *pace, xs_ns *cost, xs_ns now)
{
    uint32_t slot = (uint32_t)(pace->launched % XS_THRESHOLD_MAX);
    xs_ns charged = charge(cost);
    pace->flight[slot].cost = cost;
    pace->flight[slot].charged = charged;
    pace->flight[slot].launched_at = now;
    pace->launched++;
    pace->in_flight_ns += charged;
    pace->unmarked_ns += charged;
    return pace->on && pace->unmarked_ns >= XS_PACE_MARK_NS;
}

void xs_pace_mark(struct xs_pace *pace)
{
    pace->unmarked_ns = 0;
}

/* Move a quarter of the way, so that one outlier does not decide. The first measurement is
 * taken as it is. */
static void learn(xs_ns *cost, xs_ns seen)
{
    seen = seen < 1 ? 1 : seen;
    *cost = *cost == 0 ? seen : *cost + (seen - *cost) / 4;
}

/* The device worked on these commands since the mark before them was passed, or since it got
 * the first of them. Each command gets its part of that time. */
void xs_pace_complete(struct xs_pace *pace, uint64_t completed, xs_ns now)
{
    xs_ns since = busy_since(pace), charged = 0;
    for (uint64_t i = pace->completed; i < completed; i++)
        charged += pace->flight[i % XS_THRESHOLD_MAX].charged;
    for (; pace->completed < completed; pace->completed++) {
        uint32_t slot = (uint32_t)(pace->completed % XS_THRESHOLD_MAX);
        double share = (double)pace->flight[slot].charged / (double)charged;
        learn(pace->flight[slot].cost, (xs_ns)((double)(now - since) * share));
        pace->in_flight_ns -= pace->flight[slot].charged;
    }
    pace->completed_at = now;
}
