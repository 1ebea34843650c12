/* weight.c - the algorithm of partition and fair: the ready queue with the least device time,
 * divided by its weight, runs alone (stride scheduling by C. A. Waldspurger and W. E. Weihl,
 * MIT/LCS/TM-528, 1995, with time instead of quanta).
 *
 * A queue that becomes ready starts at the least value of the ready queues, or without ready
 * queues at the largest value of all queues: the time that it left unused while it was idle
 * is lost. While two queues are ready, the policy is called every XS_TICK_NS. Ties go to the
 * queue that runs. */
#include "policies/policy.h"

#define XS_TICK_NS INT64_C(1000000)

enum {
    USED = 0,     /* own[]: device time divided by weight, ns */
    WAS_READY = 1 /* own[]: 1 if the queue was ready in the last call */
};

/* Return the value at which a queue starts that becomes ready. */
static int64_t start_of(const struct xs_queue_view *views, uint32_t count)
{
    int64_t least = INT64_MAX, most = 0;
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        bool stays = views[i].ready && views[i].own[WAS_READY];
        any = any || stays;
        if (stays && views[i].own[USED] < least)
            least = views[i].own[USED];
        if (views[i].own[USED] > most)
            most = views[i].own[USED];
    }
    return any ? least : most;
}

static bool goes_before(const struct xs_queue_view *a, const struct xs_queue_view *b)
{
    if (a->own[USED] != b->own[USED])
        return a->own[USED] < b->own[USED];
    return a->running && !b->running;
}

xs_ns xs__policy_by_weight(xs_ns now, struct xs_queue_view *views, const double *weights,
                           uint32_t count, bool *suspend)
{
    uint32_t ready = 0, best = 0;
    for (uint32_t i = 0; i < count; i++)
        views[i].own[USED] += (int64_t)((double)views[i].used / weights[i]);
    int64_t start = start_of(views, count);
    for (uint32_t i = 0; i < count; i++) {
        if (views[i].ready && !views[i].own[WAS_READY] && views[i].own[USED] < start)
            views[i].own[USED] = start;
        views[i].own[WAS_READY] = views[i].ready;
    }
    for (uint32_t i = 0; i < count; i++)
        if (views[i].ready && (ready++ == 0 || goes_before(&views[i], &views[best])))
            best = i;
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = ready > 0 && i != best;
    return ready > 1 ? xs__later(now, XS_TICK_NS) : XS_NEVER;
}
