/* queue_change.c - changes of a queue: its hints, its depth, and whether the user suspends
 * it. The user makes a change by a call at any time, or plans it, and then the owner of the
 * queue applies it. A scheduler of the device's own gets each change, too. */
#include "base/clock.h"
#include "runtime/run.h"

int xs__check_priority(const char *name, int32_t priority, struct xs_error *err)
{
    if (priority >= XS_PRIORITY_MIN && priority <= XS_PRIORITY_MAX)
        return XS_OK;
    return xs__fail(err, XS_EINVAL, "queue.priority", 0,
                    "queue '%s': priority %d is outside %d..%d", name, priority, XS_PRIORITY_MIN,
                    XS_PRIORITY_MAX);
}

int xs__check_depth(const char *name, uint32_t threshold, uint32_t batch_size, struct xs_error *err)
{
    if (batch_size >= 1 && threshold >= batch_size && threshold <= XS_THRESHOLD_MAX)
        return XS_OK;
    return xs__fail(
        err, XS_EINVAL, "queue.depth", 0,
        "queue '%s': threshold %u, batch size %u; needed is 1 <= batch size <= threshold <= %d",
        name, threshold, batch_size, XS_THRESHOLD_MAX);
}

int xs__check_changes(const struct xs_queue_spec *spec, struct xs_error *err)
{
    int rc = XS_OK;
    for (uint32_t i = 0; i < spec->change_count && rc == XS_OK; i++) {
        const struct xs_change *change = &spec->changes[i];
        if (change->at_ns < (i == 0 ? 0 : change[-1].at_ns))
            return xs__fail(
                err, XS_EINVAL, "queue.add", 0,
                "queue '%s': change %u at %lld ns is before the previous one, or negative",
                spec->name, i, (long long)change->at_ns);
        if (change->kind == XS_CHANGE_PRIORITY)
            rc = xs__check_priority(spec->name, change->value, err);
        else if (change->kind != XS_CHANGE_HELD)
            rc = xs__fail(err, XS_EINVAL, "queue.add", 0,
                          "queue '%s': there is no kind of change %d", spec->name, change->kind);
    }
    return rc;
}

/* ---- planned changes ----------------------------------------------------- */

const struct xs_change *xs__queue_change_due(struct xs_queue *q, xs_ns now)
{
    if (q->changed == q->change_count || q->changes[q->changed].at_ns > now)
        return NULL;
    return &q->changes[q->changed++];
}

void xs__queue_change(struct xs_queue *q, const struct xs_change *change)
{
    if (change->kind == XS_CHANGE_PRIORITY)
        q->priority = change->value;
    else if (q->device->ops->scheduler == NULL)
        q->held = change->value != 0;
    xs__schedule(q->run);
}

int xs__queue_change_scheduler(struct xs_queue *q, const struct xs_change *change,
                               struct xs_error *err)
{
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    if (scheduler == NULL)
        return XS_OK;
    return change->kind == XS_CHANGE_PRIORITY
               ? scheduler->set_priority(q->stream, change->value, err)
               : scheduler->hold(q->stream, change->value != 0, err);
}

/* ---- changes by a call --------------------------------------------------- */

/* Apply a change for the policy, for virtual time and for a scheduler of the device's own. */
static int apply(struct xs_queue *q, int32_t kind, int32_t value, struct xs_error *err)
{
    const struct xs_change change = {.kind = kind, .value = value};
    struct xs_run *run = q->run;
    pthread_mutex_lock(&run->lock);
    xs__queue_change(q, &change);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return xs__queue_change_scheduler(q, &change, err);
}

int xs_queue_set_priority(struct xs_queue *q, int32_t priority, struct xs_error *err)
{
    int rc = xs__device_check(q->run->device, "queue.priority", err);
    if (rc == XS_OK)
        rc = xs__check_priority(q->name, priority, err);
    return rc == XS_OK ? apply(q, XS_CHANGE_PRIORITY, priority, err) : rc;
}

int xs_queue_set_deadline(struct xs_queue *q, int64_t deadline_ns, struct xs_error *err)
{
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    struct xs_run *run = q->run;
    int rc = xs__device_check(run->device, "queue.deadline", err);
    if (rc == XS_OK && deadline_ns < 0)
        rc = xs__fail(err, XS_EINVAL, "queue.deadline", 0,
                      "queue '%s': deadline %lld ns is negative", q->name, (long long)deadline_ns);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    q->deadline_ns = deadline_ns > 0 ? deadline_ns : XS_NEVER;
    xs__schedule(run);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return scheduler == NULL ? XS_OK : scheduler->set_deadline(q->stream, deadline_ns, err);
}

int xs_queue_set_laxity(struct xs_queue *q, int64_t laxity_ns, struct xs_error *err)
{
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    int rc = xs__device_check(q->run->device, "queue.laxity", err);
    if (rc == XS_OK && laxity_ns <= 0)
        rc = xs__fail(err, XS_EINVAL, "queue.laxity", 0,
                      "queue '%s': laxity %lld ns is not positive", q->name, (long long)laxity_ns);
    if (rc != XS_OK || scheduler == NULL)
        return rc;
    return scheduler->set_laxity(q->stream, laxity_ns, err);
}

int xs_queue_set_utilization(struct xs_queue *q, int32_t percent, struct xs_error *err)
{
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    struct xs_run *run = q->run;
    int rc = xs__device_check(run->device, "queue.utilization", err);
    if (rc == XS_OK && (percent < 1 || percent > 100))
        rc = xs__fail(err, XS_EINVAL, "queue.utilization", 0,
                      "queue '%s': utilization %d is outside 1..100", q->name, percent);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    q->share = (uint32_t)percent;
    xs__schedule(run);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return scheduler == NULL ? XS_OK : scheduler->set_utilization(q->stream, percent, err);
}

int xs_queue_set_depth(struct xs_queue *q, uint32_t threshold, uint32_t batch_size,
                       struct xs_error *err)
{
    struct xs_run *run = q->run;
    int rc = xs__device_check(run->device, "queue.depth", err);
    if (rc == XS_OK)
        rc = xs__check_depth(q->name, threshold, batch_size, err);
    if (rc == XS_OK && q->pace.on)
        rc = xs__fail(err, XS_EINVAL, "queue.depth", 0,
                      "queue '%s' has an automatic threshold, which cannot be set", q->name);
    if (rc != XS_OK)
        return rc;
    if (q->device->ops->scheduler != NULL) /* the device's own scheduler launches the commands */
        return q->device->ops->scheduler->set_depth(q->stream, threshold, batch_size, err);
    pthread_mutex_lock(&run->lock);
    q->depth = (uint64_t)threshold << 32 | batch_size;
    run->engine->wake(q);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return XS_OK;
}

static int hold(struct xs_queue *q, bool held, const char *where, struct xs_error *err)
{
    int rc = xs__device_check(q->run->device, where, err);
    if (rc == XS_OK)
        rc = apply(q, XS_CHANGE_HELD, held, err);
    /* When this returns, the queue launches nothing more, not even the command that its owner
     * was about to launch when it last read `suspended`. A launch may take time. */
    while (rc == XS_OK && held && q->launching)
        xs__clock_yield();
    return rc;
}

int xs_queue_suspend(struct xs_queue *q, struct xs_error *err)
{
    return hold(q, true, "queue.suspend", err);
}

int xs_queue_resume(struct xs_queue *q, struct xs_error *err)
{
    return hold(q, false, "queue.resume", err);
}
