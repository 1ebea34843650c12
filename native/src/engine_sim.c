/* engine_sim.c - the engine in virtual time: the same queues, XQueues, loads
 * and policies as engine_threads.c, moved by a loop instead of by threads.
 * Everything happens under run->lock, by the thread that waits or submits.
 *
 * At one instant: completions first, then arrivals, then the policy (once,
 * having seen both), then launches, queue by queue in order of creation. Ties
 * are thereby broken the same way in every run. */
#include "clock.h"
#include "run.h"

static xs_ns sim_now(const struct xs_run *run)
{
    return run->virtual_now;
}

static bool see_edges(struct xs_run *run)
{
    bool edge = false;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        bool busy = xs_xqueue_busy(&q->xq) || xs__queue_due(q) <= run->virtual_now;
        edge = edge || busy != q->busy;
        q->busy = busy;
    }
    return edge;
}

static int complete_and_submit(struct xs_run *run, struct xs_error *err)
{
    bool moved;
    int rc = XS_OK;
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK; i++)
        rc = xs__queue_poll(run->queues[i], &moved, err);
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK; i++)
        rc = xs__queue_submit_due(run->queues[i], run->virtual_now, err);
    return rc;
}

static int launch(struct xs_run *run, struct xs_error *err)
{
    for (uint32_t i = 0; i < run->queue_count; i++)
        while (xs__queue_step(run->queues[i]) == XS_STEP_LAUNCH) {
            int rc = xs__queue_launch(run->queues[i], run->virtual_now, err);
            if (rc != XS_OK)
                return rc;
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

/* One round of all that is due now. A round may make more due now (commands
 * that cost nothing), so callers go on while next_event() is not later. */
static void turn(struct xs_run *run)
{
    struct xs_error err = {0};
    if (!run->started || run->stopping)
        return;
    run->device->ops->advance(run->device, run->virtual_now);
    int rc = complete_and_submit(run, &err);
    if (rc == XS_OK) {
        finish_loads(run);
        if (see_edges(run))
            xs__schedule(run);
        rc = launch(run, &err);
    }
    if (rc != XS_OK)
        xs__run_fail(run, &err);
}

static xs_ns next_event(struct xs_run *run)
{
    xs_ns next = run->device->ops->next_due(run->device);
    for (uint32_t i = 0; i < run->queue_count; i++) {
        xs_ns due = xs__queue_due(run->queues[i]);
        if (due < next)
            next = due;
    }
    return next;
}

static void sim_settle(struct xs_run *run)
{
    do
        turn(run);
    while (!run->stopping && run->started && next_event(run) <= run->virtual_now);
}

/* Until the device is done with what was launched; its clock goes on, the run's does not. */
static int drain(struct xs_run *run, struct xs_queue *q, struct xs_error *err)
{
    const struct xs_device_ops *ops = run->device->ops;
    uint64_t left;
    int rc = xs__queue_drain(q, &left, err);
    while (rc == XS_OK && left > 0) {
        ops->advance(run->device, ops->next_due(run->device));
        rc = xs__queue_drain(q, &left, err);
    }
    return rc;
}

static void end_loads(struct xs_run *run)
{
    struct xs_error err = {0};
    int rc = XS_OK;
    for (uint32_t i = 0; i < run->queue_count; i++)
        if (run->queues[i]->load.spec.kind != XS_LOAD_MANUAL)
            xs__queue_end(run->queues[i]);
    for (uint32_t i = 0; i < run->queue_count && rc == XS_OK && !run->stopping; i++)
        if (run->queues[i]->load.spec.kind != XS_LOAD_MANUAL)
            rc = drain(run, run->queues[i], &err);
    run->loads = 0;
    if (rc != XS_OK)
        xs__run_fail(run, &err);
}

static int sim_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err)
{
    xs_ns deadline = xs__clock_ns() + timeout_ns;
    int rc = XS_EAGAIN;
    pthread_mutex_lock(&run->lock);
    for (uint32_t turns = 0; rc == XS_EAGAIN; turns++) {
        turn(run);
        xs_ns next = next_event(run);
        bool over = next > run->hard_end; /* also if nothing is left to happen */
        if (over)
            run->virtual_now = run->hard_end;
        if (over || run->stopping || run->loads == 0) {
            end_loads(run);
            rc = xs__run_status(run, err);
            break;
        }
        /* Reading the clock each turn would cost more than the turn. */
        if (next == XS_NEVER || (turns % 1024 == 1023 && xs__clock_ns() >= deadline))
            break;
        if (next > run->virtual_now)
            run->virtual_now = next;
    }
    pthread_mutex_unlock(&run->lock);
    return rc;
}

/* Move to `until` at the latest, and stop early once *count > enough. */
static void move(struct xs_run *run, xs_ns until, const _Atomic uint64_t *count, uint64_t enough)
{
    for (;;) {
        turn(run);
        if (run->stopping || (count != NULL && *count > enough))
            return;
        xs_ns next = next_event(run);
        if (next > until) {
            run->virtual_now = until;
            return;
        }
        if (next > run->virtual_now)
            run->virtual_now = next;
    }
}

static xs_ns later(const struct xs_run *run, int64_t duration_ns)
{
    return duration_ns > INT64_MAX / 4 ? run->virtual_now : run->virtual_now + duration_ns;
}

static int sim_await(struct xs_queue *q, uint64_t ticket, int64_t timeout_ns, struct xs_error *err)
{
    move(q->run, later(q->run, timeout_ns), &q->requests_completed, ticket);
    int rc = xs__run_status(q->run, err);
    return rc == XS_OK && q->requests_completed <= ticket ? XS_EAGAIN : rc;
}

static int sim_advance(struct xs_run *run, int64_t duration_ns, struct xs_error *err)
{
    move(run, later(run, duration_ns), NULL, 0);
    return xs__run_status(run, err);
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
    (void)q;
}

static void sim_wake(struct xs_queue *q)
{
    (void)q; /* whoever moves time looks at every queue */
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
