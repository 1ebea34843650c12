/* prepare.c - commands and requests, prepared once on the stream of a queue so that a launch
 * allocates nothing. Equal commands share what they need, and so do equal requests. One
 * thread at a time: the submitter of the queue, or the thread that adds or frees it. */
#include <stdlib.h>

#include "runtime/run.h"

static int prepare(struct xs_queue *q, const struct xs_command *command,
                   struct xs_prepared_command **out, struct xs_error *err)
{
    for (*out = q->commands; *out != NULL; *out = (*out)->next)
        if (xs__command_equal(&(*out)->command, command))
            return XS_OK;
    int rc = xs__command_check(command, err);
    if (rc != XS_OK)
        return rc;
    const struct xs_device_ops *ops = q->device->ops;
    if (command->kind == XS_KERNEL && !ops->runs_sources)
        return xs__fail(
            err, XS_ENOTSUP, "queue.add", 0,
            "kernel '%.64s': the %s device cannot compile source text; cuda and hip can",
            command->source->name, ops->kind);
    if (command->kind == XS_SEGMENT && ops->graphs == NULL)
        return xs__fail(
            err, XS_ENOTSUP, "queue.add", 0,
            "a segment of a captured graph: the %s device has no graphs; cuda and hip have",
            ops->kind);
    struct xs_prepared_command *p = calloc(1, sizeof *p);
    if (p == NULL)
        return xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for a command");
    rc = xs__command_copy(command, &p->command, err);
    if (rc == XS_OK)
        rc = ops->kernel_create(q->stream, &p->command, q->seed, &p->kernel, err);
    if (rc != XS_OK) {
        xs__command_free(&p->command);
        free(p);
        return rc;
    }
    p->next = q->commands;
    q->commands = *out = p;
    return XS_OK;
}

static bool is_request(const struct xs_prepared_request *prepared,
                       const struct xs_command *commands, uint32_t count)
{
    if (prepared->count != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!xs__command_equal(&prepared->commands[i]->command, &commands[i]))
            return false;
    return true;
}

int xs__request_prepare(struct xs_queue *q, const struct xs_command *commands, uint32_t count,
                        struct xs_prepared_request **out, struct xs_error *err)
{
    *out = NULL;
    if (count < 1 || count > XS_COMMANDS_MAX)
        return xs__fail(err, XS_EINVAL, "queue.submit", 0,
                        "queue '%s': a request of %u commands; it must have 1 to %d", q->name,
                        count, XS_COMMANDS_MAX);
    for (*out = q->requests; *out != NULL; *out = (*out)->next)
        if (is_request(*out, commands, count))
            return XS_OK;
    struct xs_prepared_request *prepared =
        calloc(1, sizeof *prepared + count * sizeof prepared->commands[0]);
    if (prepared == NULL)
        return xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for %u commands", count);
    for (; prepared->count < count; prepared->count++) {
        uint32_t at = prepared->count;
        int rc = prepare(q, &commands[at], &prepared->commands[at], err);
        if (rc != XS_OK) {
            free(prepared);
            return rc;
        }
    }
    prepared->next = q->requests;
    q->requests = *out = prepared;
    return XS_OK;
}

void xs__prepared_free(struct xs_queue *q)
{
    while (q->requests != NULL) {
        struct xs_prepared_request *next = q->requests->next;
        free(q->requests);
        q->requests = next;
    }
    while (q->commands != NULL) {
        struct xs_prepared_command *next = q->commands->next;
        if (!q->device->lost) /* a lost device may still write there */
            q->device->ops->kernel_destroy(q->commands->kernel);
        xs__command_free(&q->commands->command);
        free(q->commands);
        q->commands = next;
    }
}
