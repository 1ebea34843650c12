/* program.c - the commands of a request, prepared once on the queue's stream so
 * that launching one allocates nothing. Equal commands share what they need,
 * equal requests their program. One thread a queue at a time: its submitter,
 * or whoever adds and frees the queue. */
#include <stdlib.h>

#include "runtime/run.h"

static struct xs_prepared *prepare(struct xs_queue *q, const struct xs_command *command,
                                   struct xs_error *err)
{
    for (struct xs_prepared *p = q->prepared; p != NULL; p = p->next)
        if (xs__command_equal(&p->command, command))
            return p;
    if (xs__command_check(command, err) != XS_OK)
        return NULL;
    const struct xs_device_ops *ops = q->device->ops;
    if (command->kind == XS_KERNEL && !ops->runs_sources) {
        xs__fail(err, XS_ENOTSUP, "queue.add", 0,
                 "kernel '%.64s': the %s device runs no source text; cuda and hip do",
                 command->source->name, ops->kind);
        return NULL;
    }
    struct xs_prepared *p = calloc(1, sizeof *p);
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
    p->next = q->prepared;
    q->prepared = p;
    return p;
}

static bool is_program(const struct xs_program *program, const struct xs_command *commands,
                       uint32_t count)
{
    if (program->count != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!xs__command_equal(&program->commands[i]->command, &commands[i]))
            return false;
    return true;
}

struct xs_program *xs__program_find(struct xs_queue *q, const struct xs_command *commands,
                                    uint32_t count, struct xs_error *err)
{
    if (count < 1 || count > XS_COMMANDS_MAX) {
        xs__fail(err, XS_EINVAL, "queue.submit", 0,
                 "queue '%s': a request of %u commands; 1 to %d are possible", q->name, count,
                 XS_COMMANDS_MAX);
        return NULL;
    }
    for (struct xs_program *p = q->programs; p != NULL; p = p->next)
        if (is_program(p, commands, count))
            return p;
    struct xs_program *program = calloc(1, sizeof *program + count * sizeof program->commands[0]);
    if (program == NULL) {
        xs__fail(err, XS_ENOMEM, "queue.add", 0, "no memory for %u commands", count);
        return NULL;
    }
    for (; program->count < count; program->count++) {
        struct xs_prepared *command = prepare(q, &commands[program->count], err);
        if (command == NULL) {
            free(program);
            return NULL;
        }
        program->commands[program->count] = command;
    }
    program->next = q->programs;
    q->programs = program;
    return program;
}

void xs__programs_free(struct xs_queue *q)
{
    while (q->programs != NULL) {
        struct xs_program *next = q->programs->next;
        free(q->programs);
        q->programs = next;
    }
    while (q->prepared != NULL) {
        struct xs_prepared *next = q->prepared->next;
        if (!q->device->lost) /* or it could still write there */
            q->device->ops->kernel_destroy(q->prepared->kernel);
        xs__command_free(&q->prepared->command);
        free(q->prepared);
        q->prepared = next;
    }
}
