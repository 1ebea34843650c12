/* test_run.c - complete runs on every device: counts, order, the end, the first error. */
#include "scenario.h"

#include <time.h>

static void everything_is_accounted_for(struct xs_device *dev, const char *policy, int is_virtual)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_queue_counts high, low;
    CHECK_EQ(scenario_start(&s, dev, policy, spin(200000), spin(300000), 100 * MS, &err), XS_OK);
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(s.high, &high, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(s.low, &low, &err), XS_OK);
    CHECK_EQ(high.requests_submitted, HIGH_COUNT);
    CHECK_EQ(high.submitted, HIGH_COUNT);
    CHECK_EQ(high.launched, HIGH_COUNT);
    CHECK_EQ(high.completed, HIGH_COUNT);
    CHECK_EQ(low.submitted, low.requests_submitted * LOW_COMMANDS);
    CHECK_EQ(low.completed, low.submitted);
    CHECK_EQ(low.requests_completed, low.requests_submitted);
    CHECK_EQ(high.failed + low.failed, 0);
    CHECK_EQ(high.suspended, 0);
    if (is_virtual) /* otherwise low may start after high is done on a busy machine */
        CHECK_EQ(low.suspended > 0, strcmp(policy, "hpf") == 0);
    CHECK(low.suspended == 0 || strcmp(policy, "hpf") == 0);
    CHECK_EQ(high.state, XS_QUEUE_IDLE);
    for (uint64_t r = 0; r < HIGH_COUNT; r++) {
        const struct xs_sample *x = &s.high_samples[r];
        CHECK_EQ(x->scheduled_ns, s.arrivals[r]);
        CHECK(x->scheduled_ns <= x->submitted_ns && x->submitted_ns <= x->launched_ns &&
              x->launched_ns <= x->completed_ns);
        CHECK_EQ(x->flags, 0);
        CHECK(r == 0 || x->completed_ns >= x[-1].completed_ns);
    }
    for (uint64_t r = 2; r < low.requests_submitted; r++)
        CHECK_EQ(s.low_samples[r].scheduled_ns, s.low_samples[r - 2].completed_ns);
    CHECK_EQ(wait_run(s.run, &err), XS_OK); /* a second call returns the same */
    scenario_close(&s);
}

/* The record holds the last commands, with the times that the samples have. */
static void commands_are_on_record(struct xs_device *dev, int is_virtual)
{
    enum {
        REQUESTS = 300,
        EACH = 5,
        CAP = XS_THRESHOLD_MAX + 1
    };
    static struct xs_sample samples[REQUESTS];
    static int64_t arrivals[REQUESTS];
    static struct xs_command_record commands[CAP];
    struct xs_suspension suspensions[1];
    struct xs_command work[EACH];
    struct xs_change changes[2] = {{.at_ns = MS, .kind = XS_CHANGE_HELD, .value = 1},
                                   {.at_ns = 2 * MS, .kind = XS_CHANGE_HELD, .value = 0}};
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_queue_counts c;
    for (int i = 0; i < EACH; i++)
        work[i] = spin(1000);
    for (int i = 0; i < REQUESTS; i++)
        arrivals[i] = i * MS / 10;
    struct xs_queue_spec spec = {
        .name = "recorded",
        .threshold = 8,
        .batch_size = 3,
        .command_count = EACH,
        .commands = work,
        .changes = changes,
        .change_count = 2,
        .record = {.commands = commands,
                   .command_cap = CAP,
                   .suspensions = suspensions,
                   .suspension_cap = 1},
        .load = {.kind = XS_LOAD_OPEN,
                 .arrivals_ns = arrivals,
                 .arrival_count = REQUESTS,
                 .samples = samples,
                 .sample_cap = REQUESTS},
    };
    struct xs_timing timing = {.duration_ns = 30 * MS, .drain_ns = INT64_C(20000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(q, &c, &err), XS_OK);
    CHECK_EQ(c.launched, REQUESTS * EACH);
    CHECK_EQ(c.suspensions, 2);
    CHECK_EQ(suspensions[0].suspended, 0); /* the second one took its place */
    CHECK(suspensions[0].at_ns >= 2 * MS);
    for (uint64_t n = c.launched - CAP; n < c.launched; n++) {
        const struct xs_command_record *x = &commands[n % CAP];
        const struct xs_sample *of = &samples[n / EACH];
        CHECK_EQ(x->request, (int64_t)(n / EACH));
        CHECK_EQ(x->index, (int64_t)(n % EACH));
        CHECK(x->launched_ns <= x->completed_ns && x->completed_ns <= of->completed_ns);
        CHECK(x->index != 0 || x->launched_ns == of->launched_ns);
        CHECK(x->index != EACH - 1 || x->completed_ns == of->completed_ns);
        CHECK_EQ(x->began_ns >= 0, is_virtual); /* no other device tells */
        CHECK(!is_virtual || (x->launched_ns <= x->began_ns && x->ended_ns == x->began_ns + 1000 &&
                              x->ended_ns <= x->completed_ns));
    }
    xs_run_close(run);
}

/* More arrives than the device can do: requests are censored at the end of the drain, and
 * still every launched command is seen to complete. */
static void overload_is_accounted_for(struct xs_device *dev)
{
    static struct xs_sample samples[200];
    static int64_t arrivals[200];
    struct xs_command commands[5];
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_queue_counts c;
    for (int i = 0; i < 5; i++)
        commands[i] = spin(200000);
    for (int i = 0; i < 200; i++)
        arrivals[i] = i * MS / 10;
    struct xs_queue_spec spec = {.name = "overloaded",
                                 .threshold = 8,
                                 .batch_size = 3,
                                 .command_count = 5,
                                 .commands = commands,
                                 .load = {.kind = XS_LOAD_OPEN,
                                          .arrivals_ns = arrivals,
                                          .arrival_count = 200,
                                          .samples = samples,
                                          .sample_cap = 200}};
    struct xs_timing timing = {.warmup_ns = 2 * MS, .duration_ns = 18 * MS, .drain_ns = 2 * MS};
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(q, &c, &err), XS_OK);
    CHECK_EQ(c.completed, c.launched);
    CHECK(c.launched < c.submitted);
    CHECK_EQ(c.submitted, 1000);
    CHECK_EQ(c.state, XS_QUEUE_IDLE);
    CHECK_EQ(wait_run(run, &err), XS_OK); /* a second call starts nothing */
    uint64_t launched = c.launched;
    CHECK_EQ(xs_queue_counts(q, &c, &err), XS_OK);
    CHECK_EQ(c.launched, launched);
    for (uint64_t r = 0; r < 200; r++) {
        CHECK_EQ((samples[r].flags & XS_SAMPLE_CENSORED) != 0, r >= c.requests_completed);
        CHECK_EQ((samples[r].flags & XS_SAMPLE_WARMUP) != 0, arrivals[r] < 2 * MS);
    }
    xs_run_close(run);
}

static void stopping_ends_it(struct xs_device *dev)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_queue_counts high;
    CHECK_EQ(scenario_start(&s, dev, "hpf", spin(1000), spin(100000), INT64_C(3600000) * MS, &err),
             XS_OK);
    xs_run_wait(s.run, 1, &err);
    xs_run_stop(s.run);
    xs_run_stop(s.run);
    CHECK_EQ(wait_run(s.run, &err), XS_ECANCELED);
    CHECK_EQ(xs_queue_counts(s.high, &high, &err), XS_OK);
    for (uint64_t r = 0; r < HIGH_COUNT; r++) /* censored, none missing */
        CHECK_EQ((s.high_samples[r].flags & XS_SAMPLE_CENSORED) != 0, r >= high.requests_completed);
    scenario_close(&s);
}

static void closing_ends_it_too(struct xs_device *dev)
{
    struct scenario s;
    struct xs_error err = {0};
    CHECK_EQ(scenario_start(&s, dev, "hpf", spin(1000), spin(100000), INT64_C(3600000) * MS, &err),
             XS_OK);
    scenario_close(&s);
    memset(&s, 0, sizeof s);
    xs_run_close(NULL);
}

static void results_can_be_checked(struct xs_device *dev, int computes)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_queue_counts low;
    uint64_t launches;
    int64_t sum;
    float out[16];
    CHECK_EQ(scenario_start(&s, dev, "hpf", matmul(64, 1), matmul(64, 1), 20 * MS, &err), XS_OK);
    CHECK(xs_queue_checksum(s.low, 0, &launches, &sum, &err) != XS_OK); /* not yet */
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    if (computes) {
        CHECK_EQ(xs_queue_counts(s.low, &low, &err), XS_OK);
        CHECK_EQ(xs_queue_checksum(s.low, 3, &launches, &sum, &err), XS_OK);
        CHECK_EQ(launches, low.completed); /* four equal commands are one kernel */
        CHECK_EQ(xs_queue_output(s.low, 0, out, 16, &err), XS_OK);
        CHECK_EQ(xs_queue_checksum(s.low, 4, &launches, &sum, &err), XS_EINVAL);
    } else {
        CHECK_EQ(xs_queue_checksum(s.low, 0, &launches, &sum, &err), XS_ENOTSUP);
        CHECK_EQ(xs_queue_output(s.low, 0, out, 16, &err), XS_ENOTSUP);
    }
    scenario_close(&s);
}

/* An open loop that is destroyed does not keep the closed loop running. */
static void a_destroyed_load_is_not_waited_for(struct xs_device *dev)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_queue_counts low;
    CHECK_EQ(scenario_start(&s, dev, "hpf", spin(1000), spin(1 * MS), 200 * MS, &err), XS_OK);
    xs_queue_destroy(s.high);
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    CHECK_EQ(xs_queue_counts(s.low, &low, &err), XS_OK);
    for (uint64_t r = 0; r < low.requests_submitted; r++) /* none after the window */
        CHECK_EQ(s.low_samples[r].flags, 0);
    CHECK_EQ(low.completed, low.submitted);
    scenario_close(&s);
}

static void virtual_time_goes_one_way(struct xs_device *dev)
{
    struct scenario s;
    struct xs_error err = {0};
    struct xs_run *other = (struct xs_run *)&err;
    CHECK_EQ(scenario_start(&s, dev, "hpf", spin(1000), spin(1 * MS), 20 * MS, &err), XS_OK);
    CHECK_EQ(xs_run_open(dev, "hpf", &other, &err), XS_EINVAL);
    CHECK(other == NULL && strstr(err.message, "already in a run") != NULL);
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    int64_t end = xs_run_now(s.run);
    CHECK(end >= 20 * MS && end < 40 * MS); /* not at the end of the drain */
    CHECK_EQ(xs_run_advance(s.run, 5 * MS, &err), XS_OK);
    CHECK_EQ(wait_run(s.run, &err), XS_OK);
    CHECK_EQ(xs_run_now(s.run), end + 5 * MS);
    CHECK_EQ(xs_run_advance(s.run, -1, &err), XS_EINVAL);
    scenario_close(&s);

    CHECK_EQ(xs_run_open(dev, "hpf", &other, &err), XS_OK); /* the device is free again */
    CHECK_EQ(xs_run_advance(other, 1, &err), XS_EINVAL);    /* not started */
    xs_run_close(other);
}

static void too_many_requests_is_an_error(struct xs_device *dev)
{
    struct xs_sample samples[8];
    struct xs_command command = spin(0);
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_queue_spec spec = {
        .name = "greedy",
        .threshold = 1,
        .batch_size = 1,
        .command_count = 1,
        .commands = &command,
        .load = {.kind = XS_LOAD_CLOSED, .concurrency = 1, .samples = samples, .sample_cap = 8}};
    struct xs_timing timing = {.duration_ns = INT64_C(3600000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_EINVAL);
    CHECK(strstr(err.message, "greedy") && strstr(err.message, "8"));
    xs_run_close(run);
}

static void expect_refused(struct xs_run *run, const struct xs_queue_spec *spec, const char *word)
{
    struct xs_error err = {0};
    struct xs_queue *q = (struct xs_queue *)&err;
    CHECK_EQ(xs_queue_add(run, spec, &q, &err), XS_EINVAL);
    CHECK(q == NULL);
    if (strstr(err.message, word) == NULL)
        fprintf(stderr, "'%s' does not say '%s'\n", err.message, word);
    CHECK(strstr(err.message, word) != NULL);
}

static void bad_values_are_named(struct xs_device *dev)
{
    struct xs_run *run;
    struct xs_error err = {0};
    struct xs_command command = spin(-7);
    struct xs_sample sample;
    const int64_t back[] = {5, 4};
    const uint32_t ends[] = {1, 1, 2, 0};
    const struct xs_queue_spec good = {
        .name = "q",
        .threshold = 2,
        .batch_size = 1,
        .command_count = 1,
        .commands = &command,
        .load = {.kind = XS_LOAD_CLOSED, .concurrency = 1, .samples = &sample, .sample_cap = 1}};
    struct xs_queue_spec bad;
    CHECK_EQ(xs_run_open(dev, "lifo", &run, &err), XS_EINVAL);
    CHECK(strstr(err.message, "lifo") != NULL);
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    expect_refused(run, &good, "-7");
    command = matmul(0, 1);
    expect_refused(run, &good, "n = 0, batch = 1");
    command = matmul(50000, 1);
    expect_refused(run, &good, "50000");
    command.kind = 99;
    expect_refused(run, &good, "99");
    command = spin(1), command.fill_permille = 1001;
    expect_refused(run, &good, "1001 / 1000");
    command = spin(1), command.waves = XS_WAVES_MAX + 1;
    expect_refused(run, &good, "1025 waves");
    command = spin(1), command.waves = 2, command.fill_permille = 999;
    expect_refused(run, &good, "not 999 / 1000");
    command = spin(1);
    bad = good, bad.priority = 256;
    expect_refused(run, &bad, "256");
    bad = good, bad.batch_size = 3;
    expect_refused(run, &bad, "threshold 2, batch size 3");
    bad = good, bad.threshold = XS_THRESHOLD_MAX + 1;
    expect_refused(run, &bad, "1025");
    bad = good, bad.command_count = 0;
    expect_refused(run, &bad, "0 commands");
    bad = good, bad.load.concurrency = 0;
    expect_refused(run, &bad, "0 clients");
    bad = good, bad.load.kind = 77;
    expect_refused(run, &bad, "77");
    bad = good, bad.load.kind = XS_LOAD_OPEN, bad.load.arrivals_ns = back,
    bad.load.arrival_count = 2, bad.load.sample_cap = 2;
    expect_refused(run, &bad, "before the previous one");
    bad.load.sample_cap = 1;
    expect_refused(run, &bad, "1 samples");
    bad = good, bad.record.command_cap = XS_THRESHOLD_MAX;
    expect_refused(run, &bad, "a record of 1024 commands");
    bad.record.command_cap = 2000, bad.load.kind = XS_LOAD_MANUAL, bad.command_count = 0;
    expect_refused(run, &bad, "a queue without a load has none");
    bad.record.command_cap = 0, bad.load.milestones = ends, bad.load.milestone_count = 1;
    expect_refused(run, &bad, "a queue without a load has no milestones");
    bad = good, bad.load.milestones = ends, bad.load.milestone_count = 2;
    expect_refused(run, &bad, "a milestone after command 1; they must ascend");
    bad.load.milestones = ends + 2, bad.load.milestone_count = 1;
    expect_refused(run, &bad, "a milestone after command 2; they must ascend and be among the 1");
    bad.load.milestones = ends + 3;
    expect_refused(run, &bad, "a milestone after command 0");
    struct xs_timing timing = {.warmup_ns = -1};
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_EINVAL);
    timing.warmup_ns = 0;
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_EINVAL);
    expect_refused(run, &good, "before the run starts");
    CHECK_EQ(wait_run(run, NULL), XS_OK); /* the run has no queue */
    xs_run_close(run);
}

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

/* Time 0 at a time of the clock, so that several processes can share it. */
static void a_start_can_be_set(struct xs_device *dev, int is_virtual)
{
    struct xs_run *run;
    struct xs_queue *q;
    struct xs_error err = {0};
    struct xs_command command = spin(1000);
    struct xs_sample sample;
    int64_t arrival = 0;
    struct xs_queue_spec spec = {.name = "q",
                                 .threshold = 1,
                                 .batch_size = 1,
                                 .command_count = 1,
                                 .commands = &command,
                                 .load = {.kind = XS_LOAD_OPEN,
                                          .arrivals_ns = &arrival,
                                          .arrival_count = 1,
                                          .samples = &sample,
                                          .sample_cap = 1}};
    struct xs_timing timing = {.duration_ns = MS, .drain_ns = INT64_C(20000) * MS};
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    timing.start_clock_ns = clock_ns() - 1;
    CHECK_EQ(xs_run_start(run, &timing, &err), is_virtual ? XS_ENOTSUP : XS_EINVAL);
    CHECK(strstr(err.message, is_virtual ? "virtual" : "was to start at") != NULL);
    if (!is_virtual) {
        timing.start_clock_ns = clock_ns() + INT64_C(61000) * MS;
        CHECK_EQ(xs_run_start(run, &timing, &err), XS_EINVAL);
        timing.start_clock_ns = clock_ns() + 200 * MS;
        CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
        CHECK_EQ(wait_run(run, &err), XS_OK);
        int64_t ended = clock_ns() - timing.start_clock_ns;
        CHECK(sample.submitted_ns >= 0 && sample.completed_ns <= ended);
    }
    xs_run_close(run);
    if (is_virtual)
        return;
    CHECK_EQ(xs_run_open(dev, "none", &run, &err), XS_OK);
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    timing.start_clock_ns = clock_ns() + INT64_C(50000) * MS;
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    xs_run_close(run); /* without waiting for that */
    CHECK(clock_ns() < timing.start_clock_ns);
}

int main(void)
{
    for (uint32_t i = 0; xs_device_kind(i) != NULL; i++) {
        struct xs_device_info info;
        struct xs_device *dev = open_device(xs_device_kind(i));
        if (dev == NULL)
            continue;
        CHECK_EQ(xs_device_describe(dev, &info, NULL), XS_OK);
        everything_is_accounted_for(dev, "none", info.virtual_time);
        everything_is_accounted_for(dev, "hpf", info.virtual_time);
        commands_are_on_record(dev, info.virtual_time);
        overload_is_accounted_for(dev);
        stopping_ends_it(dev);
        closing_ends_it_too(dev);
        results_can_be_checked(dev, info.computes);
        a_destroyed_load_is_not_waited_for(dev);
        if (info.virtual_time)
            virtual_time_goes_one_way(dev);
        too_many_requests_is_an_error(dev);
        bad_values_are_named(dev);
        a_start_can_be_set(dev, info.virtual_time);
        xs_device_close(dev);
    }
    return 0;
}
