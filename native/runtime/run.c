/* run.c - a run from open to close: checks of its settings, the first error, the end. */
#include "runtime/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int xs_run_open(struct xs_device *device, const char *policy, struct xs_run **out,
                struct xs_error *err)
{
    *out = NULL;
    int rc = xs__device_check(device, "run.open", err);
    if (rc != XS_OK)
        return rc;
    const struct xs_policy *found = xs__policy_find(policy);
    if (found == NULL)
        return xs__fail(err, XS_EINVAL, "run.open", 0, "there is no policy '%.32s'", policy);
    bool virtual_time = device->ops->virtual_time != NULL;
    if (virtual_time && atomic_exchange(&device->in_run, true))
        return xs__fail(err, XS_EINVAL, "run.open", 0,
                        "the %s device is already in a run, and its virtual time can serve only "
                        "one; close that run or open another device",
                        device->ops->kind);
    struct xs_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        device->in_run = false;
        return xs__fail(err, XS_ENOMEM, "run.open", 0, "no memory for a run");
    }
    run->device = device;
    run->policy = found;
    run->engine = virtual_time ? &xs_engine_sim : &xs_engine_threads;
    run->window_end = run->hard_end = run->policy_due = XS_NEVER;
    if (virtual_time)
        device->completed_at = 0;
    pthread_mutex_init(&run->lock, NULL);
    xs__cond_init(&run->changed);
    *out = run;
    return XS_OK;
}

/* A second device would have its own virtual time, and a run has one time. */
int xs__run_check_device(const struct xs_run *run, const struct xs_queue_spec *spec,
                         struct xs_error *err)
{
    const struct xs_device *device = spec->device;
    if (device == NULL || device == run->device)
        return XS_OK;
    if (device->ops->virtual_time != NULL || run->device->ops->virtual_time != NULL)
        return xs__fail(err, XS_ENOTSUP, "queue.add", 0,
                        "queue '%s': a run on %s cannot use a second device, %s, because one of "
                        "the two has virtual time",
                        spec->name, run->device->ops->kind, device->ops->kind);
    return xs__device_check(device, "queue.add", err);
}

static int set_timing(struct xs_run *run, const struct xs_timing *t, struct xs_error *err)
{
    const int64_t most = INT64_MAX / 4; /* keeps the sums below from overflowing */
    if (t->warmup_ns < 0 || t->duration_ns < 0 || t->drain_ns < 0 || t->warmup_ns > most ||
        t->duration_ns > most || t->drain_ns > most)
        return xs__fail(
            err, XS_EINVAL, "run.start", 0,
            "warm-up %lld ns, duration %lld ns, drain %lld ns: each must be between 0 and 2^61",
            (long long)t->warmup_ns, (long long)t->duration_ns, (long long)t->drain_ns);
    if (t->waiting < XS_WAIT_YIELD || t->waiting > XS_WAIT_SLEEP)
        return xs__fail(err, XS_EINVAL, "run.start", 0, "there is no way of waiting number %d",
                        t->waiting);
    if (t->start_clock_ns != 0 && run->engine->advance != NULL)
        return xs__fail(
            err, XS_ENOTSUP, "run.start", 0,
            "the %s device has virtual time, so a run on it cannot start at a time of the clock",
            run->device->ops->kind);
    const struct xs_heartbeat *beats = &t->heartbeat;
    if (beats->slot_count != 0 && run->engine->advance != NULL)
        return xs__fail(err, XS_ENOTSUP, "run.start", 0,
                        "the %s device has virtual time, so a run on it cannot have a heartbeat",
                        run->device->ops->kind);
    if (beats->slot_count != 0 &&
        (beats->slot_ns <= 0 || beats->slot_count > (uint64_t)(most / beats->slot_ns)))
        return xs__fail(err, XS_EINVAL, "run.start", 0,
                        "the heartbeat cannot have %llu slots of %lld ns; a slot is longer than 0 "
                        "and all slots together take at most 2^61 ns",
                        (unsigned long long)beats->slot_count, (long long)beats->slot_ns);
    run->heartbeat = *beats;
    run->start_clock = t->start_clock_ns;
    run->waiting = t->waiting;
    run->window_start = t->warmup_ns;
    if (t->duration_ns > 0) {
        run->window_end = t->warmup_ns + t->duration_ns;
        run->hard_end = run->window_end + t->drain_ns;
    }
    for (uint32_t i = 0; i < run->queue_count; i++) {
        run->queues[i]->load.window_start = run->window_start;
        run->queues[i]->load.window_end = run->window_end;
    }
    return XS_OK;
}

int xs_run_start(struct xs_run *run, const struct xs_timing *timing, struct xs_error *err)
{
    int rc = xs__device_check(run->device, "run.start", err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    if (run->started)
        rc = xs__fail(err, XS_EINVAL, "run.start", 0, "the run was already started");
    if (rc == XS_OK)
        rc = set_timing(run, timing, err);
    if (rc == XS_OK)
        rc = run->engine->start(run, err);
    run->started = run->started || rc == XS_OK;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
    return rc;
}

int xs_run_wait(struct xs_run *run, int64_t timeout_ns, struct xs_error *err)
{
    int rc = xs__device_check(run->device, "run.wait", err);
    return rc == XS_OK ? run->engine->wait(run, timeout_ns, err) : rc;
}

int64_t xs_run_now(struct xs_run *run)
{
    if (xs__device_check(run->device, "run.now", NULL) != XS_OK)
        return 0;
    pthread_mutex_lock(&run->lock);
    xs_ns now = run->started ? run->engine->now(run) : 0;
    pthread_mutex_unlock(&run->lock);
    return now < 0 ? 0 : now;
}

int xs_run_advance(struct xs_run *run, int64_t duration_ns, struct xs_error *err)
{
    int rc = xs__device_check(run->device, "run.advance", err);
    if (rc != XS_OK)
        return rc;
    if (run->engine->advance == NULL)
        return xs__fail(err, XS_ENOTSUP, "run.advance", 0,
                        "the %s device has real time, which cannot be advanced",
                        run->device->ops->kind);
    if (duration_ns < 0)
        return xs__fail(err, XS_EINVAL, "run.advance", 0,
                        "time cannot advance by %lld ns, which is negative",
                        (long long)duration_ns);
    pthread_mutex_lock(&run->lock);
    if (!run->started)
        rc = xs__fail(err, XS_EINVAL, "run.advance", 0, "the run has not started");
    else
        rc = run->engine->advance(run, duration_ns, err);
    pthread_mutex_unlock(&run->lock);
    return rc;
}

int xs_run_set_policy(struct xs_run *run, const char *policy, struct xs_error *err)
{
    const struct xs_policy *found = xs__policy_find(policy);
    int rc = xs__device_check(run->device, "run.set_policy", err);
    if (rc == XS_OK && found == NULL)
        rc = xs__fail(err, XS_EINVAL, "run.set_policy", 0, "there is no policy '%.32s'", policy);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    run->policy = found;
    run->off = false;
    for (uint32_t i = 0; i < run->queue_count; i++) /* what the old one wrote there */
        memset(run->queues[i]->own, 0, sizeof run->queues[i]->own);
    xs__schedule(run);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return XS_OK;
}

int xs_run_switch_off(struct xs_run *run, struct xs_error *err)
{
    const struct xs_scheduler_ops *scheduler = run->device->ops->scheduler;
    int rc = xs__device_check(run->device, "run.switch_off", err);
    if (rc != XS_OK)
        return rc;
    pthread_mutex_lock(&run->lock);
    run->off = true;
    xs__schedule(run);
    if (run->engine->settle != NULL)
        run->engine->settle(run);
    pthread_mutex_unlock(&run->lock);
    return scheduler == NULL ? XS_OK : scheduler->enable(run->device, false, err);
}

void xs__run_halt(struct xs_run *run)
{
    run->stopping = true;
    for (uint32_t i = 0; i < run->queue_count; i++)
        run->engine->wake(run->queues[i]);
    pthread_cond_broadcast(&run->changed);
}

void xs__run_fail(struct xs_run *run, int status, const struct xs_error *error)
{
    if (run->error.status == XS_OK) {
        run->error = *error;
        run->error.status = status;
    }
    xs__run_halt(run);
}

int xs__run_status(const struct xs_run *run, struct xs_error *err)
{
    if (run->error.status != XS_OK) {
        if (err != NULL)
            *err = run->error;
        return run->error.status;
    }
    if (run->canceled)
        return xs__fail(err, XS_ECANCELED, "run.wait", 0, "the run was stopped before its end");
    return XS_OK;
}

int xs__run_check_active(const struct xs_run *run, const char *where, struct xs_error *err)
{
    int rc = xs__run_status(run, err);
    if (rc != XS_OK)
        return rc;
    if (run->stopping)
        return xs__fail(err, XS_ECANCELED, where, 0, "the run was stopped");
    if (!run->started)
        return xs__fail(err, XS_EINVAL, where, 0, "the run has not started");
    return XS_OK;
}

void xs_run_stop(struct xs_run *run)
{
    if (xs__device_check(run->device, "run.stop", NULL) != XS_OK)
        return;
    run->stop_wanted = true; /* so that the thread that moves virtual time releases the lock */
    pthread_mutex_lock(&run->lock);
    run->canceled = run->canceled || !run->started || run->loads > 0;
    xs__run_halt(run);
    pthread_mutex_unlock(&run->lock);
}

void xs_run_close(struct xs_run *run)
{
    /* A forked child has none of the threads, so it leaves everything as it is. */
    if (run == NULL || xs__device_check(run->device, "run.close", NULL) != XS_OK)
        return;
    xs_run_stop(run);
    xs__heart_stop(&run->heart);
    while (run->queue_count > 0)
        xs_queue_destroy(run->queues[run->queue_count - 1]);
    if (run->off && run->device->ops->scheduler != NULL)
        run->device->ops->scheduler->enable(run->device, true, NULL);
    run->device->in_run = false;
    pthread_cond_destroy(&run->changed);
    pthread_mutex_destroy(&run->lock);
    free(run);
}
