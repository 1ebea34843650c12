/* engine_threads.c - the engine in real time: one thread a queue. The thread waits for the
 * arrivals of its queue, launches the commands itself and polls the marks, so no request is
 * passed between threads.
 *
 * Lock rule: a thread takes run->lock when its queue becomes busy or idle, to signal
 * completions of submitted requests, and while it sleeps; it never holds the lock during a
 * device call. An arrival on a queue of higher priority reaches the other threads through
 * their atomic `suspended` flag, which each reads before every launch. Time 0 is run->epoch
 * on the clock. */
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "runtime/run.h"

/* Lets all threads wait for their first arrival before time 0. */
#define START_LEAD_NS INT64_C(2000000)
/* A start may be this far ahead. A later time comes from another clock. */
#define START_AHEAD_MAX_NS INT64_C(60000000000)
/* How long nothing may complete after the drain, in addition to what the commands take on a
 * machine that is many times slower than alone. Then they hang, as far as can be known. */
#define DRAIN_TIMEOUT_NS INT64_C(10000000000)
#define DRAIN_SLOWNESS 8
#define DRAIN_EXTRA_MAX_NS INT64_C(600000000000)
/* Time between two polls with XS_WAIT_SLEEP. */
#define POLL_SLEEP_NS INT64_C(50000)

static xs_ns threads_now(const struct xs_run *run)
{
    return xs__clock_ns() - run->epoch;
}

static bool should_leave(struct xs_queue *q)
{
    return q->run->stopping || q->leaving;
}

static xs_ns earlier(xs_ns a, xs_ns b)
{
    return a < b ? a : b;
}

/* Return until when to block if the next arrival is at `due`: short enough to see a stop and
 * to spin at the end. The result is a clock time. Not later than now: spin. */
static xs_ns block_until(const struct xs_queue *q, xs_ns due, xs_ns now)
{
    if (q->load.spec.kind != XS_LOAD_MANUAL)
        due = earlier(due, q->run->hard_end);
    xs_ns until = earlier(due - XS_SPIN_NS, now + XS_SLICE_NS);
    return q->run->epoch + (q->busy ? earlier(until, q->run->policy_due) : until);
}

/* The same while the thread blocks in the device, where it sees neither a submit nor a
 * resume, nor that another queue releases a request: shorter if one of them could let the
 * queue launch. */
static xs_ns block_in_device_until(const struct xs_queue *q, xs_ns due, xs_ns now)
{
    bool could_launch =
        q->load.spec.kind == XS_LOAD_MANUAL || q->xq.suspended || q->load.released != UINT64_MAX;
    xs_ns until = block_until(q, due, now);
    return could_launch ? earlier(until, q->run->epoch + now + XS_SPIN_NS) : until;
}

/* Return whether the user submitted a request that may start. */
static bool has_pushed(struct xs_queue *q)
{
    return q->load.spec.kind == XS_LOAD_MANUAL && xs__queue_startable(q) != q->load.submitted;
}

/* Wait until `due`, a resume, a submit or a release: before that, there is nothing to launch. */
static void wait_idle(struct xs_queue *q, xs_ns due, xs_ns now)
{
    struct xs_run *run = q->run;
    xs_ns until = block_until(q, due, now);
    if (until <= run->epoch + now) {
        xs__clock_relax();
        return;
    }
    bool waits = q->load.released != UINT64_MAX; /* for requests of another queue */
    if (q->load.spec.kind == XS_LOAD_OPEN && !waits && !xs_xqueue_busy(&q->xq)) {
        xs__clock_sleep_until(until); /* only the next arrival can end this wait */
        return;
    }
    pthread_mutex_lock(&run->lock);
    bool released = q->released != q->load.released;
    bool pushed = has_pushed(q) || xs__background_due(q) <= now;
    bool resumed = xs_xqueue_busy(&q->xq) && !q->suspended;
    if (!released && !pushed && !resumed && !should_leave(q))
        xs__cond_wait_until(&q->wake, &run->lock, until);
    pthread_mutex_unlock(&run->lock);
}

/* Wait between two polls of a device. A thread that waits for long releases its processor;
 * otherwise, with more threads than processors, threads would delay each other. `now` and
 * `until` are clock times. */
static void poll_backoff(const struct xs_queue *q, xs_ns now, xs_ns until)
{
    bool is_long = now - q->waiting_since >= XS_SPIN_NS && until > now;
    if (!is_long || q->run->waiting == XS_WAIT_SPIN)
        xs__clock_relax();
    else if (q->run->waiting == XS_WAIT_SLEEP)
        xs__clock_sleep_until(earlier(until, now + POLL_SLEEP_NS));
    else
        xs__clock_yield();
}

/* Wait for the oldest mark: commands are in flight, and nothing can be launched. `until` is a
 * clock time. */
static int wait_for_mark(struct xs_queue *q, xs_ns until, struct xs_error *err)
{
    const struct xs_device_ops *ops = q->device->ops;
    uint32_t slot;
    xs_ns now = xs__clock_ns();
    if (ops->wait == NULL || until <= now || !xs_xqueue_oldest_mark(&q->xq, &slot)) {
        poll_backoff(q, now, until);
        return XS_OK;
    }
    int rc = ops->wait(q->stream, slot, until, err);
    return rc == XS_EAGAIN ? XS_OK : rc;
}

/* Update `busy`. Call the policy if the queue became busy or idle, if a request `completed`
 * and the policy wants to know, or if its next call is due. */
static void update_busy(struct xs_queue *q, bool completed, xs_ns now)
{
    struct xs_run *run = q->run;
    bool busy = xs_xqueue_busy(&q->xq);
    bool policy_wanted = (completed && run->policy->per_request) || now >= run->policy_due;
    if (busy == q->busy && !policy_wanted)
        return;
    pthread_mutex_lock(&run->lock);
    busy = busy || has_pushed(q);
    if (busy != q->busy)
        xs__queue_set_busy(q, busy);
    else if ((completed && run->policy->per_request) || now >= run->policy_due)
        xs__schedule(run); /* unless another thread called it meanwhile */
    pthread_mutex_unlock(&run->lock);
}

static void release_dependents(struct xs_queue *q)
{
    pthread_mutex_lock(&q->run->lock);
    xs__release_dependents(q);
    pthread_mutex_unlock(&q->run->lock);
}

static void signal_completion(struct xs_run *run)
{
    pthread_mutex_lock(&run->lock);
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

/* Apply the planned changes of priority and suspension that are due. */
static int apply_changes(struct xs_queue *q, xs_ns now, struct xs_error *err)
{
    const struct xs_change *due;
    int rc = XS_OK;
    while (rc == XS_OK && (due = xs__queue_change_due(q, now)) != NULL) {
        pthread_mutex_lock(&q->run->lock);
        xs__queue_change(q, due);
        pthread_mutex_unlock(&q->run->lock);
        rc = xs__queue_change_scheduler(q, due, err);
    }
    return rc;
}

/* Launch a command. It may take time, also where the thread only submits it to a scheduler of the
 * device's own, whose thread then takes that time. */
static int launch(struct xs_queue *q, xs_ns now, struct xs_error *err)
{
    if (q->launch_ns > 0 && q->device->ops->scheduler == NULL) {
        xs__clock_sleep_until(xs__later(xs__clock_ns(), q->launch_ns));
        now = threads_now(q->run);
    }
    return xs__queue_launch(q, now, err);
}

/* Do one step of the queue's thread. *over: the thread has nothing more to do. */
static int queue_step(struct xs_queue *q, bool *over, struct xs_error *err)
{
    struct xs_run *run = q->run;
    bool moved;
    int rc = xs__queue_poll(q, &moved, err);
    xs_ns now = threads_now(run);
    if (rc == XS_OK)
        rc = apply_changes(q, now, err);
    if (rc == XS_OK)
        rc = xs__queue_submit_due(q, now, err);
    if (rc != XS_OK)
        return rc;
    if (moved && q->awaited)
        release_dependents(q);
    update_busy(q, moved, now);
    if (moved && q->load.spec.kind == XS_LOAD_MANUAL)
        signal_completion(run);
    bool has_load = q->load.spec.kind != XS_LOAD_MANUAL;
    *over = has_load && (now >= run->hard_end || xs__queue_is_finished(q, now));
    if (*over)
        return XS_OK;
    q->launching = true; /* before `suspended` is read; see hold() in queue_change.c */
    now = threads_now(run);
    enum xs_step step = xs__queue_next_step(q, now);
    if (step == XS_STEP_LAUNCH)
        rc = launch(q, now, err);
    if (step == XS_STEP_LAUNCH || moved)
        q->waiting_since = run->epoch + now;
    q->launching = false;
    switch (step) {
    case XS_STEP_LAUNCH:
        return rc;
    case XS_STEP_WAIT:
        return wait_for_mark(q, block_in_device_until(q, xs__queue_next_event(q), now), err);
    default:
        wait_idle(q, xs__queue_due(q), now);
        return XS_OK;
    }
}

static void wait_for_start(struct xs_queue *q)
{
    pthread_mutex_lock(&q->run->lock);
    while (!(q->run->started && q->enlisted) && !should_leave(q))
        xs__cond_wait_until(&q->run->changed, &q->run->lock, xs__clock_ns() + XS_SLICE_NS);
    pthread_mutex_unlock(&q->run->lock);
}

/* What was launched on a device and has not completed. */
struct backlog {
    uint64_t commands;
    xs_ns alone; /* time of those whose time is known, without other load */
};

/* Return that of all queues of the run on q's device: q waits for the others, too. */
static struct backlog backlog_of(struct xs_queue *q)
{
    struct backlog sum = {0};
    pthread_mutex_lock(&q->run->lock);
    for (uint32_t i = 0; i < q->run->queue_count; i++) {
        const struct xs_queue *other = q->run->queues[i];
        uint64_t completed = other->completed, launched = other->launched;
        if (other->device != q->device || launched <= completed)
            continue;
        sum.commands += launched - completed;
        sum.alone += earlier(other->command_ns, DRAIN_EXTRA_MAX_NS) * (xs_ns)(launched - completed);
    }
    pthread_mutex_unlock(&q->run->lock);
    return sum;
}

static xs_ns drain_limit(struct backlog backlog)
{
    return DRAIN_TIMEOUT_NS + earlier(DRAIN_SLOWNESS * backlog.alone, DRAIN_EXTRA_MAX_NS);
}

/* Mark the device as lost, and report why its commands do not complete. A scheduler between
 * the runner and the device may hold them back. */
static int abandon_device(struct xs_queue *q, uint64_t left, struct backlog backlog,
                          struct xs_error *err)
{
    struct xs_scheduler_counts counts = {0};
    char why[160];
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    q->device->lost = true;
    int chars = snprintf(why, sizeof why, "either the device does not answer, or it is very slow");
    if (backlog.alone > 0)
        snprintf(why + chars, sizeof why - (size_t)chars,
                 ": alone, all that was launched on it takes %.3g s", (double)backlog.alone / 1e9);
    if (scheduler != NULL && scheduler->count(q->stream, &counts, NULL) == XS_OK &&
        counts.launched < counts.submitted)
        snprintf(why, sizeof why, "XSched got %llu commands and launched %llu",
                 (unsigned long long)counts.submitted, (unsigned long long)counts.launched);
    return xs__fail(
        err, XS_EDEVICE, "queue.drain", 0,
        "queue '%s': %llu commands did not complete within %d s after the end of the run: %s",
        q->name, (unsigned long long)left,
        (int)((threads_now(q->run) - q->run->hard_end) / 1000000000), why);
}

/* Wait until the device has completed all launched commands, unless the run was stopped. */
static int drain(struct xs_queue *q, struct xs_error *err)
{
    uint64_t left, before = UINT64_MAX;
    struct backlog backlog;
    xs_ns end = XS_NEVER;
    int rc = xs__queue_drain(q, &left, err);
    while (rc == XS_OK && left > 0 && !should_leave(q)) {
        xs_ns now = threads_now(q->run);
        backlog = backlog_of(q);
        if (backlog.commands < before) /* something completed: it is slow, and not lost */
            end = xs__later(now < q->run->hard_end ? q->run->hard_end : now, drain_limit(backlog));
        before = backlog.commands;
        if (now > end)
            return abandon_device(q, left, backlog, err);
        rc = wait_for_mark(q, xs__clock_ns() + XS_SLICE_NS, err);
        if (rc == XS_OK)
            rc = xs__queue_drain(q, &left, err);
    }
    return rc;
}

static void *queue_main(void *argument)
{
    struct xs_queue *q = argument;
    struct xs_run *run = q->run;
    struct xs_error err = {0};
    bool over = false;
    q->thread_id = syscall(SYS_gettid);
    xs__thread_rename(XS_QUEUE_THREAD);
    xs__clock_precise_thread();
    int rc = q->device->ops->bind_thread(q->device, &err);
    wait_for_start(q);
    while (rc == XS_OK && !over && !should_leave(q))
        rc = queue_step(q, &over, &err);
    pthread_mutex_lock(&run->lock);
    bool counted = q->enlisted && q->load.spec.kind != XS_LOAD_MANUAL;
    pthread_mutex_unlock(&run->lock);
    if (counted)
        xs__queue_end(q);
    if (rc == XS_OK)
        rc = drain(q, &err);
    pthread_mutex_lock(&run->lock);
    if (rc != XS_OK)
        xs__run_fail(run, rc, &err);
    run->loads -= counted;
    xs__queue_set_busy(q, false); /* a queue that left holds no other queue back */
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

static int threads_start(struct xs_run *run, struct xs_error *err)
{
    xs_ns now = xs__clock_ns(), ahead = run->start_clock - now;
    if (run->start_clock != 0 && (ahead < 0 || ahead > START_AHEAD_MAX_NS))
        return xs__fail(err, XS_EINVAL, "run.start", 0,
                        "the run was to start at %lld ns of the monotonic clock, and the clock "
                        "reads %lld ns; a start must be in the future, by at most 60 s",
                        (long long)run->start_clock, (long long)now);
    run->epoch =
        run->start_clock != 0 ? run->start_clock : now + (run->loads > 0 ? START_LEAD_NS : 0);
    return xs__heart_start(&run->heart, &run->heartbeat, run->epoch + run->window_start, err);
}

static int threads_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err)
{
    xs_ns deadline = xs__later(xs__clock_ns(), timeout_ns < 0 ? 0 : timeout_ns);
    pthread_mutex_lock(&run->lock);
    while (run->loads > 0 && xs__clock_ns() < deadline)
        xs__cond_wait_until(&run->changed, &run->lock, deadline);
    if (run->loads == 0)
        xs__heart_stop(&run->heart);
    int rc = run->loads > 0 ? XS_EAGAIN : xs__run_status(run, err);
    pthread_mutex_unlock(&run->lock);
    return rc;
}

static int threads_join(struct xs_queue *q, struct xs_error *err)
{
    int rc = pthread_create(&q->thread, NULL, queue_main, q);
    if (rc != 0)
        return xs__fail(err, XS_ENOMEM, "queue.add", rc,
                        "queue '%s': the system created no thread: error %d", q->name, rc);
    return XS_OK;
}

static void threads_leave(struct xs_queue *q)
{
    pthread_mutex_lock(&q->run->lock);
    q->leaving = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->run->lock);
    pthread_join(q->thread, NULL);
}

static void threads_wake(struct xs_queue *q)
{
    pthread_cond_signal(&q->wake);
}

static int threads_await(struct xs_queue *q, uint64_t ticket, int64_t timeout_ns,
                         struct xs_error *err)
{
    struct xs_run *run = q->run;
    xs_ns deadline = xs__later(xs__clock_ns(), timeout_ns);
    int rc;
    while ((rc = xs__run_status(run, err)) == XS_OK && q->requests_completed <= ticket) {
        if (run->stopping)
            return xs__fail(err, XS_ECANCELED, "queue.wait", 0, "the run was stopped");
        if (xs__clock_ns() >= deadline)
            return XS_EAGAIN;
        xs__cond_wait_until(&run->changed, &run->lock, deadline);
    }
    return rc;
}

const struct xs_engine_ops xs_engine_threads = {
    .start = threads_start,
    .wait = threads_wait,
    .now = threads_now,
    .join = threads_join,
    .leave = threads_leave,
    .wake = threads_wake,
    .await = threads_await,
};
