/* heartbeat.h - a thread that does nothing but wake up, and how late it did: what
 * this machine does to a request that asks nothing of any device. It takes no lock.
 *
 * Source: G. Tene, jHiccup. */
#ifndef XS_HEARTBEAT_H
#define XS_HEARTBEAT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"

/* Between a beat and the next: 0.1 % of a processor, and a dip of 5 ms is not missed. */
#define XS_HEARTBEAT_NS INT64_C(2000000)

struct xs_heart {
    pthread_t thread;
    bool beats; /* there is a thread to be joined */
    _Atomic bool stop;
    struct xs_heartbeat slots; /* its array is the thread's until xs__heart_stop() */
    xs_ns begin;               /* of the first slot, by the clock */
    xs_ns due;                 /* the first beat, likewise */
};

/* Nothing without slots. `begin` is that of the first one, by the clock. */
int xs__heart_start(struct xs_heart *heart, const struct xs_heartbeat *slots, xs_ns begin,
                    struct xs_error *err);
/* At once but for the beat that is awaited, which still counts. Fine where nothing beats. */
void xs__heart_stop(struct xs_heart *heart);

/* A beat was due and came, in ns since the begin of the first slot: in each slot of
 * that time the largest lateness is kept, 1 ns at least, so that 0 means no beat. */
void xs__heart_record(const struct xs_heartbeat *slots, xs_ns due, xs_ns came);

#endif
