/* heartbeat.h - a thread that only wakes up, and how late it did so: the delay that this
 * machine adds to a request that needs no device. It takes no lock.
 *
 * Source: G. Tene, jHiccup. */
#ifndef XS_HEARTBEAT_H
#define XS_HEARTBEAT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"

/* Time between two beats: costs 0.1 % of a processor, and no dip of 5 ms is missed. */
#define XS_HEARTBEAT_NS INT64_C(2000000)

struct xs_heart {
    pthread_t thread;
    bool beats; /* the thread exists */
    _Atomic bool stop;
    struct xs_heartbeat slots; /* the thread uses its array until xs__heart_stop() */
    xs_ns begin;               /* start of the first slot, by the clock */
    xs_ns due;                 /* the first beat, by the clock */
};

/* Start the thread; does nothing without slots. `begin` is the start of the first slot, by
 * the clock. */
int xs__heart_start(struct xs_heart *heart, const struct xs_heartbeat *slots, xs_ns begin,
                    struct xs_error *err);
/* End the thread after its next beat, which still counts. Does nothing without a thread. */
void xs__heart_stop(struct xs_heart *heart);

/* Record a beat that was due and came at these times, in ns since the start of the first
 * slot. Each slot in between keeps its largest lateness, at least 1 ns, so that 0 means no
 * beat. */
void xs__heart_record(const struct xs_heartbeat *slots, xs_ns due, xs_ns came);

#endif
