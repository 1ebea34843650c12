/* policy.h - what a policy is: one pure function from views of the queues to
 * which of them are suspended.
 *
 * It is called whenever a queue gets or runs out of work, is added or removed,
 * is held or resumed by the user, or changes its priority; never per command.
 * It must not block, allocate or keep anything between calls. To add one: copy policy_none.c, list
 * it in policy.c and in pytest_xsched/names.py, and add to native/tests/test_policy.c and, with
 * numbers worked out by hand, to tests/sim/test_levers.py. */
#ifndef XS_POLICY_H
#define XS_POLICY_H

#include "base.h"

struct xs_queue_view {
    int32_t priority; /* [XS_PRIORITY_MIN, XS_PRIORITY_MAX], higher runs first */
    bool ready;       /* has unfinished commands and is not held by the user */
};

struct xs_policy {
    const char *name;
    /* Write suspend[i] for every i < count. */
    void (*decide)(const struct xs_queue_view *views, uint32_t count, bool *suspend);
};

extern const struct xs_policy xs_policy_none;
extern const struct xs_policy xs_policy_hpf;

const struct xs_policy *xs__policy_find(const char *name); /* NULL: unknown */

#endif
