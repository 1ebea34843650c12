/* command.c - commands as values: checks, equality, copies. */
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"

static int check_spin(const struct xs_command *c, struct xs_error *err)
{
    const char *where = "command";
    if (c->duration_ns < 0)
        return xs__fail(err, XS_EINVAL, where, 0, "a spin cannot take %lld ns, which is negative",
                        (long long)c->duration_ns);
    if (c->fill_permille > 1000 || c->waves > XS_WAVES_MAX)
        return xs__fail(err, XS_EINVAL, where, 0,
                        "a spin on %u / 1000 of the device in %u waves; at most 1000 / 1000 and %d "
                        "waves are possible",
                        c->fill_permille, c->waves, XS_WAVES_MAX);
    if (c->waves > 1 && c->fill_permille % 1000 != 0)
        return xs__fail(err, XS_EINVAL, where, 0,
                        "a spin in %u waves needs all of the device, not %u / 1000 of it", c->waves,
                        c->fill_permille);
    return XS_OK;
}

static int check_source(const struct xs_source *s, struct xs_error *err)
{
    const char *where = "command";
    if (s == NULL || s->text == NULL || s->name == NULL)
        return xs__fail(err, XS_EINVAL, where, 0, "a kernel needs a source text and a name");
    for (int i = 0; i < 3; i++)
        if (s->grid[i] < 1 || s->block[i] < 1)
            return xs__fail(err, XS_EINVAL, where, 0,
                            "kernel '%.64s': a grid of %u x %u x %u blocks of %u x %u x %u "
                            "threads; each number must be at least 1",
                            s->name, s->grid[0], s->grid[1], s->grid[2], s->block[0], s->block[1],
                            s->block[2]);
    if (s->argument_count > XS_ARGUMENTS_MAX)
        return xs__fail(err, XS_EINVAL, where, 0, "kernel '%.64s': %u arguments are more than %d",
                        s->name, s->argument_count, XS_ARGUMENTS_MAX);
    if (s->argument_count > 0 && s->arguments == NULL)
        return xs__fail(err, XS_EINVAL, where, 0, "kernel '%.64s': its arguments are missing",
                        s->name);
    for (uint32_t i = 0; i < s->argument_count; i++) {
        const struct xs_argument *a = &s->arguments[i];
        if (a->kind < XS_BUFFER || a->kind > XS_FLOAT32 ||
            (a->kind == XS_BUFFER && (a->integer < 1 || a->integer > XS_ITEMS_MAX)))
            return xs__fail(
                err, XS_EINVAL, where, 0,
                "kernel '%.64s': argument %u has no valid kind and value: kind %d, value %lld",
                s->name, i, a->kind, (long long)a->integer);
    }
    return XS_OK;
}

static int check_segment(const struct xs_command *c, struct xs_error *err)
{
    const char *where = "command";
    if (c->graph == NULL)
        return xs__fail(err, XS_EINVAL, where, 0, "a segment needs a graph");
    if (c->n >= c->graph->info.segments)
        return xs__fail(err, XS_EINVAL, where, 0,
                        "there is no segment %u of the graph: it is cut into %u", c->n,
                        c->graph->info.segments);
    return XS_OK;
}

int xs__command_check(const struct xs_command *c, struct xs_error *err)
{
    switch (c->kind) {
    case XS_SPIN:
        return check_spin(c, err);
    case XS_KERNEL:
        return check_source(c->source, err);
    case XS_SEGMENT:
        return check_segment(c, err);
    case XS_MATMUL:
    case XS_VECTOR_ADD:
        if (c->n < 1 || c->batch < 1 || xs__command_items(c) > INT32_MAX)
            return xs__fail(err, XS_EINVAL, "command", 0,
                            "n = %u, batch = %u: both must be at least 1, and the result must have "
                            "at most 2^31-1 elements",
                            c->n, c->batch);
        return XS_OK;
    default:
        return xs__fail(err, XS_EINVAL, "command", 0, "there is no kind of command %d", c->kind);
    }
}

/* It accepts sources that were not checked yet. */
static bool source_equal(const struct xs_source *a, const struct xs_source *b)
{
    if (a == NULL || b == NULL || a == b)
        return a == b;
    if (a->text == NULL || b->text == NULL || a->name == NULL || b->name == NULL ||
        a->argument_count != b->argument_count || memcmp(a->grid, b->grid, sizeof a->grid) != 0 ||
        memcmp(a->block, b->block, sizeof a->block) != 0 || strcmp(a->name, b->name) != 0 ||
        strcmp(a->text, b->text) != 0)
        return false;
    for (uint32_t i = 0; i < a->argument_count; i++) {
        const struct xs_argument *x = &a->arguments[i], *y = &b->arguments[i];
        if (x->kind != y->kind || x->integer != y->integer ||
            memcmp(&x->real, &y->real, sizeof x->real) != 0)
            return false;
    }
    return true;
}

bool xs__command_equal(const struct xs_command *a, const struct xs_command *b)
{
    return a->kind == b->kind && a->n == b->n && a->batch == b->batch &&
           a->duration_ns == b->duration_ns && a->fill_permille == b->fill_permille &&
           a->waves == b->waves && a->graph == b->graph && source_equal(a->source, b->source);
}

uint64_t xs__command_items(const struct xs_command *c)
{
    switch (c->kind) {
    case XS_MATMUL: /* prevents an overflow: above 2^32 x 2^32, the result is "too many" */
        return (uint64_t)c->n * c->n > INT32_MAX ? UINT64_MAX : (uint64_t)c->n * c->n * c->batch;
    case XS_VECTOR_ADD:
        return c->n;
    default:
        return 0;
    }
}

/* Copy a source with its arguments and its texts into one block of memory. */
static struct xs_source *copy_source(const struct xs_source *from)
{
    size_t text = strlen(from->text) + 1, name = strlen(from->name) + 1;
    size_t arguments = from->argument_count * sizeof from->arguments[0];
    struct xs_source *to = malloc(sizeof *to + arguments + text + name);
    if (to == NULL)
        return NULL;
    struct xs_argument *copied = (struct xs_argument *)(to + 1);
    char *texts = (char *)copied + arguments;
    *to = *from;
    if (arguments > 0)
        memcpy(copied, from->arguments, arguments);
    to->arguments = copied;
    to->text = memcpy(texts, from->text, text);
    to->name = memcpy(texts + text, from->name, name);
    return to;
}

int xs__command_copy(const struct xs_command *from, struct xs_command *to, struct xs_error *err)
{
    *to = *from;
    if (from->source == NULL)
        return XS_OK;
    to->source = copy_source(from->source);
    return to->source != NULL
               ? XS_OK
               : xs__fail(err, XS_ENOMEM, "queue.add", 0,
                          "no memory for the source of kernel '%.64s'", from->source->name);
}

void xs__command_free(struct xs_command *command)
{
    free((void *)command->source);
    command->source = NULL;
}
