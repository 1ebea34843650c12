/* policy.h - what a policy is: one pure function from views of the queues to
 * which of them are suspended, and when to ask it again.
 *
 * It is called whenever a queue gets or runs out of work, is added or removed,
 * is held or resumed by the user, or changes its priority, and when the time comes
 * that it named; never per command. It must not block, allocate or keep anything between calls,
 * but for what it writes into `own` of a view. To add one: copy none.c, list
 * it in policy.c and in pytest_xsched/base/constants.py, and add to native/tests/test_policy.c and,
 * with numbers worked out by hand, to tests/sim/test_policies.py. */
#ifndef XS_POLICY_H
#define XS_POLICY_H

#include "base/base.h"

struct xs_queue_view {
    int32_t priority; /* [XS_PRIORITY_MIN, XS_PRIORITY_MAX], higher runs first */
    bool ready;       /* has unfinished commands and is not held by the user */
    bool running;     /* was ready and not suspended when the policy was asked last */
    uint32_t share;   /* of the device, as a hint: (0, 100] percent */
    xs_ns deadline;   /* of a request, from its arrival, as a hint; XS_NEVER: none */
    xs_ns since;      /* arrival of its oldest unfinished request, if it is ready */
    xs_ns used;       /* device time that it was seen to use since the last call */
    int64_t own[2];   /* the policy's, kept with the queue between calls; 0 at first */
};

struct xs_policy {
    const char *name;
    /* Ask also when a request completes while the next one waits already. */
    bool per_request;
    /* Write suspend[i] for every i < count. Returns when to ask again if nothing
     * happens before, later than `now`; XS_NEVER: there is no need to. */
    xs_ns (*decide)(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend);
};

extern const struct xs_policy xs_policy_none;
extern const struct xs_policy xs_policy_hpf;
extern const struct xs_policy xs_policy_edf;
extern const struct xs_policy xs_policy_partition;
extern const struct xs_policy xs_policy_fair;

const struct xs_policy *xs__policy_find(const char *name); /* NULL: unknown */

/* What partition and fair are made of: the ready queue which used the least of
 * its weight runs alone. weights[i] > 0. Uses all of `own`. */
xs_ns xs__policy_by_weight(xs_ns now, struct xs_queue_view *views, const double *weights,
                           uint32_t count, bool *suspend);

#endif
