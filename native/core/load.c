/* load.c - the three kinds of load.
 *
 * Open loop: requests arrive at given times. Latency is measured from the arrival, so the
 * waiting time of a request counts. Closed loop: request r of c clients arrives when request
 * r - c is complete and its client has thought. Manual: the user submits requests at any
 * time, and the samples are a ring.
 *
 * A request of an open loop or of the user may wait for a request of another queue. The caller
 * sets `released`, and the waiting counts as latency, but not as a stall. */
#include "core/load.h"

void xs_load_init(struct xs_load *load, const struct xs_load_spec *spec, uint32_t commands,
                  uint32_t *sizes, xs_ns window_start, xs_ns window_end)
{
    XS_ASSERT((spec->kind == XS_LOAD_MANUAL) == (sizes != NULL));
    *load = (struct xs_load){.spec = *spec,
                             .commands = commands,
                             .released = UINT64_MAX,
                             .sizes = sizes,
                             .window_start = window_start,
                             .window_end = window_end};
}

struct xs_sample *xs_load_sample(const struct xs_load *load, uint64_t request)
{
    uint64_t at = load->spec.kind == XS_LOAD_MANUAL ? request % load->spec.sample_cap : request;
    return &load->spec.samples[at];
}

uint32_t xs_load_size(const struct xs_load *load, uint64_t request)
{
    return load->sizes == NULL ? load->commands : load->sizes[request % load->spec.sample_cap];
}

xs_ns xs_load_due(const struct xs_load *load)
{
    const struct xs_load_spec *spec = &load->spec;
    uint64_t next = load->submitted;
    if (next >= load->released)
        return XS_NEVER;
    switch (spec->kind) {
    case XS_LOAD_OPEN:
        return next < spec->arrival_count ? spec->arrivals_ns[next] : XS_NEVER;
    case XS_LOAD_CLOSED:
        if (load->closing)
            return XS_NEVER;
        if (next < spec->concurrency)
            return 0;
        if (next - spec->concurrency >= load->completed)
            return XS_NEVER;
        return xs__later(spec->samples[next - spec->concurrency].completed_ns, spec->think_ns);
    default:
        return next < load->pushed ? xs_load_sample(load, next)->scheduled_ns : XS_NEVER;
    }
}

bool xs_load_exhausted(const struct xs_load *load)
{
    switch (load->spec.kind) {
    case XS_LOAD_OPEN:
        return load->submitted == load->spec.arrival_count;
    case XS_LOAD_CLOSED:
        return load->closing;
    default:
        return false;
    }
}

bool xs_load_has_room(const struct xs_load *load)
{
    return load->spec.kind == XS_LOAD_MANUAL || load->submitted < load->spec.sample_cap;
}

static void open_sample(struct xs_load *load, uint64_t request, xs_ns scheduled)
{
    struct xs_sample *sample = xs_load_sample(load, request);
    for (uint32_t i = 0; i < load->spec.milestone_count; i++)
        load->spec.milestone_ns[request * load->spec.milestone_count + i] = -1;
    *sample = (struct xs_sample){
        .scheduled_ns = scheduled, .submitted_ns = -1, .launched_ns = -1, .completed_ns = -1};
    if (scheduled < load->window_start)
        sample->flags |= XS_SAMPLE_WARMUP;
    else if (scheduled >= load->window_end)
        sample->flags |= XS_SAMPLE_DRAIN;
}

uint32_t xs_load_submit(struct xs_load *load, xs_ns now)
{
    XS_ASSERT(xs_load_has_room(load) && xs_load_due(load) <= now);
    uint64_t request = load->submitted;
    open_sample(load, request, xs_load_due(load));
    xs_load_sample(load, request)->submitted_ns = now;
    load->submitted++;
    return xs_load_size(load, request);
}

void xs_load_next(const struct xs_load *load, uint64_t *request, uint32_t *index)
{
    *request = load->launching;
    *index = load->launched_of_it;
}

bool xs_load_next_is_last(const struct xs_load *load)
{
    return load->launched_of_it + 1 == xs_load_size(load, load->launching);
}

static bool next_is_milestone(const struct xs_load *load)
{
    return load->ahead < load->spec.milestone_count &&
           load->launched_of_it + 1 == load->spec.milestones[load->ahead];
}

bool xs_load_next_is_end(const struct xs_load *load)
{
    return xs_load_next_is_last(load) || next_is_milestone(load);
}

/* A queue with an unfinished request did not move from its arrival, or from the last launch
 * or completion if that was later, until `now`. */
static void note_stall(struct xs_load *load, xs_ns now)
{
    if (load->spec.kind != XS_LOAD_MANUAL && load->completed < load->submitted) {
        const struct xs_sample *sample = xs_load_sample(load, load->completed);
        xs_ns since = load->released == UINT64_MAX ? sample->scheduled_ns : sample->submitted_ns;
        since = load->moved > since ? load->moved : since;
        bool measured = since < load->window_end && now > load->window_start;
        if (measured && now - since > load->longest_stall)
            load->longest_stall = now - since;
    }
    load->moved = now;
}

void xs_load_launch(struct xs_load *load, xs_ns now)
{
    XS_ASSERT(load->launching < load->submitted);
    note_stall(load, now);
    if (load->launched_of_it == 0)
        xs_load_sample(load, load->launching)->launched_ns = now;
    bool last = xs_load_next_is_last(load);
    load->ahead = last ? 0 : load->ahead + next_is_milestone(load);
    load->launched_of_it = last ? 0 : load->launched_of_it + 1;
    load->launching += last;
}

/* Stamp the milestones of the oldest unfinished request up to the first `commands` commands of
 * the queue. */
static void stamp_milestones(struct xs_load *load, uint64_t commands, xs_ns now)
{
    const struct xs_load_spec *spec = &load->spec;
    int64_t *times = &spec->milestone_ns[load->completed * spec->milestone_count];
    while (load->reached < spec->milestone_count &&
           load->completed_commands + spec->milestones[load->reached] <= commands)
        times[load->reached++] = now;
}

void xs_load_complete(struct xs_load *load, uint64_t commands, xs_ns now)
{
    note_stall(load, now);
    while (load->completed < load->submitted) {
        if (load->spec.milestone_count > 0)
            stamp_milestones(load, commands, now);
        uint64_t end = load->completed_commands + xs_load_size(load, load->completed);
        if (end > commands)
            return;
        xs_load_sample(load, load->completed)->completed_ns = now;
        load->completed_commands = end;
        load->completed++;
        load->reached = 0;
    }
}

void xs_load_censor(struct xs_load *load, xs_ns now)
{
    const struct xs_load_spec *spec = &load->spec;
    if (spec->kind == XS_LOAD_MANUAL)
        return;
    note_stall(load, now);
    while (spec->kind == XS_LOAD_OPEN && load->submitted < spec->arrival_count) {
        open_sample(load, load->submitted, spec->arrivals_ns[load->submitted]);
        load->submitted++;
    }
    for (uint64_t r = load->completed; r < load->submitted; r++)
        xs_load_sample(load, r)->flags |= XS_SAMPLE_CENSORED;
}
