/* edf.c - earliest deadline first (C. L. Liu, J. W. Layland, Journal of the
 * ACM 20, 1973; K-EDF of XSched with k = 1).
 *
 * A request is due its queue's deadline behind its arrival. The ready queue whose
 * oldest unfinished request is due first runs, with those that are due at the same
 * time; all others are suspended. A queue without a deadline is due behind all that
 * have one. Nobody ready: nobody suspended.
 *
 * Bad at: overload. When not all deadlines can be met, those that are missed
 * already go first and make the next ones late, too; and a queue without a deadline
 * waits until nobody else has work. */
#include "policies/policy.h"

static xs_ns due(const struct xs_queue_view *view)
{
    bool none = view->deadline == XS_NEVER;
    return none || view->since > XS_NEVER - 1 - view->deadline ? XS_NEVER
                                                               : view->since + view->deadline;
}

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    bool any = false;
    xs_ns first = XS_NEVER;
    (void)now;
    for (uint32_t i = 0; i < count; i++) {
        any = any || views[i].ready;
        if (views[i].ready && due(&views[i]) < first)
            first = due(&views[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = any && (!views[i].ready || due(&views[i]) > first);
    return XS_NEVER;
}

const struct xs_policy xs_policy_edf = {.name = "edf", .per_request = true, .decide = decide};
