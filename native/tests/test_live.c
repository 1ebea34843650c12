/* test_live.c - live queues on every device: submit, wait, suspend, resume, change priority,
 * destroy while the run is active. */
#include <stdbool.h>
#include <unistd.h>

#include "check.h"

static struct xs_device *dev;
static struct xs_run *run;

static void begin(void)
{
    struct xs_timing timing = {0};
    struct xs_error err;
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
}

static struct xs_queue *live(const char *name, int32_t priority)
{
    struct xs_queue *q;
    struct xs_queue_spec spec = {.name = name,
                                 .priority = priority,
                                 .threshold = 2,
                                 .batch_size = 1,
                                 .load = {.kind = XS_LOAD_MANUAL}};
    CHECK_EQ(xs_queue_add(run, &spec, &q, NULL), XS_OK);
    return q;
}

static uint64_t submit(struct xs_queue *q, int64_t spin_ns, uint32_t count)
{
    struct xs_command commands[64];
    struct xs_error err = {0};
    uint64_t ticket;
    CHECK(count <= sizeof commands / sizeof *commands);
    for (uint32_t i = 0; i < count; i++)
        commands[i] = spin(spin_ns);
    int rc = xs_queue_submit(q, commands, count, &ticket, &err);
    if (rc != XS_OK)
        fprintf(stderr, "%s\n", err.message);
    CHECK_EQ(rc, XS_OK);
    return ticket;
}

static struct xs_sample done(struct xs_queue *q, uint64_t ticket)
{
    struct xs_sample sample;
    struct xs_error err = {0};
    int rc = XS_EAGAIN;
    for (int i = 0; rc == XS_EAGAIN && i < 1000; i++)
        rc = xs_queue_wait(q, ticket, 50 * MS, &sample, &err);
    CHECK_EQ(rc, XS_OK);
    return sample;
}

static struct xs_queue_counts counts(struct xs_queue *q)
{
    struct xs_queue_counts c;
    CHECK_EQ(xs_queue_counts(q, &c, NULL), XS_OK);
    CHECK(c.completed <= c.launched && c.launched <= c.submitted);
    CHECK(c.launched - c.completed <= 2);
    return c;
}

static void one_request_after_another(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    CHECK_EQ(counts(q).state, XS_QUEUE_IDLE);
    for (uint64_t r = 0; r < 10; r++) {
        CHECK_EQ(submit(q, 100000, 3), r);
        struct xs_sample s = done(q, r);
        CHECK(s.scheduled_ns <= s.submitted_ns && s.submitted_ns <= s.launched_ns &&
              s.launched_ns <= s.completed_ns);
    }
    CHECK(done(q, 0).scheduled_ns >= 0); /* the very first, too */
    CHECK_EQ(done(q, 0).flags, 0);
    CHECK_EQ(counts(q).completed, 30);
    CHECK_EQ(counts(q).requests_completed, 10);
    CHECK_EQ(xs_queue_wait(q, 10, 0, NULL, NULL), XS_EINVAL); /* no such ticket */
    xs_run_close(run);
}

static void a_suspended_queue_launches_nothing(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
    uint64_t ticket = submit(q, 1000, 4);
    CHECK_EQ(xs_queue_wait(q, ticket, 30 * MS, NULL, NULL), XS_EAGAIN);
    CHECK_EQ(counts(q).submitted, 4);
    CHECK_EQ(counts(q).launched, 0);
    CHECK_EQ(counts(q).state, XS_QUEUE_SUSPENDED);
    CHECK_EQ(xs_queue_resume(q, NULL), XS_OK);
    done(q, ticket);
    CHECK_EQ(counts(q).completed, 4);
    xs_run_close(run);
}

/* No command is launched after xs_queue_suspend() has returned. */
static void suspending_takes_effect_at_once(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    for (uint64_t all = 16; all <= 300 * 16; all += 16) {
        uint64_t ticket = submit(q, 1000, 16);
        CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
        uint64_t launched = counts(q).launched;
        if (launched < all)
            CHECK_EQ(xs_queue_wait(q, ticket, 100000, NULL, NULL), XS_EAGAIN);
        CHECK_EQ(counts(q).launched, launched);
        CHECK_EQ(xs_queue_resume(q, NULL), XS_OK);
        done(q, ticket);
    }
    xs_run_close(run);
}

/* While one command executes, commands submitted later are launched after it. */
/* Change from sixteen in flight, where no mark covers the last one, to one at a time. */
static void the_depth_may_change(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    CHECK_EQ(xs_queue_set_depth(q, 16, 15, NULL), XS_OK);
    CHECK_EQ(submit(q, 1000000, 18), 0);
    CHECK_EQ(xs_queue_set_depth(q, 1, 1, NULL), XS_OK);
    done(q, submit(q, 1000, 8));
    CHECK_EQ(xs_queue_set_depth(q, 4, 2, NULL), XS_OK);
    done(q, submit(q, 1000, 7));
    CHECK_EQ(counts(q).completed, 33);
    CHECK_EQ(xs_queue_set_depth(q, 1, 2, NULL), XS_EINVAL);
    CHECK_EQ(xs_queue_set_depth(q, 1, 0, NULL), XS_EINVAL);
    CHECK_EQ(xs_queue_set_depth(q, XS_THRESHOLD_MAX + 1, 1, NULL), XS_EINVAL);
    xs_run_close(run);
}

static void a_busy_queue_notices_a_submit(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    submit(q, 300 * MS, 1);
    while (counts(q).launched == 0)
        xs_queue_wait(q, 0, 0, NULL, NULL);
    uint64_t second = submit(q, 1000, 1);
    CHECK(done(q, second).launched_ns < done(q, 0).completed_ns);
    xs_run_close(run);
}

static void a_stopped_run_takes_and_holds_nothing(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    struct xs_command command = spin(0);
    struct xs_error err;
    uint64_t ticket;
    CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
    ticket = submit(q, 1000, 1);
    xs_run_stop(run);
    CHECK_EQ(xs_queue_wait(q, ticket, 1000 * MS, NULL, &err), XS_ECANCELED);
    CHECK_EQ(xs_queue_submit(q, &command, 1, &ticket, &err), XS_ECANCELED);
    CHECK(strstr(err.message, "stopped") != NULL);
    xs_run_close(run);
}

/* When a suspend has returned, the launch that went on has ended. */
static void a_suspend_waits_for_a_slow_launch(void)
{
    begin();
    struct xs_queue *q;
    struct xs_error err;
    struct xs_queue_spec spec = {.name = "slow",
                                 .threshold = 2,
                                 .batch_size = 1,
                                 .load = {.kind = XS_LOAD_MANUAL},
                                 .launch_ns = 5 * MS};
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_OK);
    uint64_t ticket = submit(q, 1000, 4);
    while (counts(q).launched == 0)
        xs_queue_wait(q, ticket, 0, NULL, NULL);
    CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
    uint64_t launched = counts(q).launched;
    xs_queue_wait(q, ticket, 20 * MS, NULL, NULL);
    CHECK_EQ(counts(q).launched, launched);
    CHECK_EQ(xs_queue_resume(q, NULL), XS_OK);
    struct xs_sample sample = done(q, ticket);
    CHECK(sample.completed_ns - sample.scheduled_ns > 4 * 5 * MS);
    spec.launch_ns = -1;
    CHECK_EQ(xs_queue_add(run, &spec, &q, &err), XS_EINVAL);
    CHECK(strstr(err.message, "a launch that takes -1 ns") != NULL);
    xs_run_close(run);
}

/* A ready `high` stops `low`. `low` continues when the priorities are exchanged, and a
 * suspended `high` delays no other queue. */
static void priority_decides(void)
{
    begin();
    struct xs_queue *high = live("high", 10), *low = live("low", 1), *idle = live("idle", 200);
    struct xs_error err;
    CHECK_EQ(xs_queue_suspend(low, NULL), XS_OK);
    uint64_t low_ticket = submit(low, 100000, 8);
    uint64_t high_ticket = submit(high, 5 * MS, 16);
    CHECK_EQ(xs_queue_resume(low, NULL), XS_OK);
    CHECK_EQ(counts(low).state, XS_QUEUE_SUSPENDED); /* by the policy */
    CHECK_EQ(counts(low).launched, 0);
    CHECK_EQ(xs_queue_set_priority(low, 20, &err), XS_OK);
    done(low, low_ticket);
    CHECK(counts(high).completed < 16);
    CHECK_EQ(counts(low).priority, 20);
    done(high, high_ticket);

    CHECK_EQ(xs_queue_set_priority(low, 1, &err), XS_OK);
    CHECK_EQ(xs_queue_suspend(high, NULL), XS_OK);
    submit(high, 1000, 1);
    done(low, submit(low, 1000, 4)); /* does not wait for high */
    CHECK_EQ(counts(idle).state, XS_QUEUE_IDLE);
    CHECK_EQ(xs_queue_set_priority(low, -256, &err), XS_EINVAL);
    CHECK(strstr(err.message, "-256") != NULL);
    xs_run_close(run);
}

/* In real time, `high` may end before its state is read. */
static void another_policy_decides_at_once(bool is_virtual)
{
    begin();
    struct xs_queue *high = live("high", 10), *low = live("low", 1);
    struct xs_error err;
    CHECK_EQ(xs_run_switch_off(run, &err), XS_OK);
    uint64_t last = submit(high, MS, 16), ticket = submit(low, 1000, 8);
    CHECK(counts(low).state != XS_QUEUE_SUSPENDED);
    CHECK_EQ(xs_run_set_policy(run, "hpf", &err), XS_OK); /* on again */
    if (is_virtual)
        CHECK_EQ(counts(low).state, XS_QUEUE_SUSPENDED);
    CHECK_EQ(xs_run_set_policy(run, "none", &err), XS_OK);
    CHECK(counts(low).state != XS_QUEUE_SUSPENDED);
    done(low, ticket);
    done(high, last);
    CHECK_EQ(xs_run_set_policy(run, "cfs", &err), XS_EINVAL);
    CHECK(strstr(err.message, "'cfs'") != NULL);
    xs_run_close(run);
}

/* In real time, the queues may end before their states are read. */
static void an_earlier_deadline_decides(bool is_virtual)
{
    begin();
    struct xs_queue *one = live("one", 0), *other = live("other", 0), *without = live("w", 10);
    struct xs_error err;
    CHECK_EQ(xs_run_set_policy(run, "edf", &err), XS_OK);
    CHECK_EQ(xs_queue_set_deadline(one, 1000 * MS, &err), XS_OK);
    CHECK_EQ(xs_queue_set_deadline(other, INT64_MAX, &err), XS_OK);
    uint64_t last = submit(without, MS, 4), first = submit(one, MS, 4),
             second = submit(other, MS, 4);
    if (is_virtual) {
        CHECK_EQ(counts(one).state, XS_QUEUE_READY);
        CHECK_EQ(counts(other).state, XS_QUEUE_SUSPENDED);
        CHECK_EQ(counts(without).state, XS_QUEUE_SUSPENDED);
    }
    CHECK_EQ(xs_queue_set_deadline(other, 1, &err), XS_OK);
    if (is_virtual)
        CHECK_EQ(counts(one).state, XS_QUEUE_SUSPENDED);
    CHECK_EQ(xs_queue_set_deadline(other, 0, &err), XS_OK); /* none: it is due last again */
    if (is_virtual) {
        CHECK_EQ(counts(one).state, XS_QUEUE_READY);
        CHECK_EQ(counts(other).state, XS_QUEUE_SUSPENDED);
    }
    done(other, second);
    done(one, first);
    done(without, last);
    CHECK_EQ(xs_queue_set_deadline(one, -1, &err), XS_EINVAL);
    CHECK(strstr(err.message, "'one': deadline -1 ns is negative") != NULL);
    xs_run_close(run);
}

static void other_hints_are_checked(void)
{
    begin();
    struct xs_queue *q = live("q", 0);
    struct xs_error err;
    CHECK_EQ(xs_queue_set_laxity(q, MS, &err), XS_OK);
    CHECK_EQ(xs_queue_set_laxity(q, 0, &err), XS_EINVAL);
    CHECK(strstr(err.message, "'q': laxity 0 ns is not positive") != NULL);
    CHECK_EQ(xs_queue_set_utilization(q, 100, &err), XS_OK);
    CHECK_EQ(xs_queue_set_utilization(q, 101, &err), XS_EINVAL);
    CHECK(strstr(err.message, "'q': utilization 101 is outside 1..100") != NULL);
    xs_run_close(run);
}

static void destroying_with_work_pending(void)
{
    begin();
    struct xs_queue *other = live("other", 0);
    for (int i = 0; i < 20; i++) {
        struct xs_queue *q = live("q", 10);
        if (i % 2 == 1)
            CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
        for (int k = 0; k < 5; k++)
            submit(q, 100000, 16);
        xs_queue_destroy(q);
        struct xs_queue *fresh = live("fresh", 10); /* a new queue inherits nothing */
        CHECK_EQ(counts(fresh).submitted, 0);
        CHECK_EQ(counts(fresh).state, XS_QUEUE_IDLE);
        xs_queue_destroy(fresh);
        done(other, submit(other, 1000, 1)); /* the destroyed queue does not hold it back */
    }
    xs_queue_destroy(NULL);
    xs_run_close(run);
}

static void a_full_queue_says_so(void)
{
    begin();
    struct xs_queue *q = live("full", 0);
    struct xs_error err;
    struct xs_command command = spin(0);
    uint64_t ticket;
    CHECK_EQ(xs_queue_suspend(q, NULL), XS_OK);
    for (int i = 0; i < XS_PENDING_MAX; i++)
        submit(q, 0, 1);
    CHECK_EQ(xs_queue_submit(q, &command, 1, &ticket, &err), XS_EINVAL);
    CHECK(strstr(err.message, "full") && strstr(err.message, "4096"));
    CHECK_EQ(xs_queue_resume(q, NULL), XS_OK);
    done(q, XS_PENDING_MAX - 1);
    for (int i = 0; i < 10; i++)
        done(q, submit(q, 0, 1));
    CHECK_EQ(counts(q).completed, XS_PENDING_MAX + 10);
    CHECK_EQ(xs_queue_wait(q, 3, 0, NULL, NULL), XS_OK);
    struct xs_sample sample;
    CHECK_EQ(xs_queue_wait(q, 3, 0, &sample, &err), XS_EINVAL); /* overwritten */
    xs_run_close(run);
}

static void a_load_in_the_background(void)
{
    begin();
    struct xs_queue *low = live("low", 1), *high = live("high", 2);
    struct xs_command command = spin(100000);
    struct xs_error err;
    uint64_t requests;
    CHECK_EQ(xs_queue_start_load(high, &command, 1, 0, 0, &err), XS_EINVAL);
    CHECK_EQ(xs_queue_start_load(high, &command, 1, XS_PENDING_MAX, 0, &err), XS_EINVAL);
    CHECK_EQ(xs_queue_start_load(high, &command, 1, 3, -1, &err), XS_EINVAL);
    CHECK_EQ(xs_queue_stop_load(high, &requests, &err), XS_OK);
    CHECK_EQ(requests, 0);
    CHECK_EQ(xs_queue_start_load(high, &command, 1, 3, 0, &err), XS_OK);
    uint64_t below = submit(low, 100000, 4);
    for (int i = 0; i < 20; i++) { /* between those of the load */
        done(high, submit(high, 100000, 2));
        struct xs_queue_counts c = counts(high);
        CHECK_EQ(c.submitted - c.background_commands, 2 * (i + 1));
        CHECK_EQ(c.requests_submitted - c.background_requests, i + 1);
    }
    CHECK(counts(high).background_requests > 10);
    CHECK_EQ(xs_queue_stop_load(high, &requests, &err), XS_OK);
    done(high, requests - 1);
    CHECK_EQ(counts(high).requests_completed, requests);
    done(low, below);
    CHECK_EQ(counts(high).requests_submitted, requests);
    CHECK_EQ(xs_queue_start_load(low, &command, 1, 1, 1 * MS, &err), XS_OK);
    xs_queue_destroy(low); /* with its load */
    xs_run_close(run);
}

static void a_load_needs_a_run_that_goes_on(void)
{
    struct xs_timing timing = {0};
    struct xs_command command = spin(100000);
    struct xs_error err;
    CHECK_EQ(xs_run_open(dev, "hpf", &run, &err), XS_OK);
    struct xs_queue *q = live("q", 0);
    CHECK_EQ(xs_queue_start_load(q, &command, 1, 1, 0, &err), XS_EINVAL);
    CHECK(strcmp(err.message, "the run has not started") == 0);
    CHECK_EQ(xs_run_start(run, &timing, &err), XS_OK);
    xs_run_stop(run);
    CHECK_EQ(xs_queue_start_load(q, &command, 1, 1, 0, &err), XS_ECANCELED);
    CHECK(strcmp(err.message, "the run was stopped") == 0);
    CHECK_EQ(counts(q).requests_submitted, 0);
    xs_run_close(run);
}

static void time_passes(int32_t virtual_time)
{
    begin();
    int64_t before = xs_run_now(run);
    if (virtual_time) {
        CHECK_EQ(xs_run_advance(run, 5 * MS, NULL), XS_OK);
        CHECK_EQ(xs_run_now(run), before + 5 * MS);
        struct xs_queue *q = live("q", 0);
        struct xs_sample s = done(q, submit(q, 2 * MS, 3));
        CHECK_EQ(s.completed_ns - s.scheduled_ns, 6 * MS);
        CHECK_EQ(s.scheduled_ns, before + 5 * MS);
    } else {
        CHECK_EQ(xs_run_advance(run, 5 * MS, NULL), XS_ENOTSUP);
    }
    xs_run_close(run);
}

static uint64_t submit_after(struct xs_queue *q, struct xs_queue *source, uint64_t ticket)
{
    struct xs_command command = spin(100000);
    uint64_t made = UINT64_MAX;
    CHECK_EQ(xs_queue_submit_after(q, &command, 1, source, ticket, &made, NULL), XS_OK);
    return made;
}

static void a_request_waits_for_one_of_another_queue(void)
{
    begin();
    struct xs_queue *first = live("first", 0), *second = live("second", 10);
    CHECK_EQ(xs_queue_suspend(first, NULL), XS_OK);
    uint64_t early = submit(first, 100000, 3), late = submit(first, 100000, 3);
    submit(second, 1000, 1); /* waits for nothing */
    uint64_t waits = submit_after(second, first, early),
             waits_too = submit_after(second, first, late);
    uint64_t behind = submit(second, 1000, 1);
    done(second, 0);
    CHECK_EQ(xs_queue_wait(second, waits, 5 * MS, NULL, NULL), XS_EAGAIN);
    CHECK_EQ(counts(second).launched, 1);
    CHECK_EQ(counts(second).state, XS_QUEUE_WAITING);
    CHECK_EQ(xs_queue_resume(first, NULL), XS_OK); /* second is not ready, so first runs */
    CHECK(done(second, waits).launched_ns >= done(first, early).completed_ns);
    CHECK(done(second, waits_too).launched_ns >= done(first, late).completed_ns);
    CHECK(done(second, behind).launched_ns >= done(second, waits_too).launched_ns);
    CHECK_EQ(done(second, submit_after(second, first, early)).flags, 0); /* over long since */
    CHECK_EQ(done(second, submit_after(second, second, behind)).flags, 0);
    for (int i = 0; i < XS_PENDING_MAX + 10; i++) /* the ring of dependencies turns over */
        done(second, submit_after(second, first, submit(first, 0, 1)));
    while (counts(second).state != XS_QUEUE_IDLE) /* soon after its last request is done */
        usleep(1000);
    xs_run_close(run);
}

static void a_queue_that_is_gone_is_not_waited_for(void)
{
    begin();
    struct xs_queue *first = live("first", 0), *second = live("second", 10);
    CHECK_EQ(xs_queue_suspend(first, NULL), XS_OK);
    uint64_t ticket = submit(first, 1000, 1);
    uint64_t waits = submit_after(second, first, ticket);
    CHECK_EQ(xs_queue_wait(second, waits, 5 * MS, NULL, NULL), XS_EAGAIN);
    xs_queue_destroy(first);
    done(second, waits);
    xs_run_close(run);
}

static void what_cannot_be_waited_for_is_refused(void)
{
    begin();
    struct xs_queue *first = live("first", 0), *second = live("second", 10);
    struct xs_command command = spin(0);
    struct xs_error err;
    uint64_t ticket;
    CHECK_EQ(xs_queue_submit_after(second, &command, 1, first, 0, &ticket, &err), XS_EINVAL);
    CHECK(strcmp(err.message, "queue 'first' has no ticket 0") == 0);
    CHECK_EQ(xs_queue_after(second, first, &err), XS_EINVAL); /* the run has started */
    CHECK(strstr(err.message, "set before the run starts"));
    CHECK_EQ(counts(second).submitted, 0);
    xs_run_close(run);
}

int main(void)
{
    for (uint32_t i = 0; xs_device_kind(i) != NULL; i++) {
        struct xs_device_info info;
        dev = open_device(xs_device_kind(i));
        if (dev == NULL)
            continue;
        CHECK_EQ(xs_device_describe(dev, &info, NULL), XS_OK);
        one_request_after_another();
        a_suspended_queue_launches_nothing();
        suspending_takes_effect_at_once();
        the_depth_may_change();
        a_busy_queue_notices_a_submit();
        a_stopped_run_takes_and_holds_nothing();
        a_suspend_waits_for_a_slow_launch();
        priority_decides();
        another_policy_decides_at_once(info.virtual_time);
        an_earlier_deadline_decides(info.virtual_time);
        other_hints_are_checked();
        destroying_with_work_pending();
        a_full_queue_says_so();
        a_request_waits_for_one_of_another_queue();
        a_queue_that_is_gone_is_not_waited_for();
        what_cannot_be_waited_for_is_refused();
        a_load_in_the_background();
        a_load_needs_a_run_that_goes_on();
        time_passes(info.virtual_time);
        xs_device_close(dev);
    }
    return 0;
}
