/* queue_api.c - the calls on queues: add, submit, wait, count, destroy. Calls that any thread
 * may make take the lock of the run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/run.h"

/* ---- add and destroy ---------------------------------------------------- */

static int check_load(const struct xs_queue_spec *spec, struct xs_error *err)
{
    const struct xs_load_spec *load = &spec->load;
    const char *where = "queue.add";
    switch (load->kind) {
    case XS_LOAD_MANUAL:
        return XS_OK;
    case XS_LOAD_CLOSED:
        if (load->concurrency < 1 || load->think_ns < 0)
            return xs__fail(err, XS_EINVAL, where, 0,
                            "queue '%s': %u clients with a think time of %lld ns; at least 1 "
                            "client and 0 ns are needed",
                            spec->name, load->concurrency, (long long)load->think_ns);
        return XS_OK;
    case XS_LOAD_OPEN:
        if (load->sample_cap < load->arrival_count)
            return xs__fail(
                err, XS_EINVAL, where, 0,
                "queue '%s': there is room for %llu samples, but there are %llu arrivals",
                spec->name, (unsigned long long)load->sample_cap,
                (unsigned long long)load->arrival_count);
        for (uint64_t i = 0; i < load->arrival_count; i++)
            if (load->arrivals_ns[i] < (i == 0 ? 0 : load->arrivals_ns[i - 1]))
                return xs__fail(
                    err, XS_EINVAL, where, 0,
                    "queue '%s': arrival %llu at %lld ns is before the previous one, or negative",
                    spec->name, (unsigned long long)i, (long long)load->arrivals_ns[i]);
        return XS_OK;
    default:
        return xs__fail(err, XS_EINVAL, where, 0, "queue '%s': there is no kind of load %d",
                        spec->name, load->kind);
    }
}

static int check_milestones(const struct xs_queue_spec *spec, struct xs_error *err)
{
    const struct xs_load_spec *load = &spec->load;
    if (load->milestone_count > 0 && load->kind == XS_LOAD_MANUAL)
        return xs__fail(err, XS_EINVAL, "queue.add", 0,
                        "queue '%s': a queue without a load has no milestones", spec->name);
    for (uint32_t i = 0; i < load->milestone_count; i++)
        if (load->milestones[i] <= (i == 0 ? 0 : load->milestones[i - 1]) ||
            load->milestones[i] > spec->command_count)
            return xs__fail(err, XS_EINVAL, "queue.add", 0,
                            "queue '%s': a milestone after command %u; they must ascend and be "
                            "among the %u commands of a request",
                            spec->name, load->milestones[i], spec->command_count);
    return XS_OK;
}

static int check_record(const struct xs_queue_spec *spec, struct xs_error *err)
{
    uint64_t cap = spec->record.command_cap;
    if (cap == 0 || (cap > XS_THRESHOLD_MAX && spec->load.kind != XS_LOAD_MANUAL))
        return XS_OK;
    return xs__fail(err, XS_EINVAL, "queue.add", 0,
                    "queue '%s': a record of %llu commands; it must have room for more than %d, "
                    "and a queue without a load has none",
                    spec->name, (unsigned long long)cap, XS_THRESHOLD_MAX);
}

static int check_launch(const struct xs_queue_spec *spec, struct xs_error *err)
{
    if (spec->launch_ns >= 0)
        return XS_OK;
    return xs__fail(err, XS_EINVAL, "queue.add", 0,
                    "queue '%s': a launch that takes %lld ns; 0 or more are needed", spec->name,
                    (long long)spec->launch_ns);
}

static int check_spec(const struct xs_queue_spec *spec, struct xs_error *err)
{
    bool automatic = spec->threshold == 0 && spec->batch_size == 0;
    int rc =
        automatic ? XS_OK : xs__check_depth(spec->name, spec->threshold, spec->batch_size, err);
    if (rc == XS_OK)
        rc = xs__check_priority(spec->name, spec->priority, err);
    if (rc == XS_OK)
        rc = xs__check_changes(spec, err);
    if (rc == XS_OK)
        rc = check_record(spec, err);
    if (rc == XS_OK)
        rc = check_launch(spec, err);
    if (rc == XS_OK)
        rc = check_milestones(spec, err);
    return rc == XS_OK ? check_load(spec, err) : rc;
}

/* Make the rings for requests that the user submits. */
static int make_rings(struct xs_queue *q, struct xs_load_spec *load, struct xs_error *err)
{
    q->pending = calloc(XS_PENDING_MAX, sizeof *q->pending);
    q->samples = calloc(XS_PENDING_MAX, sizeof *q->samples);
    q->sizes = calloc(XS_PENDING_MAX, sizeof *q->sizes);
    if (q->pending == NULL || q->samples == NULL || q->sizes == NULL)
        return xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for queue '%s'", q->name);
    load->samples = q->samples;
    load->sample_cap = XS_PENDING_MAX;
    return XS_OK;
}

/* The thread that moves virtual time iterates over the streams. */
static void lock_virtual_time(struct xs_run *run)
{
    if (run->engine->settle != NULL)
        pthread_mutex_lock(&run->lock);
}

static void unlock_virtual_time(struct xs_run *run)
{
    if (run->engine->settle != NULL)
        pthread_mutex_unlock(&run->lock);
}

static int make_stream(struct xs_queue *q, const struct xs_queue_spec *spec, struct xs_error *err)
{
    struct xs_device *dev = q->device;
    if (spec->unit_words == 0)
        return dev->ops->stream_create(dev, spec->stream_priority, &q->stream, err);
    if (dev->ops->stream_create_on == NULL)
        return xs__fail(err, XS_ENOTSUP, "queue.add", 0,
                        "queue '%s': the %s device cannot bind a queue to multiprocessors",
                        spec->name, dev->ops->kind);
    return dev->ops->stream_create_on(dev, spec->stream_priority, spec->units, spec->unit_words,
                                      &q->stream, err);
}

static int make_queue(struct xs_queue *q, const struct xs_queue_spec *spec, struct xs_error *err)
{
    const struct xs_device_ops *ops = q->device->ops;
    struct xs_load_spec load = spec->load;
    int rc = ops->bind_thread(q->device, err);
    if (rc == XS_OK) {
        lock_virtual_time(q->run);
        rc = make_stream(q, spec, err);
        unlock_virtual_time(q->run);
    }
    if (rc == XS_OK && ops->virtual_time != NULL)
        ops->virtual_time->slow_launches(q->stream, spec->launch_ns);
    if (rc == XS_OK && ops->scheduler != NULL)
        rc = ops->scheduler->configure(q->stream, spec, err);
    if (rc == XS_OK && load.kind == XS_LOAD_MANUAL)
        rc = make_rings(q, &load, err);
    if (rc == XS_OK && load.kind != XS_LOAD_MANUAL)
        rc = xs__request_prepare(q, spec->commands, spec->command_count, &q->request, err);
    if (rc == XS_OK) {
        q->pace.on = spec->threshold == 0;
        xs_xqueue_init(&q->xq, q->pace.on ? XS_THRESHOLD_MAX : spec->threshold,
                       q->pace.on ? XS_THRESHOLD_MAX : spec->batch_size);
        xs_load_init(&q->load, &load, q->request == NULL ? 0 : spec->command_count, q->sizes,
                     q->run->window_start, q->run->window_end);
    }
    return rc;
}

/* Lock held. */
static int enlist(struct xs_queue *q, struct xs_error *err)
{
    struct xs_run *run = q->run;
    bool manual = q->load.spec.kind == XS_LOAD_MANUAL;
    if (run->queue_count == XS_QUEUES_MAX)
        return xs__fail(err, XS_EINVAL, "queue.add", 0,
                        "queue '%s' is one queue too many: a run has at most %d", q->name,
                        XS_QUEUES_MAX);
    if (run->started && !manual)
        return xs__fail(err, XS_EINVAL, "queue.add", 0,
                        "queue '%s' has a load, so it must be added before the run starts",
                        q->name);
    q->enlisted = true;
    run->queues[run->queue_count++] = q;
    run->loads += !manual;
    run->open_loads += q->load.spec.kind == XS_LOAD_OPEN;
    xs__schedule(run);
    pthread_cond_broadcast(&run->changed);
    return XS_OK;
}

int xs_queue_add(struct xs_run *run, const struct xs_queue_spec *spec, struct xs_queue **out,
                 struct xs_error *err)
{
    *out = NULL;
    int rc = xs__device_check(run->device, "queue.add", err);
    if (rc == XS_OK)
        rc = check_spec(spec, err);
    if (rc == XS_OK)
        rc = xs__run_check_device(run, spec, err);
    if (rc != XS_OK)
        return rc;
    struct xs_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for queue '%s'", spec->name);
    q->run = run;
    q->released = UINT64_MAX;
    q->device = spec->device != NULL ? spec->device : run->device;
    q->seed = spec->seed;
    q->command_ns = spec->command_ns > 0 ? spec->command_ns : 0;
    q->launch_ns = spec->launch_ns;
    q->priority = spec->priority;
    q->record = spec->record;
    q->changes = spec->changes;
    q->change_count = spec->change_count;
    q->share = spec->hints.utilization > 0 ? (uint32_t)spec->hints.utilization : 100;
    q->deadline_ns = spec->hints.deadline_ns > 0 ? spec->hints.deadline_ns : XS_NEVER;
    snprintf(q->name, sizeof q->name, "%s", spec->name);
    pthread_mutex_init(&q->submit_lock, NULL);
    xs__cond_init(&q->wake);
    rc = make_queue(q, spec, err);
    if (rc == XS_OK)
        rc = run->engine->join(q, err);
    if (rc == XS_OK) {
        pthread_mutex_lock(&run->lock);
        rc = enlist(q, err);
        pthread_mutex_unlock(&run->lock);
        if (rc != XS_OK)
            run->engine->leave(q);
    }
    if (rc != XS_OK) {
        xs__queue_free(q);
        return rc;
    }
    *out = q;
    return XS_OK;
}

void xs__queue_free(struct xs_queue *q)
{
    if (!q->device->lost)
        q->device->ops->bind_thread(q->device, NULL);
    if (q->stream != NULL && !q->device->lost) {
        lock_virtual_time(q->run);
        q->device->ops->stream_destroy(q->stream);
        unlock_virtual_time(q->run);
    }
    xs__prepared_free(q);
    free(q->pending);
    free(q->samples);
    free(q->sizes);
    free(q->dependencies);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->submit_lock);
    free(q);
}

/* Lock held. */
static void delist(struct xs_queue *q)
{
    struct xs_run *run = q->run;
    uint32_t at = 0;
    while (run->queues[at] != q)
        at++;
    for (; at + 1 < run->queue_count; at++)
        run->queues[at] = run->queues[at + 1];
    run->queue_count--;
    if (q->awaited)
        xs__forget_source(q);
    xs__schedule(run);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
}

void xs_queue_destroy(struct xs_queue *q)
{
    if (q == NULL || xs__device_check(q->run->device, "queue.destroy", NULL) != XS_OK)
        return;
    q->run->engine->leave(q);
    pthread_mutex_lock(&q->run->lock);
    delist(q);
    pthread_mutex_unlock(&q->run->lock);
    xs__queue_free(q);
}

/* ---- calls on a queue ---------------------------------------------------- */

int64_t xs_queue_thread(struct xs_queue *q)
{
    return xs__device_check(q->device, "queue.thread", NULL) == XS_OK ? q->thread_id : 0;
}

const char *xs_queue_scheduler_call(struct xs_queue *q, uint64_t *launched)
{
    const struct xs_scheduler_ops *scheduler = q->device->ops->scheduler;
    *launched = q->launched;
    if (scheduler == NULL || xs__device_check(q->device, "queue.call", NULL) != XS_OK)
        return NULL;
    return scheduler->call(q->stream, launched);
}

int xs_queue_counts(struct xs_queue *q, struct xs_queue_counts *out, struct xs_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = xs__device_check(q->run->device, "queue.counts", err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&q->run->lock);
    do { /* its owner continues meanwhile, and the three values must be of one moment */
        out->completed = q->completed;
        out->launched = q->launched;
        out->submitted = q->submitted;
    } while (out->completed != q->completed);
    out->failed = q->failed;
    out->requests_completed = q->requests_completed;
    out->requests_submitted = q->requests_submitted;
    out->background_commands = q->background_commands;
    out->background_requests = q->background_requests;
    out->suspended = q->suspended_count;
    out->suspensions = q->suspensions;
    out->most_in_flight = q->most_in_flight;
    out->longest_stall_ns = q->longest_stall;
    out->priority = q->priority;
    bool waits =
        q->released <= out->requests_completed && out->requests_completed < out->requests_submitted;
    out->state = q->suspended ? XS_QUEUE_SUSPENDED
                 : q->busy    ? XS_QUEUE_READY
                 : waits      ? XS_QUEUE_WAITING
                              : XS_QUEUE_IDLE;
    pthread_mutex_unlock(&q->run->lock);
    return XS_OK;
}

int xs_queue_scheduler_counts(struct xs_queue *q, struct xs_scheduler_counts *out,
                              struct xs_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = xs__device_check(q->run->device, "queue.below", err);
    if (rc != XS_OK)
        return rc;
    if (q->device->ops->scheduler == NULL)
        return xs__fail(err, XS_ENOTSUP, "queue.below", 0,
                        "queue '%s': its device has no scheduler of its own, such as XSched",
                        q->name);
    return q->device->ops->scheduler->count(q->stream, out, err);
}

/* Lock held. */
void xs__queue_push(struct xs_queue *q, struct xs_prepared_request *request)
{
    uint64_t at = q->pushed % XS_PENDING_MAX;
    q->pending[at] = request;
    q->sizes[at] = request->count;
    xs_ns now = q->run->engine->now(q->run);
    q->samples[at] = (struct xs_sample){.scheduled_ns = now < 0 ? 0 : now,
                                        .submitted_ns = -1,
                                        .launched_ns = -1,
                                        .completed_ns = -1};
    if (q->requests_completed == q->pushed)
        q->oldest = q->samples[at].scheduled_ns;
    q->submitted += request->count;
    q->requests_submitted++;
    q->pushed++;
}

/* Lock held. */
static int push(struct xs_queue *q, struct xs_prepared_request *request, struct xs_queue *source,
                uint64_t source_ticket, uint64_t *ticket, struct xs_error *err)
{
    struct xs_run *run = q->run;
    int rc = xs__run_check_active(run, "queue.submit", err);
    if (rc != XS_OK)
        return rc;
    if (q->pushed - q->requests_completed >= XS_PENDING_MAX)
        return xs__fail(err, XS_EINVAL, "queue.submit", 0,
                        "queue '%s' has %d unfinished requests; wait for some of them", q->name,
                        XS_PENDING_MAX);
    rc = xs__queue_depend(q, source, source_ticket, err);
    if (rc != XS_OK)
        return rc;
    *ticket = q->pushed;
    xs__queue_push(q, request);
    if (q->released >= q->pushed)
        xs__queue_set_busy(q, true);
    run->engine->wake(q);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    return XS_OK;
}

int xs_queue_submit(struct xs_queue *q, const struct xs_command *commands, uint32_t count,
                    uint64_t *ticket, struct xs_error *err)
{
    return xs_queue_submit_after(q, commands, count, NULL, 0, ticket, err);
}

int xs_queue_submit_after(struct xs_queue *q, const struct xs_command *commands, uint32_t count,
                          struct xs_queue *source, uint64_t source_ticket, uint64_t *ticket,
                          struct xs_error *err)
{
    struct xs_prepared_request *request;
    *ticket = 0;
    int rc = xs__device_check(q->run->device, "queue.submit", err);
    if (rc == XS_OK && q->load.spec.kind != XS_LOAD_MANUAL)
        rc = xs__fail(err, XS_EINVAL, "queue.submit", 0,
                      "queue '%s' has a load, which makes its requests; only a queue without a "
                      "load takes submitted requests",
                      q->name);
    if (rc == XS_OK)
        rc = q->device->ops->bind_thread(q->device, err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&q->submit_lock);
    rc = xs__request_prepare(q, commands, count, &request, err);
    if (rc == XS_OK) {
        pthread_mutex_lock(&q->run->lock);
        rc = push(q, request, source, source_ticket, ticket, err);
        pthread_mutex_unlock(&q->run->lock);
    }
    pthread_mutex_unlock(&q->submit_lock);
    return rc;
}

int xs_queue_wait(struct xs_queue *q, uint64_t ticket, int64_t timeout_ns, struct xs_sample *out,
                  struct xs_error *err)
{
    if (out != NULL)
        memset(out, 0, sizeof *out);
    int rc = xs__device_check(q->run->device, "queue.wait", err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&q->run->lock);
    if (q->load.spec.kind != XS_LOAD_MANUAL || ticket >= q->pushed)
        rc = xs__fail(err, XS_EINVAL, "queue.wait", 0, "queue '%s' has no ticket %llu", q->name,
                      (unsigned long long)ticket);
    if (rc == XS_OK && q->requests_completed <= ticket)
        rc = q->run->engine->await(q, ticket, timeout_ns < 0 ? 0 : timeout_ns, err);
    if (rc == XS_OK && out != NULL) {
        if (q->pushed - ticket > XS_PENDING_MAX)
            rc = xs__fail(err, XS_EINVAL, "queue.wait", 0,
                          "queue '%s': later requests have overwritten the sample of ticket %llu",
                          q->name, (unsigned long long)ticket);
        else
            *out = q->samples[ticket % XS_PENDING_MAX];
    }
    pthread_mutex_unlock(&q->run->lock);
    return rc;
}
