/* policy.h - a policy: one pure function that decides which queues are suspended.
 *
 * It maps views of the queues to one flag for each queue, and to the time of its next call.
 * schedule.c calls it when a queue gets work or runs out of work, when a queue is added or
 * removed, when the user suspends or resumes a queue or changes its priority, and at the time
 * that the policy returned; never for each command. A policy must not block or allocate. It
 * keeps nothing between calls except what it writes into `own` of a view.
 *
 * To add the policy NAME (docs/howto/new_policy.md has an example):
 *   1. Copy none.c to NAME.c. Write decide(), and rename the table at its end to
 *      xs_policy_NAME with .name = "NAME". The build finds the file by itself.
 *   2. Add the line X(NAME) to XS_POLICIES below.
 *   3. Add NAME to BUILTIN in pytest_xsched/base/policies.py, in the same place of the order.
 *   4. Add its test to tests/sim/test_policies.py, with numbers worked out by hand. */
#ifndef XS_POLICY_H
#define XS_POLICY_H

#include "base/base.h"

struct xs_queue_view {
    int32_t priority; /* [XS_PRIORITY_MIN, XS_PRIORITY_MAX], higher runs first */
    bool ready;       /* it has unfinished commands, and the user does not suspend it */
    bool running;     /* it was ready and not suspended after the last call */
    uint32_t share;   /* hint: its share of the device, (0, 100] percent */
    xs_ns deadline;   /* hint: deadline of a request, from its arrival; XS_NEVER: none */
    xs_ns since;      /* arrival of its oldest unfinished request; valid if it is ready */
    xs_ns used;       /* device time that the runner saw it use since the last call */
    int64_t own[2];   /* memory of the policy, kept with the queue between calls; 0 at first */
};

struct xs_policy {
    const char *name;
    /* The engine also calls decide() when a request completes and the next one already waits. */
    bool per_request;
    /* Write suspend[i] for every i < count. Return the time of the next call in case nothing
     * happens before, later than `now`; XS_NEVER: no such call is needed. */
    xs_ns (*decide)(xs_ns now, struct xs_queue_view *views, uint32_t count, bool *suspend);
};

/* The list of policies, and the only one in C: one line a policy, in the order of
 * xs_policy_name(). */
#define XS_POLICIES(X)                                                                             \
    X(none)                                                                                        \
    X(hpf)                                                                                         \
    X(edf)                                                                                         \
    X(partition)                                                                                   \
    X(fair)

#define XS_DECLARE_POLICY(name) extern const struct xs_policy xs_policy_##name;
XS_POLICIES(XS_DECLARE_POLICY)

const struct xs_policy *xs__policy_find(const char *name); /* NULL: there is no such policy */

/* The algorithm of partition and fair: the ready queue that used the least of its weight runs
 * alone. weights[i] > 0. It uses all of `own`. */
xs_ns xs__policy_by_weight(xs_ns now, struct xs_queue_view *views, const double *weights,
                           uint32_t count, bool *suspend);

#endif
