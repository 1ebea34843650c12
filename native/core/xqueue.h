/* xqueue.h - progressive command launching, without thread, clock or device.
 *
 * An XQueue is three counters that only grow:
 *
 *     completed <= launched <= submitted,  launched - completed <= threshold
 *
 * The runner cannot take back a launched command, so a low-priority queue delays a
 * high-priority one by at most `threshold` commands. A mark is set after every
 * `batch_size`-th command, and after the last command of a request and of a milestone. Only a
 * passed mark moves `completed`. An automatic threshold (pace.h) bounds the time in flight
 * instead: it sets `full`, and decides where else marks are set.
 *
 * No function here blocks, allocates or fails. The caller owns the struct, uses it from one
 * thread at a time, and calls xs_xqueue_next_step() for the next step. The two callers are
 * engine_threads.c and engine_sim.c. */
#ifndef XS_XQUEUE_H
#define XS_XQUEUE_H

#include "base/base.h"

struct xs_xqueue {
    uint32_t threshold;  /* [batch_size, XS_THRESHOLD_MAX] */
    uint32_t batch_size; /* >= 1 */
    bool suspended;      /* the caller copies it from the queue */
    bool full; /* the caller sets it: no room, although `launched` is below the threshold */
    uint64_t submitted, launched, completed;
    uint64_t marks_set; /* marks [marks_passed, marks_set) are outstanding */
    uint64_t marks_passed;
    uint64_t ring_start; /* mark m sits at slot (m - ring_start) % XS_THRESHOLD_MAX */
    uint64_t mark_at[XS_THRESHOLD_MAX]; /* `launched` when the mark was set */
};

enum xs_step {
    XS_STEP_IDLE,   /* nothing to do until a submit */
    XS_STEP_PAUSED, /* commands wait, but the queue is suspended */
    XS_STEP_LAUNCH, /* launch one command now */
    XS_STEP_WAIT    /* wait for the oldest mark */
};

void xs_xqueue_init(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size);
/* Change both values; then call xs_xqueue_flush(). After a lower threshold, more commands may
 * be in flight until they complete. */
void xs_xqueue_configure(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size);

void xs_xqueue_submit(struct xs_xqueue *xq, uint32_t commands);

/* Return whether it has unfinished commands. A suspended queue may have some. */
bool xs_xqueue_busy(const struct xs_xqueue *xq);

enum xs_step xs_xqueue_next_step(const struct xs_xqueue *xq);

/* Count one launch, only after XS_STEP_LAUNCH. `marked`: the caller wants a mark after it,
 * for example because a request ends there. True: set the mark of slot *slot. */
bool xs_xqueue_launch(struct xs_xqueue *xq, bool marked, uint32_t *slot);

/* No command will be launched any more. True: set the mark of slot *slot, because no mark
 * covers the last launched command yet. */
bool xs_xqueue_flush(struct xs_xqueue *xq, uint32_t *slot);

/* Return whether a mark is outstanding; *slot is the oldest one. */
bool xs_xqueue_oldest_mark(const struct xs_xqueue *xq, uint32_t *slot);

/* Return the value of `completed` after the oldest mark is passed. There must be one. */
uint64_t xs_xqueue_next_completed(const struct xs_xqueue *xq);

/* Count the oldest mark as passed, and return the new `completed`. */
uint64_t xs_xqueue_pass_mark(struct xs_xqueue *xq);

#endif
