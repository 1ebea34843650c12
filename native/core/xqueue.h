/* xqueue.h - progressive command launching, without thread, clock or device.
 *
 * An XQueue is three counters that only grow:
 *
 *     completed <= launched <= submitted,  launched - completed <= threshold
 *
 * A launched command is out of our hands, so a low-priority queue delays a
 * high-priority one by at most `threshold` commands. A mark is set behind
 * every `batch_size`-th command and behind the last one of a request; only a
 * passed mark moves `completed`. An automatic threshold (pace.h) bounds the time
 * in flight instead: it says `full`, and where else marks go.
 *
 * Nothing here blocks, allocates or fails. The caller owns the struct, uses it
 * from one thread at a time and asks xs_xqueue_next_step() what to do next; the two
 * callers are engine_threads.c and engine_sim.c. */
#ifndef XS_XQUEUE_H
#define XS_XQUEUE_H

#include "base/base.h"

struct xs_xqueue {
    uint32_t threshold;  /* [batch_size, XS_THRESHOLD_MAX] */
    uint32_t batch_size; /* >= 1 */
    bool suspended;      /* written by the caller, from what the policy said */
    bool full;           /* written by the caller: no room, although below the threshold */
    uint64_t submitted, launched, completed;
    uint64_t marks_set;                 /* marks [marks_passed, marks_set) are outstanding */
    uint64_t marks_passed;              /* mark m sits at slot m % XS_THRESHOLD_MAX */
    uint64_t mark_at[XS_THRESHOLD_MAX]; /* `launched` when the mark was set */
};

enum xs_step {
    XS_STEP_IDLE,   /* nothing to do until a submit */
    XS_STEP_PAUSED, /* commands wait, but the queue is suspended */
    XS_STEP_LAUNCH, /* launch one command now */
    XS_STEP_WAIT    /* wait for the oldest mark */
};

void xs_xqueue_init(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size);
/* Change both; then xs_xqueue_flush(). More than a lower threshold may be in flight
 * until they complete. */
void xs_xqueue_configure(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size);

void xs_xqueue_submit(struct xs_xqueue *xq, uint32_t commands);

/* Has unfinished commands, also while suspended. */
bool xs_xqueue_busy(const struct xs_xqueue *xq);

enum xs_step xs_xqueue_next_step(const struct xs_xqueue *xq);

/* Count one launch, only after XS_STEP_LAUNCH. `marked`: a mark is wanted behind
 * it, because a request ends there, say. True: set the mark of slot *slot. */
bool xs_xqueue_launch(struct xs_xqueue *xq, bool marked, uint32_t *slot);

/* Nothing will be launched any more. True: set the mark of slot *slot behind
 * what was, because no mark covers the last of it yet. */
bool xs_xqueue_flush(struct xs_xqueue *xq, uint32_t *slot);

/* True: *slot is the oldest outstanding mark. */
bool xs_xqueue_oldest_mark(const struct xs_xqueue *xq, uint32_t *slot);

/* What `completed` becomes when the oldest mark is passed; only if there is one. */
uint64_t xs_xqueue_next_completed(const struct xs_xqueue *xq);

/* Count the oldest mark as passed; returns the new `completed`. */
uint64_t xs_xqueue_pass_mark(struct xs_xqueue *xq);

#endif
