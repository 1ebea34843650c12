/* load.h - the load generator: when the next request of a queue is due, and the sample of
 * every request. It knows no thread, clock, device or XQueue.
 *
 * Requests of a queue are numbered in the order of their arrivals. A stream executes commands
 * in order, so requests complete in that order, too, and samples[r] is the only record of
 * request r. One thread at a time uses a load. */
#ifndef XS_LOAD_H
#define XS_LOAD_H

#include "base/base.h"

struct xs_load {
    struct xs_load_spec spec;
    uint32_t commands; /* commands of each request; 0 for XS_LOAD_MANUAL */
    uint32_t *sizes;   /* XS_LOAD_MANUAL: commands of request r at r % sample_cap */
    xs_ns window_start, window_end;
    bool closing;                  /* XS_LOAD_CLOSED: no further request arrives */
    uint64_t pushed;               /* XS_LOAD_MANUAL: requests that the user submitted */
    uint64_t released;             /* requests that may start; UINT64_MAX: none waits for another */
    uint64_t submitted, completed; /* requests */
    uint64_t launching;            /* the request whose commands are launched next */
    uint32_t launched_of_it;       /* how many commands of that request were launched */
    uint64_t completed_commands;   /* commands of all completed requests */
    uint32_t ahead;                /* milestones of request `launching` that are launched */
    uint32_t reached;              /* milestones of request `completed` that are reached */
    xs_ns moved;                   /* when a command was last launched or completed */
    xs_ns longest_stall;           /* see struct xs_queue_counts */
};

/* `sizes` (XS_LOAD_MANUAL, else NULL) and spec->samples belong to the caller. */
void xs_load_init(struct xs_load *load, const struct xs_load_spec *spec, uint32_t commands,
                  uint32_t *sizes, xs_ns window_start, xs_ns window_end);

/* Return when the next request arrives. XS_NEVER: not before a request completes or the user
 * submits one, or never. */
xs_ns xs_load_due(const struct xs_load *load);

/* Return whether no further request will arrive. */
bool xs_load_exhausted(const struct xs_load *load);

/* Submit the request that is due, and return its number of commands. Call it only if
 * xs_load_has_room() returns true: the samples have room for one more request. */
bool xs_load_has_room(const struct xs_load *load);
uint32_t xs_load_submit(struct xs_load *load, xs_ns now);

/* Report the next command to launch: command `index` of request `request`. */
void xs_load_next(const struct xs_load *load, uint64_t *request, uint32_t *index);
bool xs_load_next_is_last(const struct xs_load *load);
/* Return whether a request or a milestone of it ends with the next command to launch. */
bool xs_load_next_is_end(const struct xs_load *load);
void xs_load_launch(struct xs_load *load, xs_ns now);

/* Record that the first `commands` commands of the queue are complete. */
void xs_load_complete(struct xs_load *load, uint64_t commands, xs_ns now);

/* Flag all unfinished requests at the end of the run, which is `now`, and write samples for
 * arrivals that were never submitted. */
void xs_load_censor(struct xs_load *load, xs_ns now);

/* Return the number of commands of a request that was submitted. */
uint32_t xs_load_size(const struct xs_load *load, uint64_t request);

struct xs_sample *xs_load_sample(const struct xs_load *load, uint64_t request);

#endif
