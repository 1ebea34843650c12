/* results.c - read what the commands of a finished run computed, so that Python can check it. */
#include "runtime/run.h"

static int find_command(struct xs_queue *q, uint32_t index, struct xs_prepared_command **out,
                        const char *where, struct xs_error *err)
{
    int rc = xs__device_check(q->device, where, err);
    if (rc != XS_OK)
        return rc;
    if (q->device->ops->results == NULL)
        return xs__fail(err, XS_ENOTSUP, where, 0,
                        "the %s device computes nothing, so it has no results to check",
                        q->device->ops->kind);
    pthread_mutex_lock(&q->run->lock);
    if (q->request == NULL || index >= q->request->count)
        rc = xs__fail(err, XS_EINVAL, where, 0, "queue '%s' has no command %u in its requests",
                      q->name, index);
    else if (q->run->loads > 0)
        rc = xs__fail(err, XS_EINVAL, where, 0, "the run is not over; read results after its end");
    else
        *out = q->request->commands[index];
    pthread_mutex_unlock(&q->run->lock);
    return rc == XS_OK ? q->device->ops->bind_thread(q->device, err) : rc;
}

int xs_queue_checksum(struct xs_queue *q, uint32_t index, uint64_t *launches, int64_t *checksum,
                      struct xs_error *err)
{
    struct xs_prepared_command *command = NULL;
    *launches = 0;
    *checksum = 0;
    int rc = find_command(q, index, &command, "queue.checksum", err);
    if (rc != XS_OK)
        return rc;
    if (command->command.kind == XS_KERNEL)
        return xs__fail(
            err, XS_ENOTSUP, "queue.checksum", 0,
            "queue '%s': kernel '%.64s' has no checksum, because it is a kernel of the user",
            q->name, command->command.source->name);
    if (command->command.kind == XS_SEGMENT)
        return xs__fail(err, XS_ENOTSUP, "queue.checksum", 0,
                        "queue '%s': segment %u of a captured graph has no checksum", q->name,
                        command->command.n);
    *launches = command->launches;
    return q->device->ops->results->checksum(command->kernel, checksum, err);
}

int xs_queue_output(struct xs_queue *q, uint32_t index, float *out, uint64_t count,
                    struct xs_error *err)
{
    struct xs_prepared_command *command = NULL;
    int rc = find_command(q, index, &command, "queue.output", err);
    return rc == XS_OK ? q->device->ops->results->output(command->kernel, out, count, err) : rc;
}
