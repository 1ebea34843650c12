/* engine_sim.c - the engine in virtual time: a loop moves the same queues, XQueues, loads and
 * policies that threads move in engine_threads.c. The thread that waits or submits does
 * everything, with run->lock held.
 *
 * The order at one instant: completions, then arrivals, then one call of the policy, which
 * sees both, then launches, queue by queue in the order of creation. So ties are broken in
 * the same way in every run. */
#include "base/clock.h"
#include "runtime/run.h"

static xs_ns sim_now(const struct xs_run *run)
{
    return run->virtual_now;
}

/* Update `busy` of all queues, and return whether to call the policy. `completed`: a request
 * completed. */
static bool update_busy(struct xs_run *run, bool completed)
{
    bool edge = completed && run->policy->per_request;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        bool busy = !q->finished && xs_xqueue_busy(&q->xq);
        edge = edge || busy != q->busy;
        q->busy = busy;
    }
    return edge;
}

static void apply_changes(struct xs_queue *q)
{
    const struct xs_change *due;
    while ((due = xs__queue_change_due(q, q->run->virtual_now)) != NULL)
        xs__queue_change(q, due); /* a device of virtual time has no scheduler of its own */
}

/* Queues that finished, or were cut off at the end of the run, are left out. */
static int complete_and_submit(struct xs_run *run, bool *completed, struct xs_error *err)
{
    bool moved;
    int rc = XS_OK;
    *completed = false;
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK; i++)
        if (!run->queues[i]->finished) {
            rc = xs__queue_poll(run->queues[i], &moved, err);
            *completed = *completed || moved;
            if (moved && run->queues[i]->awaited)
                xs__release_dependents(run->queues[i]);
        }
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK; i++)
        if (!run->queues[i]->finished) {
            apply_changes(run->queues[i]);
            rc = xs__queue_submit_due(run->queues[i], run->virtual_now, err);
        }
    return rc;
}

static int launch(struct xs_run *run, struct xs_error *err)
{
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        while (!q->finished && xs__queue_next_step(q, run->virtual_now) == XS_STEP_LAUNCH) {
            int rc = xs__queue_launch(q, run->virtual_now, err);
            if (rc != XS_OK)
                return rc;
        }
    }
    return XS_OK;
}

static void finish_loads(struct xs_run *run)
{
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        if (!q->finished && xs__queue_is_finished(q, run->virtual_now))
            run->loads--;
    }
}

/* Do once what is due now. This may make more work due now (commands that cost nothing), so
 * callers repeat it while next_event() is not later. */
static void run_step(struct xs_run *run)
{
    struct xs_error err = {0};
    if (!run->started || run->stopping)
        return;
    run->device->ops->virtual_time->advance(run->device, run->virtual_now);
    bool completed;
    int rc = complete_and_submit(run, &completed, &err);
    if (rc == XS_OK) {
        finish_loads(run);
        if (update_busy(run, completed) || run->virtual_now >= run->policy_due)
            xs__schedule(run);
        rc = launch(run, &err);
    }
    if (rc != XS_OK)
        xs__run_fail(run, rc, &err);
}

static xs_ns next_event(struct xs_run *run)
{
    xs_ns next = run->device->ops->virtual_time->next_due(run->device);
    if (run->policy_due < next)
        next = run->policy_due;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        xs_ns due = run->queues[i]->finished ? XS_NEVER : xs__queue_next_event(run->queues[i]);
        if (due < next)
            next = due;
    }
    return next;
}

/* Wait until the device has completed all launched commands. The clock of the device moves,
 * the time of the run does not. */
static int drain(struct xs_run *run, struct xs_queue *q, struct xs_error *err)
{
    const struct xs_virtual_time_ops *time = run->device->ops->virtual_time;
    uint64_t left;
    int rc = xs__queue_drain(q, &left, err);
    while (rc == XS_OK && left > 0) {
        time->advance(run->device, time->next_due(run->device));
        rc = xs__queue_drain(q, &left, err);
    }
    return rc;
}

static void end_loads(struct xs_run *run)
{
    struct xs_error err = {0};
    int rc = XS_OK;
    for (uint32_t i = 0; i < run->queue_count; i++)
        if (run->queues[i]->load.spec.kind != XS_LOAD_MANUAL && !run->queues[i]->finished) {
            xs__queue_end(run->queues[i]);
            run->queues[i]->busy = false;
        }
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK && !run->stopping; i++)
        if (run->queues[i]->load.spec.kind != XS_LOAD_MANUAL)
            rc = drain(run, run->queues[i], &err);
    run->loads = 0;
    if (rc != XS_OK)
        xs__run_fail(run, rc, &err);
}

/* Reading the clock at each step would cost more than the step. */
static bool slice_is_over(uint32_t steps, xs_ns deadline)
{
    return steps % 64 == 63 && xs__clock_ns() >= deadline;
}

static void set_time(struct xs_run *run, xs_ns at)
{
    if (at > run->virtual_now) /* time never goes back */
        run->virtual_now = at;
}

static int sim_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err)
{
    xs_ns deadline = xs__later(xs__clock_ns(), timeout_ns < 0 ? 0 : timeout_ns);
    int rc = XS_EAGAIN;
    pthread_mutex_lock(&run->lock);
    for (uint32_t steps = 0; run->started || run->stopping; steps++) {
        run_step(run);
        xs_ns next = next_event(run);
        if (run->loads > 0 && next > run->hard_end) { /* or no event is left */
            set_time(run, run->hard_end);
            end_loads(run);
        }
        if (run->stopping && run->loads > 0)
            end_loads(run);
        if (run->loads == 0) {
            rc = xs__run_status(run, err);
            break;
        }
        if (next == XS_NEVER || run->stop_wanted || slice_is_over(steps, deadline))
            break;
        set_time(run, next);
    }
    pthread_mutex_unlock(&run->lock);
    return rc;
}

/* Do what happens until `until`. Stop early once *count > enough, or after XS_SLICE_NS of
 * wall time. */
static void run_until(struct xs_run *run, xs_ns until, const _Atomic uint64_t *count,
                      uint64_t enough)
{
    xs_ns deadline = xs__clock_ns() + XS_SLICE_NS;
    for (uint32_t steps = 0; run->started; steps++) {
        run_step(run);
        if (run->stopping || run->stop_wanted || (count != NULL && *count > enough))
            return;
        xs_ns next = next_event(run);
        if (next > until) {
            set_time(run, until);
            return;
        }
        if (slice_is_over(steps, deadline))
            return;
        set_time(run, next);
    }
}

static void sim_settle(struct xs_run *run)
{
    run_until(run, run->virtual_now, NULL, 0);
}

static int sim_await(struct xs_queue *q, uint64_t ticket, int64_t timeout_ns, struct xs_error *err)
{
    struct xs_run *run = q->run;
    run_until(run, xs__later(run->virtual_now, timeout_ns), &q->requests_completed, ticket);
    int rc = xs__run_status(run, err);
    if (rc != XS_OK || q->requests_completed > ticket)
        return rc;
    if (run->stopping)
        return xs__fail(err, XS_ECANCELED, "queue.wait", 0, "the run was stopped");
    return XS_EAGAIN;
}

static int sim_advance(struct xs_run *run, int64_t duration_ns, struct xs_error *err)
{
    xs_ns until = xs__later(run->virtual_now, duration_ns);
    run_until(run, until, NULL, 0);
    int rc = xs__run_status(run, err);
    return rc == XS_OK && run->virtual_now < until && !run->stopping ? XS_EAGAIN : rc;
}

static int sim_start(struct xs_run *run, struct xs_error *err)
{
    (void)run;
    (void)err;
    return XS_OK;
}

static int sim_join(struct xs_queue *q, struct xs_error *err)
{
    (void)q;
    (void)err;
    return XS_OK;
}

static void sim_leave(struct xs_queue *q)
{
    pthread_mutex_lock(&q->run->lock);
    if (q->enlisted && q->load.spec.kind != XS_LOAD_MANUAL && !q->finished) {
        xs__queue_end(q);
        q->run->loads--;
    }
    pthread_mutex_unlock(&q->run->lock);
}

static void sim_wake(struct xs_queue *q)
{
    (void)q; /* the thread that moves time checks every queue */
}

const struct xs_engine_ops xs_engine_sim = {
    .start = sim_start,
    .wait = sim_wait,
    .now = sim_now,
    .join = sim_join,
    .leave = sim_leave,
    .wake = sim_wake,
    .await = sim_await,
    .settle = sim_settle,
    .advance = sim_advance,
};
