/* test_fault.c - a device that fails its n-th call, for every n, over each backend: each run
 * ends, nothing leaks (the sanitizers check), and the error names the call. */
#include <stdatomic.h>

#include "devices/device.h"
#include "scenario.h"

static const struct xs_device_ops *inner;
static struct xs_device_ops faulty;
static atomic_long calls, failing_call;
static char failed[48];

static int fault(const char *where, struct xs_error *err)
{
    if (atomic_fetch_add(&calls, 1) + 1 != failing_call)
        return XS_OK;
    snprintf(failed, sizeof failed, "fault.%s", where);
    return xs__fail(err, XS_EDEVICE, failed, 42, "call number %ld fails", (long)failing_call);
}

/* Each function calls the inner one, unless its call is the one to fail. */
static int f_bind_thread(struct xs_device *d, struct xs_error *err)
{
    int rc = fault("bind_thread", err);
    return rc == XS_OK ? inner->bind_thread(d, err) : rc;
}

static int f_stream_create(struct xs_device *d, int32_t priority, struct xs_stream **out,
                           struct xs_error *err)
{
    *out = NULL;
    int rc = fault("stream_create", err);
    return rc == XS_OK ? inner->stream_create(d, priority, out, err) : rc;
}

static int f_kernel_create(struct xs_stream *s, const struct xs_command *c, uint32_t seed,
                           struct xs_kernel **out, struct xs_error *err)
{
    *out = NULL;
    int rc = fault("kernel_create", err);
    return rc == XS_OK ? inner->kernel_create(s, c, seed, out, err) : rc;
}

static int f_launch(struct xs_stream *s, struct xs_kernel *k, uint32_t argument,
                    struct xs_error *err)
{
    int rc = fault("launch", err);
    return rc == XS_OK ? inner->launch(s, k, argument, err) : rc;
}

static int f_mark(struct xs_stream *s, uint32_t slot, struct xs_error *err)
{
    int rc = fault("mark", err);
    return rc == XS_OK ? inner->mark(s, slot, err) : rc;
}

static int f_passed(struct xs_stream *s, uint32_t slot, struct xs_error *err)
{
    int rc = fault("passed", err);
    return rc == XS_OK ? inner->passed(s, slot, err) : rc;
}

static int f_wait(struct xs_stream *s, uint32_t slot, int64_t until_ns, struct xs_error *err)
{
    int rc = fault("wait", err);
    return rc == XS_OK ? inner->wait(s, slot, until_ns, err) : rc;
}

static struct xs_device *open_faulty(const struct xs_device_ops *ops)
{
    struct xs_device_options options = default_options();
    struct xs_device *dev;
    inner = ops;
    faulty = *ops;
    faulty.bind_thread = f_bind_thread;
    faulty.stream_create = f_stream_create;
    faulty.kernel_create = f_kernel_create;
    faulty.launch = f_launch;
    faulty.mark = f_mark;
    faulty.passed = f_passed;
    if (ops->wait != NULL)
        faulty.wait = f_wait;
    CHECK_EQ(xs__device_open(&faulty, &options, &dev, NULL), XS_OK);
    return dev;
}

/* Do one run in which call n fails. Return how many calls were made. */
static long run_with_fault(const struct xs_device_ops *ops, long n, int *rc)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_device *dev = open_faulty(ops);
    calls = 0;
    failing_call = n;
    failed[0] = '\0';
    *rc = scenario_start(&s, dev, "hpf", spin(10000), spin(20000), 2 * MS, &err);
    if (*rc == XS_OK)
        *rc = wait_run(s.run, &err);
    if (*rc != XS_OK) {
        CHECK_EQ(*rc, XS_EDEVICE);
        CHECK_EQ(err.native, 42);
        CHECK(strcmp(err.where, failed) == 0);
        CHECK(strstr(err.message, "fails") != NULL);
    }
    if (s.low != NULL && strcmp(failed, "fault.launch") == 0) {
        struct xs_queue_counts high, low;
        CHECK_EQ(xs_queue_counts(s.high, &high, NULL), XS_OK);
        CHECK_EQ(xs_queue_counts(s.low, &low, NULL), XS_OK);
        CHECK_EQ(high.failed + low.failed, 1);
    }
    long made = calls; /* freeing cannot report a failure */
    scenario_close(&s);
    xs_device_close(dev);
    return made;
}

/* The number of calls of threads varies, so repeat until three runs in a row do not reach
 * their n-th call. */
static void every_call_in_turn(const struct xs_device_ops *ops)
{
    int rc, unharmed = 0;
    long n;
    for (n = 1; unharmed < 3; n++) {
        long made = run_with_fault(ops, n, &rc);
        CHECK_EQ(rc == XS_OK, made < n);
        unharmed = rc == XS_OK ? unharmed + 1 : 0;
    }
    printf("%s: %ld calls failed in turn\n", ops->kind, n - 1 - unharmed);
    CHECK(n - 1 - unharmed > 100);
}

int main(void)
{
    every_call_in_turn(&xs_device_sim);
    every_call_in_turn(&xs_device_cpu);
    return 0;
}
