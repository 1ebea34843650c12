/* xqueue.c - the counters of an XQueue, and its one decision: xs_xqueue_next_step(). */
#include "core/xqueue.h"

void xs_xqueue_configure(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size)
{
    XS_ASSERT(batch_size >= 1 && batch_size <= threshold && threshold <= XS_THRESHOLD_MAX);
    xq->threshold = threshold;
    xq->batch_size = batch_size;
}

void xs_xqueue_init(struct xs_xqueue *xq, uint32_t threshold, uint32_t batch_size)
{
    *xq = (struct xs_xqueue){0};
    xs_xqueue_configure(xq, threshold, batch_size);
}

void xs_xqueue_submit(struct xs_xqueue *xq, uint32_t commands)
{
    xq->submitted += commands;
}

bool xs_xqueue_busy(const struct xs_xqueue *xq)
{
    return xq->completed < xq->submitted;
}

/* WAIT comes before PAUSED: a suspended queue must poll its marks, too. Otherwise the runner
 * would see the completions of its launched commands only after the resume. */
enum xs_step xs_xqueue_next_step(const struct xs_xqueue *xq)
{
    bool pending = xq->launched < xq->submitted;
    bool room = xq->launched - xq->completed < xq->threshold && !xq->full;
    if (pending && room && !xq->suspended)
        return XS_STEP_LAUNCH;
    if (xq->marks_passed < xq->marks_set)
        return XS_STEP_WAIT;
    /* No mark is outstanding, so fewer than batch_size <= threshold commands are in flight.
     * There is room, and only a suspension can hold back what is pending. An automatic
     * threshold is never full without a mark. */
    return pending ? XS_STEP_PAUSED : XS_STEP_IDLE;
}

static uint32_t slot_of(const struct xs_xqueue *xq, uint64_t mark)
{
    return (uint32_t)((mark - xq->ring_start) % XS_THRESHOLD_MAX);
}

static uint64_t last_mark_at(const struct xs_xqueue *xq)
{
    return xq->marks_set == 0 ? 0 : xq->mark_at[slot_of(xq, xq->marks_set - 1)];
}

/* Without an outstanding mark the slots start again at 0: a queue that has one request at a
 * time uses the same few slots, which the processor has in its caches. */
static uint32_t set_mark(struct xs_xqueue *xq)
{
    if (xq->marks_passed == xq->marks_set)
        xq->ring_start = xq->marks_set;
    uint32_t slot = slot_of(xq, xq->marks_set);
    xq->mark_at[slot] = xq->launched;
    xq->marks_set++;
    return slot;
}

bool xs_xqueue_launch(struct xs_xqueue *xq, bool marked, uint32_t *slot)
{
    XS_ASSERT(xs_xqueue_next_step(xq) == XS_STEP_LAUNCH);
    xq->launched++;
    if (!marked && xq->launched - last_mark_at(xq) < xq->batch_size)
        return false;
    *slot = set_mark(xq);
    return true;
}

bool xs_xqueue_flush(struct xs_xqueue *xq, uint32_t *slot)
{
    if (last_mark_at(xq) == xq->launched)
        return false;
    *slot = set_mark(xq);
    return true;
}

bool xs_xqueue_oldest_mark(const struct xs_xqueue *xq, uint32_t *slot)
{
    *slot = slot_of(xq, xq->marks_passed);
    return xq->marks_passed < xq->marks_set;
}

uint64_t xs_xqueue_next_completed(const struct xs_xqueue *xq)
{
    XS_ASSERT(xq->marks_passed < xq->marks_set);
    return xq->mark_at[slot_of(xq, xq->marks_passed)];
}

uint64_t xs_xqueue_pass_mark(struct xs_xqueue *xq)
{
    xq->completed = xs_xqueue_next_completed(xq);
    xq->marks_passed++;
    return xq->completed;
}
