/* pace.h - the automatic threshold: it bounds the work in flight by time instead of commands,
 * from the times that earlier commands took.
 *
 * Work in flight delays a queue of higher priority, so there should be little of it. But the
 * device must not run out of work between the end of a command and the launch of the next
 * one. So a queue launches while the work in flight is expected to end within
 * XS_PACE_AHEAD_NS: many short commands at once, and after a long command the next one only
 * shortly before its end. A queue of higher priority waits at most for that much work and one
 * command.
 *
 * This file knows no thread, clock or device; the caller passes all times. One thread at a
 * time uses a pace. */
#ifndef XS_PACE_H
#define XS_PACE_H

#include "base/base.h"

enum {
    XS_PACE_AHEAD_NS = 30000, /* covers a late poll of the marks */
    XS_PACE_MARK_NS = 10000,  /* work between marks: a mark costs about 1 us */
    XS_PACE_LEAST_NS = 1000   /* the shortest time that a command is expected to take */
};

struct xs_pace {
    bool on;
    uint64_t launched, completed; /* commands */
    xs_ns in_flight_ns;           /* time that the commands in flight are expected to take */
    xs_ns unmarked_ns;            /* the part of it after the last mark */
    xs_ns completed_at;           /* when the last mark was passed */
    struct {
        xs_ns *cost; /* estimate of the command; 0: none yet */
        xs_ns charged;
        xs_ns launched_at;
    } flight[XS_THRESHOLD_MAX]; /* command n at n % XS_THRESHOLD_MAX */
};

/* Return when one more command may be launched if no mark is passed before: 0 for at once,
 * XS_NEVER for only after a mark. The result is above 0 only while a mark is outstanding,
 * provided that marks are set where xs_pace_launch() wants them. */
xs_ns xs_pace_due(const struct xs_pace *pace);

/* Count a launch. *cost is the estimate of the command and stays valid until the command is
 * complete. True: set a mark after it. */
bool xs_pace_launch(struct xs_pace *pace, xs_ns *cost, xs_ns now);
/* Record that a mark was set after the last launch. */
void xs_pace_mark(struct xs_pace *pace);

/* Return when the oldest command in flight was launched. There must be one. */
xs_ns xs_pace_oldest(const struct xs_pace *pace);

/* Record that all commands before `completed` are complete at `now`, and move their estimates
 * towards the times that they took. */
void xs_pace_complete(struct xs_pace *pace, uint64_t completed, xs_ns now);

#endif
