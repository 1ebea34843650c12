/* pace.h - the automatic threshold: how far a queue launches ahead, in time
 * instead of commands, from what its commands were seen to take.
 *
 * What is in flight delays whoever overtakes, so it should be little; but the
 * device must not run dry between the end of a command and the launch of the
 * next. So a queue launches while what is in flight is expected to end within
 * XS_PACE_AHEAD_NS: many short commands ahead, and behind a long one the next
 * only shortly before its end. Whoever overtakes finds at most that much and one
 * command before it.
 *
 * No thread, clock or device; times are the caller's. Used by one thread at a
 * time. */
#ifndef XS_PACE_H
#define XS_PACE_H

#include "base/base.h"

enum {
    XS_PACE_AHEAD_NS = 30000, /* covers a late look at the marks */
    XS_PACE_MARK_NS = 10000,  /* work between marks: a mark costs about 1 us */
    XS_PACE_LEAST_NS = 1000   /* what a command is taken for at least */
};

struct xs_pace {
    bool on;
    uint64_t launched, completed; /* commands */
    xs_ns in_flight_ns;           /* what they are expected to take together */
    xs_ns unmarked_ns;            /* the part of it behind the last mark */
    xs_ns completed_at;           /* when a mark was passed last */
    struct {
        xs_ns *cost; /* the command's estimate, 0: none yet */
        xs_ns charged;
        xs_ns launched_at;
    } flight[XS_THRESHOLD_MAX]; /* by command % XS_THRESHOLD_MAX */
};

/* When one more command may be launched if no mark is passed before: 0 if at
 * once, XS_NEVER if only behind a mark. Later than 0 only with a mark
 * outstanding, if marks are set where xs_pace_launch() says so. */
xs_ns xs_pace_due(const struct xs_pace *pace);

/* Count a launch; *cost is the command's estimate and stays valid until it
 * completed. True: set a mark behind it. */
bool xs_pace_launch(struct xs_pace *pace, xs_ns *cost, xs_ns now);
/* A mark was set behind the last launch, for whatever reason. */
void xs_pace_mark(struct xs_pace *pace);

/* When the oldest command in flight was launched; there is one. */
xs_ns xs_pace_oldest(const struct xs_pace *pace);

/* All commands before `completed` were seen completed at `now`; their
 * estimates move towards what they took. */
void xs_pace_complete(struct xs_pace *pace, uint64_t completed, xs_ns now);

#endif
