/* device_xsched.c - a device that launches the commands of another device through the real
 * XSched.
 *
 * A launch becomes a command of an XQueue. When the scheduler permits it, the launch thread
 * of the XQueue calls back, and the callback launches the command on the stream with a mark
 * after it. The runner polls those marks as on any device, so no waiting inside XSched gets
 * into a latency.
 *
 * Threads: the owner of the queue calls launch, mark and passed. The launch thread of the
 * XQueue calls on_launch(), in order. `reached` passes a call from one to the other. A slot
 * of `calls` is free again after its mark was passed: at most XS_THRESHOLD_MAX launches are
 * in flight. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"
#include "devices/device.h"
#include "devices/xsched/xsched_api.h"

#define APP_MANAGED 1  /* value of enum XSchedulerType */
#define NO_DEADLINE -1 /* constant of XSched */

struct xsched {
    struct xs_device base;
    struct xs_device_ops ops; /* the functions of `inner`, except those of this file */
    struct xs_graph_ops graphs;
    struct xs_device *inner;
    struct xs_xsched_api api;
    int64_t level;
    int32_t scheduler, policy;
};

struct call {
    struct xs_stream *stream;
    struct xs_kernel *kernel;
    uint64_t number; /* number of the launch on the stream, from 0 */
    uint32_t argument;
    xs_ns launched_at; /* by the clock */
};

struct xs_stream {
    struct xsched *x;
    struct xs_stream *inner;            /* the stream of `inner` */
    uint64_t hwq, xq;                   /* 0: not created */
    uint64_t launches;                  /* launches that XSched got */
    uint64_t mark_at[XS_THRESHOLD_MAX]; /* launches before the mark */
    struct call calls[XS_THRESHOLD_MAX];
    _Atomic uint64_t reached;   /* launches before this one are on the stream */
    _Atomic uint64_t callbacks; /* number of callbacks; below `reached`, some were lost */
    xs_ns launch_ns;            /* (setup) what a launch takes in addition */
    bool counts_in_flight;      /* (setup) count the commands in flight before each launch */
    uint64_t first_in_flight;   /* (launch thread) launches before this one are complete */
    _Atomic uint64_t in_flight; /* the largest number so far */
    bool bound;                 /* (launch thread) */
    _Atomic(const char *) call; /* of XSched, on this stream, that has not returned; or NULL */
    struct xs_error error;      /* (launch thread) until `failed` */
    _Atomic xs_ns laxity;       /* 0: none */
    _Atomic int32_t priority;   /* the critical one of a laxity */
    _Atomic bool failed;
};

/* Return from the function with the error of XSched, if there is one. */
#define TRY(x, call, what)                                                                         \
    do {                                                                                           \
        int try_rc = xs__xsched_status((x)->api.call, "xsched." what, err);                        \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

static void enters(struct xs_stream *s, const char *call)
{
    s->call = call;
}

static int32_t returned(struct xs_stream *s, int32_t result)
{
    s->call = NULL;
    return result;
}

/* The result of a call of XSched on a stream, which says meanwhile what it is in. */
#define ON(s, name, ...) (enters(s, #name), returned(s, (s)->x->api.name(__VA_ARGS__)))

/* The same as TRY() for ON(). */
#define TRY_ON(s, what, name, ...)                                                                 \
    do {                                                                                           \
        int try_rc = xs__xsched_status(ON(s, name, __VA_ARGS__), "xsched." what, err);             \
        if (try_rc != XS_OK)                                                                       \
            return try_rc;                                                                         \
    } while (0)

static struct xsched *xsched_from(struct xs_device *dev)
{
    return (struct xsched *)dev;
}

/* ---- launches ------------------------------------------------------------------ */

/* Count the commands that are not complete when XSched launches one more. Not in measured
 * runs, which would pay for the polls. */
static int count_in_flight(struct xs_stream *s, uint64_t number, struct xs_error *err)
{
    const struct xs_device_ops *ops = s->x->inner->ops;
    int rc = XS_OK;
    while (rc == XS_OK && s->first_in_flight < number) {
        rc = ops->passed(s->inner, (uint32_t)(s->first_in_flight % XS_THRESHOLD_MAX), err);
        s->first_in_flight += rc == XS_OK;
    }
    if (number + 1 - s->first_in_flight > s->in_flight)
        s->in_flight = number + 1 - s->first_in_flight;
    return rc == XS_EAGAIN ? XS_OK : rc;
}

static int launch_on_stream(struct call *c, struct xs_error *err)
{
    struct xs_stream *s = c->stream;
    const struct xs_device_ops *ops = s->x->inner->ops;
    int rc = s->bound ? XS_OK : ops->bind_thread(s->x->inner, err);
    s->bound = rc == XS_OK;
    if (rc == XS_OK && s->counts_in_flight)
        rc = count_in_flight(s, c->number, err);
    if (rc == XS_OK)
        rc = ops->launch(s->inner, c->kernel, c->argument, err);
    return rc == XS_OK ? ops->mark(s->inner, (uint32_t)(c->number % XS_THRESHOLD_MAX), err) : rc;
}

/* An error is kept for the owner, because XSched would end the process for it. */
static int32_t on_launch(uint64_t hwq, void *data)
{
    struct call *c = data;
    struct xs_stream *s = c->stream;
    (void)hwq;
    if (s->launch_ns > 0)
        xs__clock_sleep_until(xs__later(xs__clock_ns(), s->launch_ns));
    c->launched_at = xs__clock_ns();
    if (!s->failed && launch_on_stream(c, &s->error) != XS_OK)
        s->failed = true;
    s->callbacks++;
    s->reached = c->number + 1;
    return 0;
}

static int deferred_error(const struct xs_stream *s, struct xs_error *err)
{
    if (!s->failed)
        return XS_OK;
    if (err != NULL)
        *err = s->error;
    return s->error.status;
}

static int xsched_launch(struct xs_stream *s, struct xs_kernel *kernel, uint32_t argument,
                         struct xs_error *err)
{
    struct call *c = &s->calls[s->launches % XS_THRESHOLD_MAX];
    uint64_t command;
    int rc = deferred_error(s, err);
    if (rc != XS_OK)
        return rc;
    *c = (struct call){.stream = s, .kernel = kernel, .number = s->launches, .argument = argument};
    TRY_ON(s, "command_create", HwCommandCreateCallback, &command, on_launch, c);
    rc = xs__xsched_status(ON(s, XQueueSubmit, s->xq, command), "xsched.submit", err);
    if (rc == XS_OK)
        s->launches++;
    else
        s->x->api.HwCommandDestroy(command); /* XSched owns only submitted commands */
    return rc;
}

static int xsched_mark(struct xs_stream *s, uint32_t slot, struct xs_error *err)
{
    (void)err;
    s->mark_at[slot] = s->launches;
    return XS_OK;
}

static int xsched_passed(struct xs_stream *s, uint32_t slot, struct xs_error *err)
{
    uint64_t launches = s->mark_at[slot];
    int rc = deferred_error(s, err);
    if (rc != XS_OK || launches == 0)
        return rc;
    if (s->reached < launches)
        return XS_EAGAIN;
    return s->x->inner->ops->passed(s->inner, (uint32_t)((launches - 1) % XS_THRESHOLD_MAX), err);
}

static xs_ns xsched_launched_at(const struct xs_stream *s, uint64_t number)
{
    return s->calls[number % XS_THRESHOLD_MAX].launched_at;
}

/* ---- streams -------------------------------------------------------------------- */

/* XSched accepts only this order. It waits for all launched commands. */
static void xsched_stream_destroy(struct xs_stream *s)
{
    if (s == NULL)
        return;
    if (s->xq != 0)
        s->x->api.XQueueDestroy(s->xq);
    if (s->hwq != 0)
        s->x->api.HwQueueDestroy(s->hwq);
    s->x->inner->ops->stream_destroy(s->inner);
    free(s);
}

static int make_xqueue(struct xs_stream *s, struct xs_error *err)
{
    struct xs_device *inner = s->x->inner;
    TRY(s->x, HwQueueCreate(&s->hwq, inner->ops->stream_handle(s->inner)), "hwqueue_create");
    struct xs_thread_name old = xs__thread_rename(XS_SCHEDULER_THREAD);
    int32_t result = s->x->api.XQueueCreate(&s->xq, s->hwq, s->x->level, 0);
    xs__thread_rename(old.text);
    return xs__xsched_status(result, "xsched.xqueue_create", err);
}

static int make_stream(struct xs_stream *s, int32_t priority, const uint32_t *units, uint32_t words,
                       struct xs_error *err)
{
    struct xs_device *inner = s->x->inner;
    int rc = words == 0
                 ? inner->ops->stream_create(inner, priority, &s->inner, err)
                 : inner->ops->stream_create_on(inner, priority, units, words, &s->inner, err);
    if (rc != XS_OK)
        return rc;
    return make_xqueue(s, err);
}

static int xsched_stream_create_on(struct xs_device *dev, int32_t priority, const uint32_t *units,
                                   uint32_t words, struct xs_stream **out, struct xs_error *err)
{
    struct xs_stream *s = *out = calloc(1, sizeof *s);
    if (s == NULL)
        return xs__fail(err, XS_ENOMEM, "xsched.stream_create", 0, "no memory for a stream");
    s->x = xsched_from(dev);
    int rc = make_stream(s, priority, units, words, err);
    if (rc != XS_OK) {
        xsched_stream_destroy(s);
        *out = NULL;
    }
    return rc;
}

static int xsched_stream_create(struct xs_device *dev, int32_t priority, struct xs_stream **out,
                                struct xs_error *err)
{
    return xsched_stream_create_on(dev, priority, NULL, 0, out, err);
}

static int64_t us_of(xs_ns ns)
{
    return (ns + 999) / 1000;
}

/* XSched keeps the critical priority of a laxity apart from the priority. */
static int give_laxity(struct xs_stream *s, struct xs_error *err)
{
    if (s->laxity > 0)
        TRY_ON(s, "laxity", XHintLaxity, s->xq, us_of(s->laxity), 0, s->priority);
    return XS_OK;
}

/* Call it after the scheduler and the queue were set, because each of them forgets earlier
 * hints. */
static int xsched_configure(struct xs_stream *s, const struct xs_queue_spec *spec,
                            struct xs_error *err)
{
    const struct xs_hints *hints = &spec->hints;
    s->counts_in_flight = spec->load.kind == XS_LOAD_MANUAL;
    s->launch_ns = spec->launch_ns;
    if (hints->threshold > 0)
        TRY_ON(s, "config", XQueueSetLaunchConfig, s->xq, hints->threshold, hints->batch_size);
    if (!hints->without_priority)
        TRY_ON(s, "priority", XHintPriority, s->xq, spec->priority);
    if (hints->utilization > 0)
        TRY_ON(s, "utilization", XHintUtilization, s->xq, hints->utilization);
    if (hints->deadline_ns > 0)
        TRY_ON(s, "deadline", XHintDeadline, s->xq, us_of(hints->deadline_ns));
    s->laxity = hints->laxity_ns;
    s->priority = spec->priority;
    return give_laxity(s, err);
}

static int xsched_set_utilization(struct xs_stream *s, int32_t percent, struct xs_error *err)
{
    TRY_ON(s, "utilization", XHintUtilization, s->xq, percent);
    return XS_OK;
}

static int xsched_set_laxity(struct xs_stream *s, xs_ns laxity, struct xs_error *err)
{
    s->laxity = laxity;
    return give_laxity(s, err);
}

static int xsched_set_deadline(struct xs_stream *s, xs_ns deadline, struct xs_error *err)
{
    TRY_ON(s, "deadline", XHintDeadline, s->xq, deadline > 0 ? us_of(deadline) : NO_DEADLINE);
    return XS_OK;
}

static int xsched_set_priority(struct xs_stream *s, int32_t priority, struct xs_error *err)
{
    TRY_ON(s, "priority", XHintPriority, s->xq, priority);
    s->priority = priority;
    return give_laxity(s, err);
}

static int xsched_hold(struct xs_stream *s, bool held, struct xs_error *err)
{
    if (held)
        TRY_ON(s, "suspend", XQueueSuspend, s->xq, 0);
    else
        TRY_ON(s, "resume", XQueueResume, s->xq, 0);
    return XS_OK;
}

static int xsched_set_depth(struct xs_stream *s, uint32_t threshold, uint32_t batch_size,
                            struct xs_error *err)
{
    TRY_ON(s, "config", XQueueSetLaunchConfig, s->xq, threshold, batch_size);
    return XS_OK;
}

static int xsched_count(struct xs_stream *s, struct xs_scheduler_counts *out, struct xs_error *err)
{
    int64_t count = 0;
    TRY(s->x, XQueueProfileHwCommandCount(s->xq, &count), "count");
    out->submitted = (uint64_t)count;
    out->launched = s->callbacks;
    out->in_flight = s->in_flight;
    return XS_OK;
}

static const char *xsched_call(const struct xs_stream *s, uint64_t *launched)
{
    *launched = s->callbacks;
    return s->call;
}

static int xsched_kernel_create(struct xs_stream *s, const struct xs_command *command,
                                uint32_t seed, struct xs_kernel **out, struct xs_error *err)
{
    return s->x->inner->ops->kernel_create(s->inner, command, seed, out, err);
}

/* ---- the device ----------------------------------------------------------------- */

static void xsched_describe(struct xs_device *dev, struct xs_device_info *out)
{
    struct xs_device *inner = xsched_from(dev)->inner;
    inner->ops->describe(inner, out);
}

static int xsched_bind_thread(struct xs_device *dev, struct xs_error *err)
{
    struct xs_device *inner = xsched_from(dev)->inner;
    return inner->ops->bind_thread(inner, err);
}

static void xsched_close(struct xs_device *dev)
{
    xs_device_close(xsched_from(dev)->inner);
    free(dev);
}

/* XSched may start threads of its own here. */
static int choose(struct xsched *x, int32_t scheduler, int32_t policy, struct xs_error *err)
{
    struct xs_thread_name old = xs__thread_rename(XS_SCHEDULER_THREAD);
    int32_t result = x->api.XHintSetScheduler(scheduler, policy);
    xs__thread_rename(old.text);
    return xs__xsched_status(result, "xsched.set_scheduler", err);
}

static int xsched_enable(struct xs_device *dev, bool on, struct xs_error *err)
{
    struct xsched *x = xsched_from(dev);
    return choose(x, on ? x->scheduler : APP_MANAGED, on ? x->policy : 0, err);
}

/* A graph belongs to `inner`: its own launches, for timing, do not go through XSched. A segment
 * in a queue is a command like any other: launch() does not know which. */
static int xsched_graph_open(struct xs_device *dev, void *handle, struct xs_graph **out,
                             struct xs_error *err)
{
    struct xs_device *inner = xsched_from(dev)->inner;
    return inner->ops->graphs->open(inner, handle, out, err);
}

static int xsched_capture_open(struct xs_device *dev, const uint32_t *units, uint32_t words,
                               struct xs_capture **out, struct xs_error *err)
{
    struct xs_device *inner = xsched_from(dev)->inner;
    return inner->ops->graphs->capture_open(inner, units, words, out, err);
}

static const struct xs_scheduler_ops scheduler = {
    .enable = xsched_enable,
    .configure = xsched_configure,
    .set_priority = xsched_set_priority,
    .set_deadline = xsched_set_deadline,
    .set_laxity = xsched_set_laxity,
    .set_utilization = xsched_set_utilization,
    .hold = xsched_hold,
    .set_depth = xsched_set_depth,
    .count = xsched_count,
    .call = xsched_call,
    .launched_at = xsched_launched_at,
};

static void override_ops(struct xsched *x)
{
    x->ops = *x->inner->ops;
    x->ops.describe = xsched_describe;
    x->ops.close = xsched_close;
    x->ops.bind_thread = xsched_bind_thread;
    x->ops.scheduler = &scheduler;
    x->ops.stream_create = xsched_stream_create;
    if (x->ops.stream_create_on != NULL)
        x->ops.stream_create_on = xsched_stream_create_on;
    x->ops.stream_destroy = xsched_stream_destroy;
    x->ops.kernel_create = xsched_kernel_create;
    x->ops.launch = xsched_launch;
    x->ops.mark = xsched_mark;
    x->ops.passed = xsched_passed;
    x->ops.wait = NULL;
    if (x->ops.graphs != NULL) {
        x->graphs = *x->ops.graphs;
        x->graphs.open = xsched_graph_open;
        x->graphs.capture_open = xsched_capture_open;
        x->ops.graphs = &x->graphs;
    }
}

static int set_policy(struct xsched *x, const struct xs_xsched_options *o, struct xs_error *err)
{
    x->scheduler = o->scheduler;
    x->policy = o->policy;
    int rc = choose(x, o->scheduler, o->policy, err);
    if (rc != XS_OK)
        return rc;
    if (o->timeslice_us > 0)
        TRY(x, XHintTimeslice(o->timeslice_us), "timeslice");
    if (o->k > 0)
        TRY(x, XHintKDeadline(o->k), "k");
    return XS_OK;
}

static int load(struct xsched *x, const struct xs_xsched_options *o, struct xs_error *err)
{
    struct xs_thread_name old = xs__thread_rename(XS_SCHEDULER_THREAD);
    int rc = xs__xsched_load(&x->api, x->inner->ops->kind, o->preempt, o->hal, err);
    xs__thread_rename(old.text);
    return rc == XS_OK ? set_policy(x, o, err) : rc;
}

int xs_xsched_set_policy(struct xs_device *device, const struct xs_xsched_options *options,
                         struct xs_error *err)
{
    return set_policy(xsched_from(device), options, err);
}

/* A policy keeps the hints of destroyed queues by their handles. A handle is an address, so a
 * later queue may get the same one. Setting another policy creates a new one; setting the
 * same policy does nothing. So this function sets another policy first. */
int xs_xsched_forget(struct xs_device *device, const struct xs_xsched_options *options,
                     struct xs_error *err)
{
    enum {
        HPF = 1,
        HHPF = 2
    };
    if (options->policy == 0) /* the policy is in another process */
        return XS_OK;
    int32_t other = options->policy == HPF ? HHPF : HPF;
    int rc = choose(xsched_from(device), options->scheduler, other, err);
    return rc == XS_OK ? set_policy(xsched_from(device), options, err) : rc;
}

int xs_xsched_open(struct xs_device *device, const struct xs_xsched_options *options,
                   struct xs_device **out, struct xs_error *err)
{
    *out = NULL;
    int rc = xs__device_check(device, "xsched.open", err);
    if (rc == XS_OK && (options->preempt == NULL || options->hal == NULL))
        rc = xs__fail(err, XS_EINVAL, "xsched.open", 0, "no library of XSched was named");
    if (rc != XS_OK)
        return rc;
    struct xsched *x = calloc(1, sizeof *x);
    if (x == NULL)
        return xs__fail(err, XS_ENOMEM, "xsched.open", 0, "no memory for a device");
    x->inner = device;
    x->level = options->level;
    rc = load(x, options, err);
    if (rc != XS_OK) {
        free(x);
        return rc;
    }
    override_ops(x);
    x->base.ops = &x->ops;
    x->base.opened_by = device->opened_by;
    *out = &x->base;
    return XS_OK;
}
