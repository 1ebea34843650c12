/* The policies as pure functions. */
#include "policy.h"

#include "check.h"

static void expect(const char *policy, uint32_t count, const struct xs_queue_view *views,
                   const char *suspended)
{
    bool out[8];
    memset(out, 1, sizeof out);
    xs__policy_find(policy)->decide(views, count, out);
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(out[i], suspended[i] == 'S');
}

int main(void)
{
    const struct xs_queue_view high_ready[] = {{10, true}, {1, true}, {1, false}, {10, false}};
    const struct xs_queue_view high_idle[] = {{10, false}, {1, true}, {0, true}, {1, true}};
    const struct xs_queue_view all_idle[] = {{10, false}, {-255, false}};
    const struct xs_queue_view lowest[] = {{-255, true}, {-255, true}};

    expect("hpf", 4, high_ready, ".SS.");
    expect("hpf", 4, high_idle, "..S.");
    expect("hpf", 2, all_idle, "..");
    expect("hpf", 2, lowest, "..");
    expect("none", 4, high_ready, "....");
    expect("hpf", 0, NULL, "");
    CHECK(xs__policy_find("HPF") == NULL);
    CHECK(xs_policy_name(1000) == NULL);
    return 0;
}
