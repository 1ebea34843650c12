/* test_xsched.c - the double of XSched under the fake cuda device: every command is launched,
 * in order and with its mark; hints and changes reach XSched; errors come back.
 * XS_TEST_XSCHED_LIB is the directory of the double's libraries. */
#include <dlfcn.h>

#include "scenario.h"

#include <stdio.h>

enum {
    APP = 1,
    LOCAL = 2,
    HPF = 1
};

static struct xs_device *open_under(int scheduler, int policy)
{
    const char *folder = getenv("XS_TEST_XSCHED_LIB");
    char preempt[512], hal[512];
    struct xs_error err = {0};
    struct xs_device *out, *dev = open_device("cuda");
    if (folder == NULL || dev == NULL)
        exit(77);
    snprintf(preempt, sizeof preempt, "%s/libpreempt.so", folder);
    snprintf(hal, sizeof hal, "%s/libhalcuda.so", folder);
    struct xs_xsched_options options = {
        .preempt = preempt, .hal = hal, .scheduler = scheduler, .policy = policy, .level = 1};
    CHECK_EQ(xs_xsched_open(dev, &options, &out, &err), XS_OK);
    return out;
}

static void every_command_goes_through(void)
{
    struct xs_device *dev = open_under(LOCAL, HPF);
    struct xs_xsched_options same = {.scheduler = LOCAL, .policy = HPF};
    struct scenario s;
    struct xs_error err = {0};
    struct xs_queue_counts counts;
    struct xs_scheduler_counts below;
    CHECK_EQ(xs_xsched_forget(dev, &same, &err), XS_OK);
    CHECK_EQ(scenario_start(&s, dev, "none", matmul(8, 1), matmul(8, 2), 100 * MS, &err), XS_OK);
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    struct xs_queue *queues[] = {s.high, s.low};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(xs_queue_counts(queues[i], &counts, &err), XS_OK);
        CHECK_EQ(xs_queue_scheduler_counts(queues[i], &below, &err), XS_OK);
        CHECK_EQ(counts.failed, 0);
        CHECK_EQ(counts.completed, counts.launched);
        CHECK_EQ(below.submitted, counts.launched);
        CHECK_EQ(below.launched, counts.launched);
    }
    for (int r = 0; r < HIGH_COUNT; r++) {
        const struct xs_sample *x = &s.high_samples[r];
        CHECK_EQ(x->flags, 0);
        CHECK(x->scheduled_ns <= x->submitted_ns && x->submitted_ns <= x->launched_ns &&
              x->launched_ns <= x->completed_ns);
    }
    uint64_t launches;
    int64_t checksum;
    CHECK_EQ(xs_queue_checksum(s.high, 0, &launches, &checksum, &err), XS_OK);
    CHECK_EQ(launches, HIGH_COUNT);
    scenario_close(&s);
    xs_device_close(dev);
}

/* One request with more commands than the ring of calls. */
static void a_long_request_has_its_own_launch(void)
{
    static struct xs_command commands[XS_THRESHOLD_MAX + 500];
    static struct xs_sample samples[2];
    static int64_t arrivals[] = {0, 1};
    struct xs_device *dev = open_under(LOCAL, HPF);
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        commands[i] = spin(0);
    struct xs_queue_spec spec = {.name = "long",
                                 .threshold = XS_THRESHOLD_MAX,
                                 .batch_size = XS_THRESHOLD_MAX / 2,
                                 .command_count = sizeof commands / sizeof *commands,
                                 .commands = commands,
                                 .hints = {.threshold = 8, .batch_size = 4, .deadline_ns = MS},
                                 .load = {.kind = XS_LOAD_OPEN,
                                          .arrivals_ns = arrivals,
                                          .arrival_count = 2,
                                          .samples = samples,
                                          .sample_cap = 2}};
    struct xs_timing timing = {.duration_ns = 10 * MS, .drain_ns = INT64_C(20000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    for (int r = 0; r < 2; r++) {
        CHECK_EQ(samples[r].flags, 0);
        CHECK(samples[r].submitted_ns <= samples[r].launched_ns);
        CHECK(samples[r].launched_ns < samples[r].completed_ns);
    }
    CHECK(samples[0].completed_ns >= samples[1].submitted_ns);
    CHECK(samples[1].launched_ns > samples[0].launched_ns);
    xs_run_close(run);
    xs_device_close(dev);
}

static void the_user_holds_and_lets_go(void)
{
    static struct xs_sample samples[100000];
    const struct xs_change changes[] = {
        {.at_ns = 30 * MS, .kind = XS_CHANGE_HELD, .value = 1},
        {.at_ns = 60 * MS, .kind = XS_CHANGE_HELD, .value = 0},
        {.at_ns = 60 * MS, .kind = XS_CHANGE_PRIORITY, .value = 7},
    };
    struct xs_device *dev = open_under(APP, 0);
    struct xs_command command = spin(100000);
    struct xs_error err = {0};
    struct xs_queue_counts counts;
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_queue_spec spec = {
        .name = "held",
        .threshold = XS_THRESHOLD_MAX,
        .batch_size = XS_THRESHOLD_MAX / 2,
        .command_count = 1,
        .commands = &command,
        .hints = {.threshold = 1, .batch_size = 1},
        .changes = changes,
        .change_count = 3,
        .load = {
            .kind = XS_LOAD_CLOSED, .concurrency = 1, .samples = samples, .sample_cap = 100000}};
    struct xs_timing timing = {.duration_ns = 90 * MS, .drain_ns = INT64_C(20000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(q, &counts, &err), XS_OK);
    CHECK_EQ(counts.priority, 7);
    uint64_t before = 0, after = 0, between = 0;
    for (uint64_t r = 0; r < counts.requests_submitted; r++) {
        before += samples[r].launched_ns < 30 * MS;
        after += samples[r].launched_ns >= 60 * MS;
        between += samples[r].submitted_ns >= 31 * MS && samples[r].launched_ns < 60 * MS;
    }
    CHECK(before > 0 && after > 0);
    CHECK_EQ(between, 0);
    xs_run_close(run);
    xs_device_close(dev);
}

/* A graph that is read under XSched; its segments go through it like every command. */
static void segments_go_through(void)
{
    enum {
        REQUESTS = 3,
        SEGMENTS = 2
    };
    static struct xs_sample samples[REQUESTS];
    static int64_t arrivals[REQUESTS];
    const uint32_t ends[] = {1, 3};
    struct xs_device *dev = open_under(LOCAL, HPF);
    void *fake = dlopen(getenv("XS_TEST_CUDA_DRIVER"), RTLD_NOW);
    int (*node)(void *, int) = NULL;
    struct xs_capture *capture;
    struct xs_graph *graph;
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_queue_counts counts;
    struct xs_scheduler_counts below;
    struct xs_command commands[SEGMENTS];
    void *handle;
    int64_t ns[SEGMENTS];
    int rc;
    if (fake != NULL)
        *(void **)&node = dlsym(fake, "xs_fake_node");
    CHECK(node != NULL);
    CHECK_EQ(xs_capture_open(dev, NULL, 0, &capture, &err), XS_OK);
    CHECK_EQ(xs_capture_begin(capture, &err), XS_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(node(xs_capture_stream(capture), 5), 0); /* an empty node */
    CHECK_EQ(xs_capture_end(capture, &handle, &err), XS_OK);
    CHECK_EQ(xs_graph_open(dev, handle, &graph, &err), XS_OK);
    CHECK_EQ(xs_graph_cut(graph, ends, SEGMENTS, &err), XS_OK);
    CHECK_EQ(xs_graph_launch(graph, &err), XS_OK); /* past XSched */
    do
        rc = xs_graph_wait(graph, 50 * MS, INT64_C(20000) * MS, ns, &err);
    while (rc == XS_EAGAIN);
    CHECK_EQ(rc, XS_OK);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        commands[i] = (struct xs_command){.kind = XS_SEGMENT, .n = i, .batch = 1, .graph = graph};
    struct xs_queue_spec spec = {.name = "model",
                                 .threshold = XS_THRESHOLD_MAX,
                                 .batch_size = XS_THRESHOLD_MAX / 2,
                                 .command_count = SEGMENTS,
                                 .commands = commands,
                                 .hints = {.threshold = 4, .batch_size = 2},
                                 .load = {.kind = XS_LOAD_OPEN,
                                          .arrivals_ns = arrivals,
                                          .arrival_count = REQUESTS,
                                          .samples = samples,
                                          .sample_cap = REQUESTS}};
    struct xs_timing timing = {.duration_ns = 10 * MS, .drain_ns = INT64_C(20000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(q, &counts, &err), XS_OK);
    CHECK_EQ(xs_queue_scheduler_counts(q, &below, &err), XS_OK);
    CHECK_EQ(counts.completed, REQUESTS * SEGMENTS);
    CHECK_EQ(below.launched, REQUESTS * SEGMENTS);
    xs_run_close(run);
    xs_graph_close(graph);
    xs_capture_close(capture);
    xs_device_close(dev);
}

static void what_is_wrong_is_said(void)
{
    struct xs_error err = {0};
    struct xs_device *out, *dev = open_device("cpu");
    struct xs_xsched_options options = {.preempt = "/nowhere/libpreempt.so",
                                        .hal = "/nowhere/libhalcuda.so",
                                        .scheduler = LOCAL,
                                        .policy = HPF,
                                        .level = 1};
    CHECK_EQ(xs_xsched_open(dev, &options, &out, &err), XS_ENOTSUP);
    CHECK(strstr(err.message, "not cpu") != NULL);
    xs_device_close(dev);
    dev = open_device("cuda");
    if (dev == NULL)
        exit(77);
    CHECK_EQ(xs_xsched_open(dev, &options, &out, &err), XS_EDEVICE);
    CHECK(strstr(err.message, "/nowhere/libpreempt.so") != NULL);
    CHECK(out == NULL);
    options.preempt = NULL;
    CHECK_EQ(xs_xsched_open(dev, &options, &out, &err), XS_EINVAL);
    xs_device_close(dev); /* the caller still owns it */
}

/* One scheduler a process, in an order that both allow. */
int main(void)
{
    what_is_wrong_is_said();
    every_command_goes_through();
    a_long_request_has_its_own_launch();
    segments_go_through();
    the_user_holds_and_lets_go();
    return 0;
}
