/* dependency.c - requests that wait for a request of another queue. Such a request is not
 * submitted to its XQueue before the other one is complete. So a queue that waits for another
 * one is not ready, and holds no queue back.
 *
 * A dependency goes to a request that exists already or that arrives with it, and queues that
 * wait for each other in a circle are refused. So each wait ends if every ready queue does. */
#include <stdlib.h>

#include "runtime/run.h"

uint64_t xs__queue_startable(struct xs_queue *q)
{
    uint64_t released = q->released, pushed = q->pushed;
    return released < pushed ? released : pushed;
}

static bool is_complete(const struct xs_dependency *on)
{
    return on->queue == NULL || on->queue->requests_completed > on->ticket;
}

/* Return the first request from `first` on that waits; UINT64_MAX: none does. */
static uint64_t first_waiting(const struct xs_queue *q, uint64_t first)
{
    if (q->after != NULL)
        return q->after->requests_completed;
    for (uint64_t r = first; q->dependencies != NULL && r < q->pushed; r++)
        if (!is_complete(&q->dependencies[r % XS_PENDING_MAX]))
            return r;
    return UINT64_MAX;
}

void xs__release_dependents(const struct xs_queue *source)
{
    struct xs_run *run = source->run;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        uint64_t before = q->released;
        if (before == UINT64_MAX)
            continue;
        q->released = first_waiting(q, before);
        if (q->released != before)
            run->engine->wake(q);
    }
}

/* Its unfinished requests were dropped, so nothing waits for them any more. */
void xs__forget_source(const struct xs_queue *source)
{
    struct xs_run *run = source->run;
    for (uint32_t i = 0; i < run->queue_count; i++) {
        struct xs_queue *q = run->queues[i];
        if (q->after == source)
            q->after = NULL;
        for (uint32_t r = 0; q->dependencies != NULL && r < XS_PENDING_MAX; r++)
            if (q->dependencies[r].queue == source)
                q->dependencies[r].queue = NULL;
    }
    xs__release_dependents(source);
}

int xs__queue_depend(struct xs_queue *q, struct xs_queue *source, uint64_t ticket,
                     struct xs_error *err)
{
    if (source == NULL && q->dependencies == NULL)
        return XS_OK;
    if (source != NULL && source->run != q->run)
        return xs__fail(err, XS_EINVAL, "queue.submit", 0,
                        "queue '%s': its request cannot wait for queue '%s' of another run",
                        q->name, source->name);
    if (source != NULL && (source->load.spec.kind != XS_LOAD_MANUAL || ticket >= source->pushed))
        return xs__fail(err, XS_EINVAL, "queue.submit", 0, "queue '%s' has no ticket %llu",
                        source->name, (unsigned long long)ticket);
    if (q->dependencies == NULL)
        q->dependencies = calloc(XS_PENDING_MAX, sizeof *q->dependencies);
    if (q->dependencies == NULL)
        return xs__fail(err, XS_ENOMEM, "queue.submit", 0,
                        "queue '%s': no memory for what its requests wait for", q->name);
    q->dependencies[q->pushed % XS_PENDING_MAX] =
        (struct xs_dependency){.queue = source, .ticket = ticket};
    if (source == NULL)
        return XS_OK;
    source->awaited = true; /* before its completions are read: its owner does the reverse */
    if (q->released == UINT64_MAX && !is_complete(&q->dependencies[q->pushed % XS_PENDING_MAX]))
        q->released = q->pushed;
    return XS_OK;
}

int xs_queue_after(struct xs_queue *q, struct xs_queue *source, struct xs_error *err)
{
    struct xs_run *run = q->run;
    int rc = xs__device_check(run->device, "queue.after", err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    const struct xs_queue *circle = source;
    while (circle != NULL && circle != q)
        circle = circle->after;
    if (run->started || source->run != run || q->after != NULL)
        rc = xs__fail(err, XS_EINVAL, "queue.after", 0,
                      "queue '%s' can wait for one queue of its run, set before the run starts",
                      q->name);
    else if (q->load.spec.kind != XS_LOAD_OPEN || source->load.spec.kind != XS_LOAD_OPEN)
        rc = xs__fail(err, XS_EINVAL, "queue.after", 0,
                      "queue '%s' waits for queue '%s'; both must have an open loop", q->name,
                      source->name);
    else if (q->load.spec.arrival_count > source->load.spec.arrival_count)
        rc = xs__fail(err, XS_EINVAL, "queue.after", 0,
                      "queue '%s' has %llu requests and waits for queue '%s', which has %llu",
                      q->name, (unsigned long long)q->load.spec.arrival_count, source->name,
                      (unsigned long long)source->load.spec.arrival_count);
    else if (circle != NULL)
        rc = xs__fail(err, XS_EINVAL, "queue.after", 0,
                      "queue '%s' waits for queue '%s', which waits for it", q->name, source->name);
    if (rc == XS_OK) {
        q->after = source;
        q->released = 0;
        source->awaited = true;
    }
    pthread_mutex_unlock(&run->lock);
    return rc;
}
