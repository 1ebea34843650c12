/* none.c - nobody is ever suspended.
 *
 * The baseline, and the template: a policy is one file like this one, with
 * what it does, what it does badly, one decide() and the table at the end.
 * Copy it, list the new table in policy.c and policy.h, and add its name to
 * POLICIES in pytest_xsched/base/constants.py.
 *
 * Bad at: everything a scheduler is for. Only the threshold of each queue and
 * the device's own order hold a low-priority queue back. */
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
