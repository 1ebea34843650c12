/* test_dependency.c - open loops that start after each other, on every device. The calls of
 * live queues are in test_live.c. */
#include "check.h"

enum {
    REQUESTS = 20,
    QUEUES = 3
};

static struct xs_run *run;
static struct xs_queue *queues[QUEUES];
static int64_t arrivals[REQUESTS];
static struct xs_sample samples[QUEUES][REQUESTS];
static struct xs_change hold = {.at_ns = 0, .kind = XS_CHANGE_HELD, .value = 1};

static struct xs_queue *add(int i, int32_t kind, uint64_t count, uint32_t changes)
{
    static struct xs_command command;
    struct xs_error err = {0};
    struct xs_queue *q;
    char name[] = {'q', (char)('0' + i), '\0'};
    command = spin(200000);
    struct xs_queue_spec spec = {.name = name,
                                 .priority = i,
                                 .threshold = 2,
                                 .batch_size = 1,
                                 .command_count = 1,
                                 .commands = &command,
                                 .changes = &hold,
                                 .change_count = changes,
                                 .load = {.kind = kind,
                                          .concurrency = 1,
                                          .arrivals_ns = arrivals,
                                          .arrival_count = count,
                                          .samples = samples[i],
                                          .sample_cap = REQUESTS}};
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    return q;
}

static void open_queues(struct xs_device *dev, uint32_t changes)
{
    CHECK_EQ(xs_run_open(dev, "hpf", &run, NULL), XS_OK);
    for (int i = 0; i < REQUESTS; i++)
        arrivals[i] = i / 2 * MS; /* two at a time */
    for (int i = 0; i < QUEUES; i++)
        queues[i] = add(i, XS_LOAD_OPEN, REQUESTS, i == 0 ? changes : 0);
}

static void start_and_wait(int64_t drain_ns)
{
    struct xs_timing timing = {.duration_ns = 50 * MS, .drain_ns = drain_ns};
    int rc = XS_EAGAIN;
    CHECK_EQ(xs_run_start(run, &timing, NULL), XS_OK);
    for (int i = 0; rc == XS_EAGAIN && i < 1000; i++)
        rc = xs_run_wait(run, 50 * MS, NULL);
    CHECK_EQ(rc, XS_OK);
}

static void each_request_starts_when_the_one_before_it_ends(struct xs_device *dev, int is_virtual)
{
    open_queues(dev, 0);
    CHECK_EQ(xs_queue_after(queues[2], queues[1], NULL), XS_OK); /* the later link first */
    CHECK_EQ(xs_queue_after(queues[1], queues[0], NULL), XS_OK);
    start_and_wait(10000 * MS);
    for (int i = 0; i < QUEUES; i++)
        for (int r = 0; r < REQUESTS; r++) {
            const struct xs_sample *x = &samples[i][r];
            CHECK_EQ(x->flags, 0);
            CHECK_EQ(x->scheduled_ns, arrivals[r]);
            CHECK(i == 0 || x->submitted_ns >= samples[i - 1][r].completed_ns);
            CHECK(i == 0 || !is_virtual || x->submitted_ns == samples[i - 1][r].completed_ns);
        }
    xs_run_close(run);
}

/* The first queue is held, so no request of the second one starts. Its samples have their
 * arrivals all the same. */
static void a_run_ends_although_requests_wait(struct xs_device *dev)
{
    open_queues(dev, 1);
    CHECK_EQ(xs_queue_after(queues[1], queues[0], NULL), XS_OK);
    start_and_wait(0);
    struct xs_queue_counts c;
    CHECK_EQ(xs_queue_counts(queues[1], &c, NULL), XS_OK);
    CHECK_EQ(c.submitted, 0);
    for (int r = 0; r < REQUESTS; r++) {
        CHECK_EQ(samples[1][r].scheduled_ns, arrivals[r]);
        CHECK_EQ(samples[1][r].submitted_ns, -1);
        CHECK(samples[1][r].flags & XS_SAMPLE_CENSORED);
    }
    xs_run_close(run);
}

static void refused(struct xs_queue *q, struct xs_queue *source, const char *message)
{
    struct xs_error err = {0};
    CHECK_EQ(xs_queue_after(q, source, &err), XS_EINVAL);
    if (strcmp(err.message, message) != 0)
        fprintf(stderr, "%s\n", err.message);
    CHECK(strcmp(err.message, message) == 0);
}

static void what_cannot_be_waited_for_is_refused(struct xs_device *dev)
{
    open_queues(dev, 0);
    CHECK_EQ(xs_queue_after(queues[1], queues[0], NULL), XS_OK);
    CHECK_EQ(xs_queue_after(queues[2], queues[1], NULL), XS_OK);
    refused(queues[0], queues[2], "queue 'q0' waits for queue 'q2', which waits for it");
    refused(queues[0], queues[0], "queue 'q0' waits for queue 'q0', which waits for it");
    refused(queues[1], queues[2],
            "queue 'q1' can wait for one queue of its run, set before the run starts");
    xs_queue_destroy(queues[1]); /* now q2 waits for nothing */
    CHECK_EQ(xs_queue_after(queues[0], queues[2], NULL), XS_OK);
    struct xs_queue *few = add(1, XS_LOAD_OPEN, 3, 0);
    refused(queues[2], few, "queue 'q2' has 20 requests and waits for queue 'q1', which has 3");
    xs_queue_destroy(few);
    struct xs_queue *loop = add(1, XS_LOAD_CLOSED, 0, 0);
    refused(queues[2], loop, "queue 'q2' waits for queue 'q1'; both must have an open loop");
    xs_run_close(run);
}

int main(void)
{
    for (uint32_t i = 0; xs_device_kind(i) != NULL; i++) {
        struct xs_device_info info;
        struct xs_device *dev = open_device(xs_device_kind(i));
        if (dev == NULL)
            continue;
        CHECK_EQ(xs_device_describe(dev, &info, NULL), XS_OK);
        each_request_starts_when_the_one_before_it_ends(dev, info.virtual_time);
        a_run_ends_although_requests_wait(dev);
        what_cannot_be_waited_for_is_refused(dev);
        xs_device_close(dev);
    }
    return 0;
}
