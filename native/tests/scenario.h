/* scenario.h - one small two-queue run on any device, for the test programs:
 * an open-loop `high` (priority 10) and a closed-loop `low` (priority 1). */
#ifndef XS_SCENARIO_H
#define XS_SCENARIO_H

#include "check.h"

enum {
    HIGH_COUNT = 20,
    LOW_CAP = 100000,
    LOW_COMMANDS = 4
};

struct scenario {
    struct xs_run *run;
    struct xs_queue *high, *low;
    int64_t arrivals[HIGH_COUNT];
    struct xs_sample high_samples[HIGH_COUNT];
    struct xs_sample *low_samples;
    struct xs_command high_commands[1], low_commands[LOW_COMMANDS];
};

/* Make the run and start it. After an error, scenario_close() frees what was made. */
static inline int scenario_start(struct scenario *s, struct xs_device *dev, const char *policy,
                                 struct xs_command high, struct xs_command low, int64_t window_ns,
                                 struct xs_error *err)
{
    memset(s, 0, sizeof *s);
    s->low_samples = malloc(LOW_CAP * sizeof *s->low_samples);
    s->high_commands[0] = high;
    for (int i = 0; i < LOW_COMMANDS; i++)
        s->low_commands[i] = low;
    for (int i = 0; i < HIGH_COUNT; i++)
        s->arrivals[i] = (2 * i + 1) * window_ns / (2 * HIGH_COUNT);
    struct xs_queue_spec high_spec = {.name = "high",
                                      .priority = 10,
                                      .threshold = 4,
                                      .batch_size = 2,
                                      .seed = 1,
                                      .command_count = 1,
                                      .commands = s->high_commands,
                                      .load = {.kind = XS_LOAD_OPEN,
                                               .arrivals_ns = s->arrivals,
                                               .arrival_count = HIGH_COUNT,
                                               .samples = s->high_samples,
                                               .sample_cap = HIGH_COUNT}};
    struct xs_queue_spec low_spec = {.name = "low",
                                     .priority = 1,
                                     .threshold = 2,
                                     .batch_size = 1,
                                     .seed = 2,
                                     .command_count = LOW_COMMANDS,
                                     .commands = s->low_commands,
                                     .load = {.kind = XS_LOAD_CLOSED,
                                              .concurrency = 2,
                                              .samples = s->low_samples,
                                              .sample_cap = LOW_CAP}};
    struct xs_timing timing = {
        .warmup_ns = 0, .duration_ns = window_ns, .drain_ns = INT64_C(20000) * MS};
    int rc = xs_run_open(dev, policy, &s->run, err);
    if (rc == XS_OK)
        rc = xs_queue_add(s->run, &high_spec, &s->high, err);
    if (rc == XS_OK)
        rc = xs_queue_add(s->run, &low_spec, &s->low, err);
    if (rc == XS_OK)
        rc = xs_run_start(s->run, &timing, err);
    return rc;
}

static inline void scenario_close(struct scenario *s)
{
    xs_run_close(s->run);
    free(s->low_samples);
}

#endif
