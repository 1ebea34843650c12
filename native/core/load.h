/* load.h - the load generator: when the next request of a queue is due, and
 * the sample of every request. Without thread, clock, device or XQueue.
 *
 * Requests of a queue are numbered in order of arrival, which is also the
 * order of completion, because a stream is in order. So request r needs no
 * record but samples[r]. One thread at a time. */
#ifndef XS_LOAD_H
#define XS_LOAD_H

#include "base/base.h"

struct xs_load {
    struct xs_load_spec spec;
    uint32_t commands; /* of each request; 0 for XS_LOAD_MANUAL */
    uint32_t *sizes;   /* XS_LOAD_MANUAL: commands of request r at r % sample_cap */
    xs_ns window_start, window_end;
    bool closing;                  /* XS_LOAD_CLOSED: no further request */
    uint64_t pushed;               /* XS_LOAD_MANUAL: requests handed in from outside */
    uint64_t submitted, completed; /* requests */
    uint64_t launching;            /* the request whose commands are launched next */
    uint32_t launched_of_it;       /* how many of them were */
    uint64_t completed_commands;   /* of completed requests */
};

/* `sizes` (XS_LOAD_MANUAL, else NULL) and spec->samples stay the caller's. */
void xs_load_init(struct xs_load *load, const struct xs_load_spec *spec, uint32_t commands,
                  uint32_t *sizes, xs_ns window_start, xs_ns window_end);

/* When the next request arrives; XS_NEVER: not before something completes or
 * is pushed, or never. */
xs_ns xs_load_due(const struct xs_load *load);

/* No request will come any more. */
bool xs_load_exhausted(const struct xs_load *load);

/* The due request goes to the XQueue; returns its number of commands.
 * False from xs_load_has_room(): nowhere to put its sample. */
bool xs_load_has_room(const struct xs_load *load);
uint32_t xs_load_submit(struct xs_load *load, xs_ns now);

/* Which command is launched next: `index` of request `request`. */
void xs_load_next(const struct xs_load *load, uint64_t *request, uint32_t *index);
bool xs_load_next_is_last(const struct xs_load *load);
void xs_load_launch(struct xs_load *load, xs_ns now);

/* The first `commands` commands of the queue are complete. */
void xs_load_complete(struct xs_load *load, uint64_t commands, xs_ns now);

/* The run is over: flag what is unfinished, and open the samples of given
 * arrivals that were never submitted. */
void xs_load_censor(struct xs_load *load);

/* Commands of a request that was submitted. */
uint32_t xs_load_size(const struct xs_load *load, uint64_t request);

struct xs_sample *xs_load_sample(const struct xs_load *load, uint64_t request);

#endif
