/* queue.c - the steps of a queue, where its load, its XQueue and its stream meet. No step
 * blocks. The engines call them, one thread a queue at a time. */
#include "runtime/run.h"

static const struct xs_device_ops *ops_of(const struct xs_queue *q)
{
    return q->device->ops;
}

static xs_ns load_due(struct xs_queue *q)
{
    q->load.pushed = q->pushed;
    q->load.released = q->released;
    return xs_load_due(&q->load);
}

xs_ns xs__queue_due(struct xs_queue *q)
{
    xs_ns due = load_due(q), background = xs__background_due(q);
    due = background < due ? background : due;
    if (q->changed < q->change_count && q->changes[q->changed].at_ns < due)
        due = q->changes[q->changed].at_ns;
    return due;
}

/* Closed loops continue until the last open-loop request is complete, so that it is measured
 * under contention, too. */
static void close_loop(struct xs_queue *q, xs_ns now)
{
    if (q->load.spec.kind == XS_LOAD_CLOSED && now >= q->run->window_end && q->run->open_loads == 0)
        q->load.closing = true;
}

static void publish_oldest(struct xs_queue *q)
{
    if (q->load.completed < q->load.submitted)
        q->oldest = xs_load_sample(&q->load, q->load.completed)->scheduled_ns;
}

int xs__queue_submit_due(struct xs_queue *q, xs_ns now, struct xs_error *err)
{
    close_loop(q, now);
    xs__background_submit(q, now);
    while (load_due(q) <= now) {
        if (!xs_load_has_room(&q->load))
            return xs__fail(err, XS_EINVAL, "queue.submit", 0,
                            "queue '%s' made more than %llu requests; use longer commands, a think "
                            "time or a shorter duration",
                            q->name, (unsigned long long)q->load.spec.sample_cap);
        /* `now` may be before the end of the request that this one waited for. */
        bool waits = q->load.released != UINT64_MAX;
        uint32_t commands = xs_load_submit(&q->load, waits ? q->run->engine->now(q->run) : now);
        xs_xqueue_submit(&q->xq, commands);
        if (q->load.spec.kind != XS_LOAD_MANUAL) { /* else counted when submitted */
            q->submitted += commands;
            q->requests_submitted++;
        }
        publish_oldest(q);
    }
    return XS_OK;
}

enum xs_step xs__queue_next_step(struct xs_queue *q, xs_ns now)
{
    q->xq.suspended = q->suspended;
    q->xq.full = xs_pace_due(&q->pace) > now;
    return xs_xqueue_next_step(&q->xq);
}

xs_ns xs__queue_next_event(struct xs_queue *q)
{
    xs_ns due = xs__queue_due(q), launch = xs_pace_due(&q->pace);
    bool waits = q->xq.full && !q->xq.suspended && q->xq.launched < q->xq.submitted;
    return waits && launch < due ? launch : due;
}

int xs__queue_launch(struct xs_queue *q, xs_ns now, struct xs_error *err)
{
    uint64_t request;
    uint32_t index, slot;
    xs_load_next(&q->load, &request, &index);
    const struct xs_prepared_request *prepared =
        q->request != NULL ? q->request : q->pending[request % XS_PENDING_MAX];
    struct xs_prepared_command *command = prepared->commands[index];
    int rc = ops_of(q)->launch(q->stream, command->kernel, (uint32_t)command->launches, err);
    if (rc != XS_OK) {
        q->failed++;
        return rc;
    }
    command->launches++;
    bool paced = xs_pace_launch(&q->pace, &command->cost, now);
    bool marked = xs_xqueue_launch(&q->xq, paced || xs_load_next_is_end(&q->load), &slot);
    xs_load_launch(&q->load, now);
    xs__record_launch(q, request, index, now);
    q->launched = q->xq.launched;
    if (q->xq.launched - q->xq.completed > q->most_in_flight)
        q->most_in_flight = q->xq.launched - q->xq.completed;
    if (!marked)
        return XS_OK;
    xs_pace_mark(&q->pace);
    return ops_of(q)->mark(q->stream, slot, err);
}

/* The device's own scheduler launched the commands later than the runner submitted them to
 * it. Write its times into the samples of the requests that begin with a command that just
 * completed. */
static void stamp_launches(struct xs_queue *q, uint64_t completed)
{
    uint64_t first = q->load.completed_commands;
    for (uint64_t r = q->load.completed; first < completed; r++) {
        if (first >= q->xq.completed)
            xs_load_sample(&q->load, r)->launched_ns =
                ops_of(q)->scheduler->launched_at(q->stream, first) - q->run->epoch;
        first += xs_load_size(&q->load, r);
    }
}

/* The runner assumes that a device works on one command after another. So the time since the
 * last completion that it saw on the device, or since the launch if that was later, counts as
 * used by these commands. */
static void charge(struct xs_queue *q, xs_ns now)
{
    xs_ns launched = q->run->epoch + xs_pace_oldest(&q->pace);
    now += q->run->epoch;
    xs_ns since = atomic_exchange(&q->device->completed_at, now);
    since = launched > since ? launched : since;
    q->used += now > since ? now - since : 0;
}

/* Take over a new threshold and batch size, if the user set them. Return whether there were
 * any. */
static bool apply_depth(struct xs_queue *q)
{
    uint64_t depth = atomic_exchange(&q->depth, 0);
    if (depth == 0)
        return false;
    xs_xqueue_configure(&q->xq, (uint32_t)(depth >> 32), (uint32_t)depth);
    return true;
}

int xs__queue_poll(struct xs_queue *q, bool *moved, struct xs_error *err)
{
    uint32_t slot;
    *moved = false;
    /* Set a mark after the last command of a turn. Otherwise the time of the command would be
     * seen only in the next turn, together with the time of other queues. Also set one after
     * the commands in flight when the batch size changes: a smaller threshold may be full of
     * commands that no mark covers. */
    bool changed = apply_depth(q);
    if ((q->suspended || changed) && xs_xqueue_flush(&q->xq, &slot)) {
        xs_pace_mark(&q->pace);
        int rc = ops_of(q)->mark(q->stream, slot, err);
        if (rc != XS_OK)
            return rc;
    }
    while (xs_xqueue_oldest_mark(&q->xq, &slot)) {
        int rc = ops_of(q)->passed(q->stream, slot, err);
        if (rc != XS_OK)
            return rc == XS_EAGAIN ? XS_OK : rc;
        /* The sample gets its time here, right after the poll that saw the mark passed. */
        xs_ns now = q->run->engine->now(q->run);
        if (ops_of(q)->scheduler != NULL)
            stamp_launches(q, xs_xqueue_next_completed(&q->xq));
        charge(q, now);
        uint64_t before = q->xq.completed;
        xs_load_complete(&q->load, xs_xqueue_pass_mark(&q->xq), now);
        xs__record_complete(q, before, q->xq.completed, now);
        xs_pace_complete(&q->pace, q->xq.completed, now);
        q->completed = q->xq.completed;
        q->requests_completed = q->load.completed;
        q->longest_stall = q->load.longest_stall;
        publish_oldest(q);
        *moved = true;
    }
    return XS_OK;
}

bool xs__queue_is_finished(struct xs_queue *q, xs_ns now)
{
    close_loop(q, now);
    if (!q->finished && xs_load_exhausted(&q->load) && !xs_xqueue_busy(&q->xq)) {
        q->finished = true;
        if (q->load.spec.kind == XS_LOAD_OPEN)
            q->run->open_loads--;
    }
    return q->finished;
}

void xs__queue_end(struct xs_queue *q)
{
    if (!q->finished && q->load.spec.kind == XS_LOAD_OPEN)
        q->run->open_loads--;
    q->finished = true;
    xs_load_censor(&q->load, q->run->engine->now(q->run));
    q->longest_stall = q->load.longest_stall;
}

/* The requests stay censored; only their commands are counted. */
int xs__queue_drain(struct xs_queue *q, uint64_t *left, struct xs_error *err)
{
    uint32_t slot;
    int rc = XS_OK;
    if (xs_xqueue_flush(&q->xq, &slot))
        rc = ops_of(q)->mark(q->stream, slot, err);
    while (rc == XS_OK && xs_xqueue_oldest_mark(&q->xq, &slot)) {
        rc = ops_of(q)->passed(q->stream, slot, err);
        uint64_t before = q->xq.completed;
        if (rc == XS_OK)
            q->completed = xs_xqueue_pass_mark(&q->xq);
        xs__record_complete(q, before, q->xq.completed, -1);
    }
    *left = q->xq.launched - q->xq.completed;
    return rc == XS_EAGAIN ? XS_OK : rc;
}
