/* test_pace.c - the automatic threshold alone: when it is full, where it sets marks, and what
 * it learns. */
#include "core/pace.h"

#include "check.h"

#define US INT64_C(1000)

/* Launch everything that may be launched at `now`, and return the number in flight. */
static uint64_t fill(struct xs_pace *pace, xs_ns *cost, xs_ns now)
{
    while (xs_pace_due(pace) <= now)
        if (xs_pace_launch(pace, cost, now))
            xs_pace_mark(pace);
    return pace->launched - pace->completed;
}

static uint64_t depth(xs_ns cost)
{
    struct xs_pace pace = {.on = true};
    return fill(&pace, &cost, 0);
}

static void many_short_ones(void)
{
    CHECK_EQ(depth(31 * US), 1);
    CHECK_EQ(depth(30 * US), 2); /* one is exactly enough, one is the next */
    CHECK_EQ(depth(10 * US), 4);
    CHECK_EQ(depth(1 * US), 31);
    CHECK_EQ(depth(1), 31); /* counts as 1 us */
    CHECK_EQ(depth(0), 2);  /* not known */
}

static void behind_a_long_one_shortly_before_its_end(void)
{
    struct xs_pace pace = {.on = true};
    xs_ns cost = 500 * US;
    CHECK_EQ(fill(&pace, &cost, 1000 * US), 1);
    CHECK_EQ(xs_pace_due(&pace), 1470 * US);
    CHECK_EQ(fill(&pace, &cost, 1469 * US), 1);
    CHECK_EQ(fill(&pace, &cost, 1470 * US), 2);
    CHECK_EQ(xs_pace_due(&pace), XS_NEVER);
    CHECK_EQ(fill(&pace, &cost, 99999 * US), 2); /* regardless of the time that it takes */
    xs_pace_complete(&pace, 1, 1500 * US);
    CHECK_EQ(xs_pace_due(&pace), 1970 * US);
}

static void a_long_one_behind_short_ones_ends_it(void)
{
    struct xs_pace pace = {.on = true};
    xs_ns brief = 10 * US, lengthy = 2000 * US;
    xs_pace_launch(&pace, &brief, 0);
    CHECK_EQ(xs_pace_due(&pace), 0);
    xs_pace_launch(&pace, &lengthy, 0);
    CHECK_EQ(xs_pace_due(&pace), XS_NEVER);
}

static void marks_go_by_time(void)
{
    struct xs_pace pace = {.on = true};
    xs_ns cost = 4 * US;
    for (int i = 0; i < 9; i++) {
        bool wanted = xs_pace_launch(&pace, &cost, 0);
        CHECK_EQ(wanted, i % 3 == 2); /* 12 us */
        if (wanted)
            xs_pace_mark(&pace);
    }
    xs_pace_launch(&pace, &cost, 0);
    xs_pace_mark(&pace); /* the end of a request */
    CHECK(!xs_pace_launch(&pace, &cost, 0));
}

static void what_is_full_has_a_mark(void)
{
    for (xs_ns cost = 1; cost < 1000 * US; cost = cost * 3 / 2 + 1) {
        struct xs_pace pace = {.on = true};
        uint64_t marks = 0;
        while (xs_pace_due(&pace) <= 10 * US)
            if (xs_pace_launch(&pace, &cost, 0)) {
                xs_pace_mark(&pace);
                marks++;
            }
        CHECK(marks > 0);
        CHECK(pace.launched <= XS_THRESHOLD_MAX);
    }
}

static void learns_what_commands_take(void)
{
    struct xs_pace pace = {.on = true};
    xs_ns cost = 0;
    xs_pace_launch(&pace, &cost, 100 * US);
    xs_pace_launch(&pace, &cost, 100 * US);
    xs_pace_complete(&pace, 1, 180 * US);
    CHECK_EQ(cost, 80 * US); /* the first measurement is taken as it is */
    xs_pace_complete(&pace, 2, 300 * US);
    CHECK_EQ(cost, 90 * US); /* a quarter of the way to 120, from the mark before */
    CHECK_EQ(pace.in_flight_ns, 0);
    xs_pace_launch(&pace, &cost, 1000 * US); /* idle before, so the time counts from here */
    xs_pace_complete(&pace, 3, 1090 * US);
    CHECK_EQ(cost, 90 * US);
}

static void shares_the_time_between_marks(void)
{
    struct xs_pace pace = {.on = true};
    xs_ns brief = 10 * US, longer = 30 * US;
    xs_pace_launch(&pace, &brief, 0);
    xs_pace_launch(&pace, &longer, 0);
    xs_pace_complete(&pace, 2, 80 * US); /* twice as long as expected: 20 and 60 */
    CHECK_EQ(brief, 12500);
    CHECK_EQ(longer, 37500);
}

static void without_it_there_is_always_room(void)
{
    struct xs_pace pace = {.on = false};
    xs_ns cost = 1000 * US;
    for (int i = 0; i < XS_THRESHOLD_MAX; i++)
        CHECK(!xs_pace_launch(&pace, &cost, 0));
    CHECK_EQ(xs_pace_due(&pace), 0);
    xs_pace_complete(&pace, XS_THRESHOLD_MAX, 0);
    CHECK_EQ(pace.in_flight_ns, 0);
}

int main(void)
{
    many_short_ones();
    behind_a_long_one_shortly_before_its_end();
    a_long_one_behind_short_ones_ends_it();
    marks_go_by_time();
    what_is_full_has_a_mark();
    learns_what_commands_take();
    shares_the_time_between_marks();
    without_it_there_is_always_room();
    return 0;
}
