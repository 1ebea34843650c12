/* background.c - a load in the background of a live queue: the owner of the queue submits its
 * requests, between those that the user submits. */
#include "runtime/run.h"

xs_ns xs__background_due(const struct xs_queue *q)
{
    if (q->pushed - q->requests_completed >= q->background_most)
        return XS_NEVER;
    return q->background_due;
}

/* Lock held. The owner asked without the lock whether a request is due, so this asks again. */
static void submit_due(struct xs_queue *q, xs_ns now)
{
    while (xs__background_due(q) <= now && !q->run->stopping) {
        xs__queue_depend(q, NULL, 0, NULL); /* it waits for no request of another queue */
        xs__queue_push(q, q->background);
        q->background_requests++;
        q->background_commands += q->background->count;
        /* No arrival is left out: one without room waits, and what is late is made up for. */
        q->background_due = xs__later(q->background_due, q->background_every);
    }
}

void xs__background_submit(struct xs_queue *q, xs_ns now)
{
    if (xs__background_due(q) > now)
        return;
    bool is_virtual = q->run->engine->settle != NULL; /* then the lock is held */
    if (!is_virtual)
        pthread_mutex_lock(&q->run->lock);
    submit_due(q, now);
    if (!is_virtual)
        pthread_mutex_unlock(&q->run->lock);
}

static int check(const struct xs_queue *q, uint32_t most, int64_t every_ns, struct xs_error *err)
{
    int rc = xs__device_check(q->run->device, "queue.load", err);
    if (rc != XS_OK)
        return rc;
    if (q->load.spec.kind != XS_LOAD_MANUAL)
        return xs__fail(err, XS_EINVAL, "queue.load", 0,
                        "queue '%s' has a load of its scenario, and takes no other", q->name);
    if (most < 1 || most >= XS_PENDING_MAX || every_ns < 0)
        return xs__fail(err, XS_EINVAL, "queue.load", 0,
                        "queue '%s': at most %u unfinished requests, one every %lld ns; needed are "
                        "1 to %d requests and at least 0 ns",
                        q->name, most, (long long)every_ns, XS_PENDING_MAX - 1);
    return XS_OK;
}

/* Lock held. */
static void set(struct xs_queue *q, struct xs_prepared_request *request, uint32_t most,
                int64_t every_ns)
{
    struct xs_run *run = q->run;
    xs_ns now = run->engine->now(run);
    q->background = request;
    q->background_every = every_ns;
    q->background_due = now < 0 ? 0 : now;
    q->background_most = most;
    submit_due(q, q->background_due); /* so the queue has work when the call returns */
    if (xs__queue_startable(q) > q->requests_completed)
        xs__queue_set_busy(q, true);
    run->engine->wake(q);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
}

int xs_queue_start_load(struct xs_queue *q, const struct xs_command *commands, uint32_t count,
                        uint32_t most, int64_t every_ns, struct xs_error *err)
{
    struct xs_prepared_request *request;
    int rc = check(q, most, every_ns, err);
    if (rc == XS_OK)
        rc = q->device->ops->bind_thread(q->device, err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&q->submit_lock);
    rc = xs__request_prepare(q, commands, count, &request, err);
    if (rc == XS_OK) {
        pthread_mutex_lock(&q->run->lock);
        rc = xs__run_check_active(q->run, "queue.load", err);
        if (rc == XS_OK)
            set(q, request, most, every_ns);
        pthread_mutex_unlock(&q->run->lock);
    }
    pthread_mutex_unlock(&q->submit_lock);
    return rc;
}

int xs_queue_stop_load(struct xs_queue *q, uint64_t *requests, struct xs_error *err)
{
    *requests = 0;
    int rc = check(q, 1, 0, err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&q->run->lock);
    q->background_most = 0;
    *requests = q->pushed;
    pthread_mutex_unlock(&q->run->lock);
    return XS_OK;
}
