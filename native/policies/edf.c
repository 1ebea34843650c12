/* edf.c - earliest deadline first (C. L. Liu, J. W. Layland, Journal of the ACM 20, 1973;
 * K-EDF of XSched with k = 1).
 *
 * A request is due at its arrival plus the deadline of its queue. The ready queue whose
 * oldest unfinished request is due first runs, together with the queues whose request is due
 * at the same time. All other queues are suspended. A queue without a deadline is due after
 * all queues that have one. If no queue is ready, no queue is suspended.
 *
 * Bad at: overload. If not all deadlines can be met, the requests that are already late go
 * first and make the next ones late, too. A queue without a deadline waits until no other
 * queue has work. */
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
