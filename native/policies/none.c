/* none.c - no queue is ever suspended.
 *
 * The baseline, and the template: a policy is one file like this one, with what it
 * does, what it does badly, one decide() and the table at the end. policy.h says what
 * to do to add one.
 *
 * Bad at: everything that a scheduler is for. Only the threshold of each queue and the
 * order of the device hold a low-priority queue back. */
#include "policies/policy.h"

static xs_ns decide(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend)
{
    (void)now;
    (void)views;
    for (uint32_t i = 0; i < count; i++)
        suspend[i] = false;
    return XS_NEVER;
}

const struct xs_policy xs_policy_none = {.name = "none", .decide = decide};
