/* test_load.c - the load generator alone: arrivals, think time, samples, censoring. */
#include "core/load.h"

#include "check.h"

static struct xs_sample samples[64];

static struct xs_load open_loop(const int64_t *arrivals, uint64_t count, uint32_t commands)
{
    struct xs_load load;
    struct xs_load_spec spec = {.kind = XS_LOAD_OPEN,
                                .arrivals_ns = arrivals,
                                .arrival_count = count,
                                .samples = samples,
                                .sample_cap = 64};
    xs_load_init(&load, &spec, commands, NULL, 10, 100);
    return load;
}

static void open_loop_keeps_its_schedule(void)
{
    const int64_t arrivals[] = {5, 20, 20, 99};
    struct xs_load load = open_loop(arrivals, 4, 2);
    CHECK_EQ(xs_load_due(&load), 5);
    CHECK_EQ(xs_load_submit(&load, 7), 2);
    CHECK_EQ(xs_load_due(&load), 20); /* whether or not the first completed */
    xs_load_submit(&load, 30);        /* late, but the schedule does not move */
    CHECK_EQ(samples[0].scheduled_ns, 5);
    CHECK_EQ(samples[0].submitted_ns, 7);
    CHECK_EQ(samples[0].flags, XS_SAMPLE_WARMUP);
    CHECK_EQ(samples[1].scheduled_ns, 20);
    CHECK_EQ(samples[1].flags, 0);

    CHECK(!xs_load_next_is_last(&load));
    xs_load_launch(&load, 31);
    CHECK(xs_load_next_is_last(&load));
    xs_load_launch(&load, 32);
    xs_load_launch(&load, 33);
    CHECK_EQ(samples[0].launched_ns, 31); /* the first of its commands */
    CHECK_EQ(samples[1].launched_ns, 33);
    xs_load_complete(&load, 1, 40); /* half a request */
    CHECK_EQ(samples[0].completed_ns, -1);
    xs_load_complete(&load, 3, 50);
    CHECK_EQ(samples[0].completed_ns, 50);
    CHECK_EQ(samples[1].completed_ns, -1);
    CHECK(!xs_load_exhausted(&load));
}

static void milestones_have_the_time_at_which_their_last_command_was_seen_complete(void)
{
    const int64_t arrivals[] = {20, 30};
    const uint32_t ends[] = {1, 3};
    int64_t times[4] = {0};
    struct xs_load load = open_loop(arrivals, 2, 3);
    load.spec.milestones = ends;
    load.spec.milestone_count = 2;
    load.spec.milestone_ns = times;
    xs_load_submit(&load, 20);
    xs_load_submit(&load, 30);
    CHECK_EQ(times[0], -1);
    CHECK_EQ(times[3], -1);
    const bool is_end[] = {true, false, true, true, false};
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(xs_load_next_is_end(&load), is_end[i]);
        xs_load_launch(&load, 31);
    }
    xs_load_complete(&load, 1, 40);
    CHECK_EQ(times[0], 40);
    xs_load_complete(&load, 2, 45);
    CHECK_EQ(times[1], -1);
    xs_load_complete(&load, 4, 50); /* the end of the first, and a step of the second */
    CHECK_EQ(times[1], 50);
    CHECK_EQ(samples[0].completed_ns, 50);
    CHECK_EQ(times[2], 50);
    CHECK_EQ(times[3], -1);
    xs_load_complete(&load, 5, 60);
    xs_load_censor(&load, 90);
    CHECK_EQ(times[2], 50);
    CHECK_EQ(times[3], -1); /* never reached */
}

static void nothing_is_dropped_at_the_end(void)
{
    const int64_t arrivals[] = {20, 30, 40};
    struct xs_load load = open_loop(arrivals, 3, 1);
    xs_load_submit(&load, 20);
    xs_load_submit(&load, 30);
    xs_load_launch(&load, 30);
    xs_load_complete(&load, 1, 35);
    xs_load_censor(&load, 90);
    CHECK_EQ(load.longest_stall, 55); /* the second request, from the completion of the first */
    CHECK_EQ(load.submitted, 3);
    CHECK_EQ(samples[0].flags, 0);
    CHECK_EQ(samples[1].flags, XS_SAMPLE_CENSORED);
    CHECK_EQ(samples[2].flags, XS_SAMPLE_CENSORED);
    CHECK_EQ(samples[2].scheduled_ns, 40);
    CHECK_EQ(samples[2].submitted_ns, -1);
}

static void closed_loop_thinks(void)
{
    struct xs_load load;
    struct xs_load_spec spec = {.kind = XS_LOAD_CLOSED,
                                .concurrency = 2,
                                .think_ns = 7,
                                .samples = samples,
                                .sample_cap = 5};
    xs_load_init(&load, &spec, 1, NULL, 0, 100);
    CHECK_EQ(xs_load_due(&load), 0);
    xs_load_submit(&load, 0);
    xs_load_submit(&load, 0);
    CHECK_EQ(xs_load_due(&load), XS_NEVER); /* both clients wait */
    xs_load_launch(&load, 1);
    xs_load_complete(&load, 1, 50);
    CHECK_EQ(xs_load_due(&load), 57);
    xs_load_submit(&load, 57);
    CHECK_EQ(xs_load_due(&load), XS_NEVER);
    load.closing = true;
    xs_load_launch(&load, 58);
    xs_load_complete(&load, 2, 120);
    CHECK_EQ(xs_load_due(&load), XS_NEVER);
    CHECK(xs_load_exhausted(&load));
    load.closing = false;
    xs_load_submit(&load, 127); /* after the window */
    CHECK_EQ(samples[3].flags, XS_SAMPLE_DRAIN);
    CHECK(xs_load_has_room(&load));
    xs_load_launch(&load, 127);
    xs_load_launch(&load, 127);
    xs_load_complete(&load, 4, 130);
    xs_load_submit(&load, 137);
    CHECK(!xs_load_has_room(&load));
}

static void pushed_requests_use_a_ring(void)
{
    struct xs_load load;
    uint32_t sizes[4] = {0};
    struct xs_load_spec spec = {.kind = XS_LOAD_MANUAL, .samples = samples, .sample_cap = 4};
    xs_load_init(&load, &spec, 0, sizes, 0, XS_NEVER);
    uint64_t commands = 0;
    for (uint32_t r = 0; r < 10; r++) {
        CHECK_EQ(xs_load_due(&load), XS_NEVER);
        sizes[r % 4] = r + 1;
        samples[r % 4].scheduled_ns = r;
        load.pushed++;
        CHECK_EQ(xs_load_due(&load), r);
        CHECK_EQ(xs_load_submit(&load, r), r + 1);
        for (uint32_t c = 0; c < r + 1; c++)
            xs_load_launch(&load, r);
        commands += r + 1;
        xs_load_complete(&load, commands, r);
        CHECK_EQ(load.completed, r + 1);
        CHECK_EQ(xs_load_sample(&load, r)->completed_ns, r);
    }
}

int main(void)
{
    open_loop_keeps_its_schedule();
    milestones_have_the_time_at_which_their_last_command_was_seen_complete();
    nothing_is_dropped_at_the_end();
    closed_loop_thinks();
    pushed_requests_use_a_ring();
    return 0;
}
