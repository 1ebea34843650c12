/* heartbeat.c - see heartbeat.h. */
#include "runtime/heartbeat.h"

#include "base/clock.h"

void xs__heart_record(const struct xs_heartbeat *slots, xs_ns due, xs_ns came)
{
    int64_t late = came > due ? came - due : 1;
    xs_ns from = due > 0 ? due : 0;
    for (uint64_t slot = (uint64_t)(from / slots->slot_ns);
         came >= 0 && slot < slots->slot_count && (xs_ns)slot * slots->slot_ns <= came; slot++)
        if (late > slots->late_ns[slot])
            slots->late_ns[slot] = late;
}

static void *heart_main(void *argument)
{
    struct xs_heart *heart = argument;
    const struct xs_heartbeat *slots = &heart->slots;
    xs_ns end = heart->begin + (xs_ns)slots->slot_count * slots->slot_ns;
    xs_ns due = heart->due;
    xs__clock_precise_thread();
    do {
        xs__clock_sleep_until(due);
        xs_ns came = xs__clock_ns();
        xs__heart_record(slots, due - heart->begin, came - heart->begin);
        due = came + XS_HEARTBEAT_NS;
    } while (!heart->stop && due < end);
    return NULL;
}

int xs__heart_start(struct xs_heart *heart, const struct xs_heartbeat *slots, xs_ns begin,
                    struct xs_error *err)
{
    if (slots->slot_count == 0)
        return XS_OK;
    heart->slots = *slots;
    heart->begin = begin;
    heart->due = xs__clock_ns() + XS_HEARTBEAT_NS; /* a thread that starts late counts as late */
    heart->stop = false;
    int rc = pthread_create(&heart->thread, NULL, heart_main, heart);
    if (rc != 0)
        return xs__fail(err, XS_ENOMEM, "run.start", rc,
                        "the system created no thread for the heartbeat: error %d", rc);
    heart->beats = true;
    return XS_OK;
}

void xs__heart_stop(struct xs_heart *heart)
{
    if (!heart->beats)
        return;
    heart->stop = true;
    pthread_join(heart->thread, NULL);
    heart->beats = false;
}
