/* prepare.c - commands and requests, prepared once on the stream of a queue so that a launch
 * allocates nothing. Equal commands share what they need, and so do equal requests. One
 * thread at a time: the submitter of the queue, or the thread that adds or frees it. */
#include <stdlib.h>

#include "runtime/run.h"

static struct xs_prepared_command *prepare(struct xs_queue *q, const struct xs_command *command,
                                           struct xs_error *err)
{
    for (struct xs_prepared_command *p = q->commands; p != NULL; p = p->next)
        if (xs__command_equal(&p->command, command))
            return p;
    if (xs__command_check(command, err) != XS_OK)
        return NULL;
    const struct xs_device_ops *ops = q->device->ops;
    if (command->kind == XS_KERNEL && !ops->runs_sources) {
        xs__fail(err, XS_ENOTSUP, "queue.add", 0,
                 "kernel '%.64s': the %s device cannot compile source text; cuda and hip can",
                 command->source->name, ops->kind);
        return NULL;
    }
    if (command->kind == XS_SEGMENT && ops->graphs == NULL) {
        xs__fail(err, XS_ENOTSUP, "queue.add", 0,
                 "a segment of a captured graph: the %s device has no graphs; cuda and hip have",
                 ops->kind);
        return NULL;
    }
    struct xs_prepared_command *p = calloc(1, sizeof *p);
    if (p == NULL) {
        xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for a command");
        return NULL;
    }
    int rc = xs__command_copy(command, &p->command, err);
    if (rc == XS_OK)
        rc = ops->kernel_create(q->stream, &p->command, q->seed, &p->kernel, err);
    if (rc != XS_OK) {
        xs__command_free(&p->command);
        free(p);
        return NULL;
    }
    p->next = q->commands;
    q->commands = p;
    return p;
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

struct xs_prepared_request *xs__request_prepare(struct xs_queue *q,
                                                const struct xs_command *commands, uint32_t count,
                                                struct xs_error *err)
{
    if (count < 1 || count > XS_COMMANDS_MAX) {
        xs__fail(err, XS_EINVAL, "queue.submit", 0,
                 "queue '%s': a request of %u commands; it must have 1 to %d", q->name, count,
                 XS_COMMANDS_MAX);
        return NULL;
    }
    for (struct xs_prepared_request *p = q->requests; p != NULL; p = p->next)
        if (is_request(p, commands, count))
            return p;
    struct xs_prepared_request *prepared =
        calloc(1, sizeof *prepared + count * sizeof prepared->commands[0]);
    if (prepared == NULL) {
        xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for %u commands", count);
        return NULL;
    }
    for (; prepared->count < count; prepared->count++) {
        struct xs_prepared_command *command = prepare(q, &commands[prepared->count], err);
        if (command == NULL) {
            free(prepared);
            return NULL;
        }
        prepared->commands[prepared->count] = command;
    }
    prepared->next = q->requests;
    q->requests = prepared;
    return prepared;
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
