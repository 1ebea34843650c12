/* test_xqueue.c - the XQueue alone: its one decision, its marks, its invariants. */
#include "core/xqueue.h"

#include "check.h"

static void launches_up_to_the_threshold(void)
{
    struct xs_xqueue xq;
    uint32_t slot, marks = 0;
    xs_xqueue_init(&xq, 4, 2);
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_IDLE);
    xs_xqueue_submit(&xq, 10);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_LAUNCH);
        marks += xs_xqueue_launch(&xq, false, &slot);
    }
    CHECK_EQ(marks, 2); /* after commands 2 and 4 */
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_WAIT);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 2);
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_LAUNCH);
}

static void marks_the_end_of_a_request(void)
{
    struct xs_xqueue xq;
    uint32_t slot = 99;
    xs_xqueue_init(&xq, 8, 4);
    xs_xqueue_submit(&xq, 6); /* two requests of three commands */
    for (int i = 1; i <= 6; i++)
        CHECK_EQ(xs_xqueue_launch(&xq, i % 3 == 0, &slot), i % 3 == 0);
    CHECK_EQ(xq.marks_set, 2);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 3);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 6);
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_IDLE);
    CHECK(!xs_xqueue_busy(&xq));
}

static void suspended_still_waits_for_its_marks(void)
{
    struct xs_xqueue xq;
    uint32_t slot;
    xs_xqueue_init(&xq, 2, 1);
    xs_xqueue_submit(&xq, 3);
    xs_xqueue_launch(&xq, false, &slot);
    xq.suspended = true;
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_WAIT);
    xs_xqueue_pass_mark(&xq);
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_PAUSED);
    CHECK(xs_xqueue_busy(&xq));
    xq.suspended = false;
    CHECK_EQ(xs_xqueue_next_step(&xq), XS_STEP_LAUNCH);
}

static void flushing_marks_what_no_mark_covers(void)
{
    struct xs_xqueue xq;
    uint32_t slot = 99;
    xs_xqueue_init(&xq, 4, 3);
    CHECK(!xs_xqueue_flush(&xq, &slot));
    xs_xqueue_submit(&xq, 5);
    for (int i = 0; i < 4; i++)
        xs_xqueue_launch(&xq, false, &slot);
    CHECK(xs_xqueue_flush(&xq, &slot));
    CHECK_EQ(slot, 1);
    CHECK(!xs_xqueue_flush(&xq, &slot));
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 3);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 4);
}

/* A queue with one request at a time uses one mark, and one with two outstanding uses two. */
static void slots_start_again_when_no_mark_is_outstanding(void)
{
    struct xs_xqueue xq;
    uint32_t slot = 99;
    xs_xqueue_init(&xq, 8, 4);
    xs_xqueue_submit(&xq, 10);
    for (int i = 0; i < 4; i++) {
        CHECK(xs_xqueue_launch(&xq, true, &slot));
        CHECK_EQ(slot, 0);
        CHECK_EQ(xs_xqueue_pass_mark(&xq), i + 1);
        CHECK(!xs_xqueue_flush(&xq, &slot));
    }
    CHECK(xs_xqueue_launch(&xq, true, &slot));
    CHECK(xs_xqueue_launch(&xq, true, &slot));
    CHECK_EQ(slot, 1);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 5);
    CHECK(xs_xqueue_launch(&xq, true, &slot));
    CHECK_EQ(slot, 2); /* one is outstanding */
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 6);
    CHECK_EQ(xs_xqueue_pass_mark(&xq), 7);
    CHECK(!xs_xqueue_oldest_mark(&xq, &slot));
}

/* For any order of submits, launches and passed marks. */
static void keeps_its_invariants(void)
{
    struct xs_xqueue xq;
    uint32_t slot, random = 1, of_request = 0;
    xs_xqueue_init(&xq, 7, 3);
    for (int i = 0; i < 100000; i++) {
        random = random * 1664525u + 1013904223u;
        switch (random >> 30) {
        case 0:
            if (xq.submitted - xq.completed < 50)
                xs_xqueue_submit(&xq, 5);
            break;
        case 1:
            if (xs_xqueue_oldest_mark(&xq, &slot))
                xs_xqueue_pass_mark(&xq);
            break;
        default:
            if (xs_xqueue_next_step(&xq) == XS_STEP_LAUNCH) {
                of_request = of_request % 5 + 1;
                xs_xqueue_launch(&xq, of_request == 5, &slot);
            }
        }
        CHECK(xq.completed <= xq.launched && xq.launched <= xq.submitted);
        CHECK(xq.launched - xq.completed <= xq.threshold);
        CHECK(xs_xqueue_next_step(&xq) != XS_STEP_PAUSED);
        if (xs_xqueue_next_step(&xq) == XS_STEP_IDLE)
            CHECK_EQ(xq.completed, xq.submitted); /* no queue waits for a mark that was never set */
    }
    CHECK(xq.completed > 1000);
}

int main(void)
{
    launches_up_to_the_threshold();
    marks_the_end_of_a_request();
    suspended_still_waits_for_its_marks();
    flushing_marks_what_no_mark_covers();
    slots_start_again_when_no_mark_is_outstanding();
    keeps_its_invariants();
    return 0;
}
