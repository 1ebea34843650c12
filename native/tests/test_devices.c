/* test_devices.c - one run on two devices: each has its own queues, and the policy schedules
 * each on its own. The two are cpu devices, which have threads and memory of their own, like
 * two GPUs. */
#include <stdbool.h>

#include "check.h"

enum {
    REQUESTS = 10
};

static struct xs_queue *add(struct xs_run *run, struct xs_device *dev, const char *name,
                            int32_t priority)
{
    struct xs_queue_spec spec = {.name = name,
                                 .priority = priority,
                                 .threshold = 1,
                                 .batch_size = 1,
                                 .load = {.kind = XS_LOAD_MANUAL},
                                 .device = dev};
    struct xs_error err = {0};
    struct xs_queue *q;
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    return q;
}

static struct xs_run *start(struct xs_device *dev)
{
    struct xs_timing timing = {.duration_ns = 0};
    struct xs_error err = {0};
    struct xs_run *run;
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    return run;
}

static uint64_t submit(struct xs_queue *q, struct xs_command command)
{
    struct xs_error err = {0};
    uint64_t ticket;
    CHECK_EQ(xs_queue_submit(q, &command, 1, &ticket, &err), XS_OK);
    return ticket;
}

static void finish(struct xs_queue *q, uint64_t ticket)
{
    struct xs_error err = {0};
    int rc;
    while ((rc = xs_queue_wait(q, ticket, 50 * MS, NULL, &err)) == XS_EAGAIN)
        ;
    CHECK_EQ(rc, XS_OK);
}

static struct xs_queue_counts counts(struct xs_queue *q)
{
    struct xs_queue_counts c;
    struct xs_error err = {0};
    CHECK_EQ(xs_queue_counts(q, &c, &err), XS_OK);
    return c;
}

/* `high` gets work while `low` is busy: if both are on one device, low is suspended. */
static void contend(struct xs_device *run_on, struct xs_device *high_on, struct xs_device *low_on,
                    bool suspends)
{
    struct xs_run *run = start(run_on);
    struct xs_queue *high = add(run, high_on, "high", 10), *low = add(run, low_on, "low", 1);
    for (int i = 0; i < REQUESTS; i++) {
        uint64_t below = submit(low, spin(20 * MS));
        finish(high, submit(high, spin(0)));
        finish(low, below);
    }
    CHECK_EQ(counts(high).suspended, 0);
    CHECK_EQ(counts(low).suspended > 0, suspends);
    CHECK_EQ(counts(low).completed, REQUESTS);
    CHECK_EQ(counts(high).completed, REQUESTS);
    xs_run_close(run);
}

/* A queue of the same device is found again among queues of another one. */
static void only_the_queues_of_the_same_device_wait(struct xs_device *a, struct xs_device *b)
{
    struct xs_run *run = start(a);
    struct xs_queue *low_b = add(run, b, "low_b", 1), *low_a = add(run, NULL, "low_a", 1);
    struct xs_queue *high_b = add(run, b, "high_b", 10), *top_a = add(run, a, "top_a", 200);
    uint64_t work = submit(high_b, spin(300 * MS));
    CHECK_EQ(counts(low_b).state, XS_QUEUE_SUSPENDED);
    CHECK_EQ(counts(low_a).state, XS_QUEUE_IDLE);
    CHECK_EQ(counts(top_a).state, XS_QUEUE_IDLE);
    finish(high_b, work);
    work = submit(top_a, spin(300 * MS));
    CHECK_EQ(counts(low_a).state, XS_QUEUE_SUSPENDED);
    CHECK_EQ(counts(low_b).state, XS_QUEUE_IDLE);
    CHECK_EQ(counts(high_b).state, XS_QUEUE_IDLE);
    finish(top_a, work);
    xs_queue_destroy(low_b); /* from the middle of the list, too */
    finish(high_b, submit(high_b, spin(0)));
    xs_run_close(run);
}

/* Commands execute on the device of their queue: the second device is not the run's. */
static void results_are_of_the_queues_own_device(struct xs_device *a, struct xs_device *b)
{
    static int64_t arrivals[REQUESTS];
    static struct xs_sample samples[2][REQUESTS];
    struct xs_command command = matmul(8, 1);
    struct xs_timing timing = {.duration_ns = 20 * MS, .drain_ns = INT64_C(20000) * MS};
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q[2];
    int64_t checksum[2];
    uint64_t launches;
    CHECK_EQ(xs_run_open(a, "none", &run, &err), XS_OK);
    for (int i = 0; i < REQUESTS; i++)
        arrivals[i] = i * MS;
    for (int i = 0; i < 2; i++) {
        struct xs_queue_spec spec = {.name = "q",
                                     .threshold = 4,
                                     .batch_size = 2,
                                     .seed = 7,
                                     .command_count = 1,
                                     .commands = &command,
                                     .load = {.kind = XS_LOAD_OPEN,
                                              .arrivals_ns = arrivals,
                                              .arrival_count = REQUESTS,
                                              .samples = samples[i],
                                              .sample_cap = REQUESTS},
                                     .device = i == 0 ? NULL : b};
        CHECK_EQ(xs_queue_add(run, &spec, &q[i], &err), XS_OK);
    }
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(xs_queue_checksum(q[i], 0, &launches, &checksum[i], &err), XS_OK);
        CHECK_EQ(launches, REQUESTS);
    }
    CHECK_EQ(checksum[0], checksum[1]);
    xs_run_close(run);
}

static void virtual_time_has_one_device(struct xs_device *cpu)
{
    struct xs_device *sim = open_device("sim"), *other = open_device("sim");
    struct xs_device *pairs[][2] = {{sim, other}, {sim, cpu}, {cpu, sim}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct xs_run *run = start(pairs[i][0]);
        struct xs_queue_spec spec = {.name = "q",
                                     .threshold = 1,
                                     .batch_size = 1,
                                     .load = {.kind = XS_LOAD_MANUAL},
                                     .device = pairs[i][1]};
        struct xs_error err = {0};
        struct xs_queue *q;
        CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_ENOTSUP);
        CHECK(q == NULL);
        CHECK(strstr(err.message, "queue 'q'") != NULL && strstr(err.message, "virtual") != NULL);
        spec.device = pairs[i][0]; /* the run's own, named */
        CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
        xs_run_close(run);
    }
    xs_device_close(sim);
    xs_device_close(other);
}

int main(void)
{
    struct xs_device *a = open_device("cpu"), *b = open_device("cpu");
    contend(a, NULL, NULL, true);
    contend(a, b, b, true);
    contend(a, NULL, b, false);
    contend(a, b, NULL, false);
    only_the_queues_of_the_same_device_wait(a, b);
    results_are_of_the_queues_own_device(a, b);
    virtual_time_has_one_device(a);
    xs_device_close(a);
    xs_device_close(b);
    return 0;
}
