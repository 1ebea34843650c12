/* test_policy.c - the policies as pure functions. */
#include "policies/policy.h"

#include "check.h"

#define MS INT64_C(1000000)

enum {
    MOST = 8
};

static bool suspend[MOST];

static xs_ns ask(const char *policy, xs_ns now, uint32_t count, struct xs_queue_view *views)
{
    memset(suspend, 1, sizeof suspend);
    return xs__policy_find(policy)->decide(now, views, count, suspend);
}

/* S: suspended. */
static void expect(const char *policy, uint32_t count, struct xs_queue_view *views,
                   const char *suspended)
{
    ask(policy, 0, count, views);
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(suspend[i], suspended[i] == 'S');
}

static void highest_priority_first(void)
{
    struct xs_queue_view high_ready[] = {{.priority = 10, .ready = true},
                                         {.priority = 1, .ready = true},
                                         {.priority = 1, .ready = false},
                                         {.priority = 10, .ready = false}};
    struct xs_queue_view high_idle[] = {{.priority = 10, .ready = false},
                                        {.priority = 1, .ready = true},
                                        {.priority = 0, .ready = true},
                                        {.priority = 1, .ready = true}};
    struct xs_queue_view all_idle[] = {{.priority = 10, .ready = false},
                                       {.priority = -255, .ready = false}};
    struct xs_queue_view lowest[] = {{.priority = -255, .ready = true},
                                     {.priority = -255, .ready = true}};

    expect("hpf", 4, high_ready, ".SS.");
    expect("hpf", 4, high_idle, "..S.");
    expect("hpf", 2, all_idle, "..");
    expect("hpf", 2, lowest, "..");
    expect("none", 4, high_ready, "....");
    expect("hpf", 0, NULL, "");
    CHECK_EQ(ask("hpf", 0, 4, high_ready), XS_NEVER);
}

static void earliest_deadline_first(void)
{
    /* Due at 15, 14, 14 and never; and one that would be due at 1 is idle. */
    struct xs_queue_view views[] = {{.ready = true, .since = 5, .deadline = 10},
                                    {.ready = true, .since = 10, .deadline = 4},
                                    {.ready = true, .since = 4, .deadline = 10},
                                    {.ready = true, .since = 0, .deadline = XS_NEVER},
                                    {.ready = false, .since = 0, .deadline = 1}};
    expect("edf", 5, views, "S..SS");
    views[1].ready = views[2].ready = false;
    expect("edf", 5, views, ".SSSS");
    views[0].ready = false;
    expect("edf", 5, views, "SSS.S");
    views[3].ready = false;
    expect("edf", 5, views, ".....");
    /* A due time beyond all times is none. */
    struct xs_queue_view far[] = {{.ready = true, .since = XS_NEVER - 5, .deadline = 10},
                                  {.ready = true, .since = 0, .deadline = XS_NEVER}};
    expect("edf", 2, far, "..");
}

/* Let the running queue use a millisecond at a time, and count how often each queue does. */
static void count_turns(const char *policy, uint32_t count, struct xs_queue_view *views,
                        uint32_t turns, uint32_t *of)
{
    memset(of, 0, MOST * sizeof *of);
    for (uint32_t turn = 0; turn < turns; turn++) {
        ask(policy, turn * MS, count, views);
        uint32_t running = 0;
        for (uint32_t i = 0; i < count; i++) {
            views[i].running = views[i].ready && !suspend[i];
            views[i].used = views[i].running ? MS : 0;
            of[i] += views[i].running;
            running += views[i].running;
        }
        CHECK_EQ(running, 1);
    }
}

static void shares_of_the_device(void)
{
    uint32_t of[MOST];
    struct xs_queue_view three[] = {
        {.ready = true, .share = 60}, {.ready = true, .share = 20}, {.ready = true, .share = 20}};
    count_turns("partition", 3, three, 100, of);
    CHECK_EQ(of[0], 60);
    CHECK_EQ(of[1], 20);
    CHECK_EQ(of[2], 20);
    /* The others share what one queue does not use in proportion to their shares. */
    three[1].ready = false;
    count_turns("partition", 3, three, 80, of);
    CHECK_EQ(of[0], 60);
    CHECK_EQ(of[2], 20);
    /* It is not compensated later: from here on, the shares are those of the start, at once. */
    three[1].ready = true;
    count_turns("partition", 3, three, 10, of);
    CHECK_EQ(of[0], 6);
    CHECK_EQ(of[1], 2);
    CHECK_EQ(of[2], 2);
}

static void fairness(void)
{
    uint32_t of[MOST];
    struct xs_queue_view equal[] = {{.priority = 3, .ready = true}, {.priority = 3, .ready = true}};
    count_turns("fair", 2, equal, 10, of);
    CHECK_EQ(of[0], 5);
    /* Four levels are a factor of 2.0736. */
    struct xs_queue_view unequal[] = {{.priority = 4, .ready = true},
                                      {.priority = 0, .ready = true}};
    count_turns("fair", 2, unequal, 30736, of);
    CHECK(of[0] >= 20735 && of[0] <= 20737);
    /* Priorities below -20 count as -20. */
    struct xs_queue_view lowest[] = {{.priority = -255, .ready = true},
                                     {.priority = -20, .ready = true}};
    count_turns("fair", 2, lowest, 10, of);
    CHECK_EQ(of[0], 5);
}

static void asked_again(void)
{
    struct xs_queue_view views[] = {{.ready = true, .share = 50}, {.ready = true, .share = 50}};
    CHECK_EQ(ask("partition", 5 * MS, 2, views), 6 * MS);
    views[1].ready = false;
    CHECK_EQ(ask("partition", 5 * MS, 2, views), XS_NEVER);
    CHECK(!suspend[0]);
    views[0].ready = false;
    CHECK_EQ(ask("fair", 5 * MS, 2, views), XS_NEVER);
    CHECK(!suspend[0] && !suspend[1]);
}

int main(void)
{
    highest_priority_first();
    earliest_deadline_first();
    shares_of_the_device();
    fairness();
    asked_again();
    CHECK(xs__policy_find("HPF") == NULL);
    CHECK(xs_policy_name(1000) == NULL);
    return 0;
}
