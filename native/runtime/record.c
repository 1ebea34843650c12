/* record.c - the record of a queue: a few stores for each launch, completion and suspension,
 * into rings of the caller. */
#include "runtime/run.h"

void xs__record_launch(struct xs_queue *q, uint64_t request, uint32_t index, xs_ns now)
{
    if (q->record.command_cap == 0)
        return;
    q->record.commands[(q->xq.launched - 1) % q->record.command_cap] =
        (struct xs_command_record){.request = (int64_t)request,
                                   .index = index,
                                   .launched_ns = now,
                                   .began_ns = -1,
                                   .ended_ns = -1,
                                   .completed_ns = -1};
}

void xs__record_complete(struct xs_queue *q, uint64_t first, uint64_t completed, xs_ns now)
{
    const struct xs_device_ops *ops = q->device->ops;
    if (q->record.command_cap == 0)
        return;
    for (uint64_t n = first; n < completed; n++) {
        struct xs_command_record *command = &q->record.commands[n % q->record.command_cap];
        command->completed_ns = now;
        if (ops->executed != NULL)
            ops->executed(q->stream, n, &command->began_ns, &command->ended_ns);
        if (ops->scheduler != NULL)
            command->launched_ns = ops->scheduler->launched_at(q->stream, n) - q->run->epoch;
    }
}

void xs__record_suspension(struct xs_queue *q, bool suspended)
{
    if (q->record.suspension_cap > 0)
        q->record.suspensions[q->suspensions % q->record.suspension_cap] =
            (struct xs_suspension){.at_ns = q->run->started ? q->run->engine->now(q->run) : 0,
                                   .suspended = suspended,
                                   .held = q->held};
    q->suspensions++;
}
