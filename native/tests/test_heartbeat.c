/* test_heartbeat.c - the heartbeat: a beat counts in the right slots, every slot of a run has
 * one, and the thread ends with the run in every way that a run ends. */
#include "runtime/heartbeat.h"
#include "scenario.h"

enum {
    SLOTS = 10,
    UNTOUCHED = -7
};

static void a_beat_counts_from_when_it_was_due(void)
{
    int64_t late[5] = {0};
    struct xs_heartbeat slots = {.slot_ns = 100, .slot_count = 4, .late_ns = late};
    late[4] = UNTOUCHED;
    xs__heart_record(&slots, 10, 12);
    CHECK_EQ(late[0], 2);
    xs__heart_record(&slots, 20, 21); /* the largest is kept */
    CHECK_EQ(late[0], 2);
    xs__heart_record(&slots, 150, 260); /* a sleep over the end of a slot spoils two slots */
    CHECK_EQ(late[1], 110);
    CHECK_EQ(late[2], 110);
    CHECK_EQ(late[3], 0);
    xs__heart_record(&slots, 300, 300); /* a punctual beat counts, too */
    CHECK_EQ(late[3], 1);
    xs__heart_record(&slots, -50, -20); /* before the window, and after it */
    xs__heart_record(&slots, 400, 900);
    CHECK_EQ(late[0], 2);
    CHECK_EQ(late[3], 1);
    xs__heart_record(&slots, -50, 30); /* into it */
    CHECK_EQ(late[0], 80);
    xs__heart_record(&slots, 390, 2000); /* out of it */
    CHECK_EQ(late[3], 1610);
    CHECK_EQ(late[4], UNTOUCHED);
}

static void a_slot_ends_where_the_next_begins(void)
{
    int64_t late[3] = {0};
    struct xs_heartbeat slots = {.slot_ns = 100, .slot_count = 3, .late_ns = late};
    xs__heart_record(&slots, 90, 99);
    CHECK_EQ(late[0], 9);
    CHECK_EQ(late[1], 0);
    xs__heart_record(&slots, 100, 199);
    CHECK_EQ(late[0], 9);
    CHECK_EQ(late[1], 99);
    CHECK_EQ(late[2], 0);
}

/* A window of 200 ms with a closed loop, which lasts until its end. */
static int start(struct xs_run **run, struct xs_queue **queue, struct xs_device *dev,
                 struct xs_sample *samples, struct xs_heartbeat slots, struct xs_error *err)
{
    struct xs_command command = spin(2 * MS);
    struct xs_queue_spec spec = {
        .name = "low",
        .threshold = 2,
        .batch_size = 1,
        .command_count = 1,
        .commands = &command,
        .load = {
            .kind = XS_LOAD_CLOSED, .concurrency = 1, .samples = samples, .sample_cap = LOW_CAP}};
    struct xs_timing timing = {.warmup_ns = 10 * MS,
                               .duration_ns = 200 * MS,
                               .drain_ns = INT64_C(20000) * MS,
                               .heartbeat = slots};
    CHECK_EQ(xs_run_open(dev, "none", run, err), XS_OK);
    CHECK_EQ(xs_queue_add(*run, &spec, queue, err), XS_OK);
    return xs_run_start(*run, &timing, err);
}

static void every_slot_of_a_run_has_a_beat(struct xs_device *dev, struct xs_sample *samples)
{
    int64_t late[SLOTS + 1] = {0};
    struct xs_heartbeat slots = {.slot_ns = 20 * MS, .slot_count = SLOTS, .late_ns = late};
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *queue;
    late[SLOTS] = UNTOUCHED;
    CHECK_EQ(start(&run, &queue, dev, samples, slots, &err), XS_OK);
    CHECK_EQ(wait_run(run, &err), XS_OK);
    for (int i = 0; i < SLOTS; i++) /* now, before the end of the run: no thread writes any more */
        CHECK(late[i] > 0);
    CHECK_EQ(late[SLOTS], UNTOUCHED);
    CHECK(xs_queue_thread(queue) > 0);
    xs_run_close(run);
}

static void it_ends_with_a_run_that_is_stopped(struct xs_device *dev, struct xs_sample *samples)
{
    int64_t late[1] = {0};
    struct xs_heartbeat slots = {.slot_ns = INT64_C(3600000) * MS, .slot_count = 1};
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *queue;
    slots.late_ns = late;
    CHECK_EQ(start(&run, &queue, dev, samples, slots, &err), XS_OK);
    xs_run_stop(run);
    CHECK_EQ(wait_run(run, &err), XS_ECANCELED);
    xs_run_close(run);
    CHECK_EQ(start(&run, &queue, dev, samples, slots, &err), XS_OK);
    xs_run_close(run); /* this would hang, or leak, if the thread ran for an hour */
}

static void it_is_refused(struct xs_device *cpu, struct xs_device *sim, struct xs_sample *samples)
{
    int64_t late[1] = {0};
    struct xs_heartbeat slots = {.slot_ns = 0, .slot_count = 1, .late_ns = late};
    struct xs_error err = {0};
    struct xs_run *run;
    struct xs_queue *queue;
    CHECK_EQ(start(&run, &queue, cpu, samples, slots, &err), XS_EINVAL);
    xs_run_close(run);
    slots.slot_ns = INT64_MAX / 4;
    slots.slot_count = 2;
    CHECK_EQ(start(&run, &queue, cpu, samples, slots, &err), XS_EINVAL);
    xs_run_close(run);
    slots.slot_ns = MS;
    CHECK_EQ(start(&run, &queue, sim, samples, slots, &err), XS_ENOTSUP);
    CHECK_EQ(xs_queue_thread(queue), 0);
    xs_run_close(run);
    CHECK_EQ(late[0], 0);
}

int main(void)
{
    struct xs_sample *samples = malloc(LOW_CAP * sizeof *samples);
    struct xs_device *cpu = open_device("cpu"), *sim = open_device("sim");
    a_beat_counts_from_when_it_was_due();
    a_slot_ends_where_the_next_begins();
    every_slot_of_a_run_has_a_beat(cpu, samples);
    it_ends_with_a_run_that_is_stopped(cpu, samples);
    it_is_refused(cpu, sim, samples);
    xs_device_close(cpu);
    xs_device_close(sim);
    free(samples);
    return 0;
}
