/* device.c - the list of backends, and what all of them share. */
#include "device.h"

#include <string.h>
#include <unistd.h>

static const struct xs_device_ops *const backends[] = {
    &xs_device_cpu, &xs_device_sim, &xs_device_hip, &xs_device_cuda, &xs_device_opencl};

#define BACKEND_COUNT (sizeof backends / sizeof backends[0])

const char *xs_device_kind(uint32_t n)
{
    return n < BACKEND_COUNT ? backends[n]->kind : NULL;
}

int xs__device_open(const struct xs_device_ops *ops, const struct xs_device_options *options,
                    struct xs_device **out, struct xs_error *err)
{
    *out = NULL;
    int rc = ops->open(options, out, err);
    if (rc == XS_OK) {
        (*out)->ops = ops;
        (*out)->opened_by = (int32_t)getpid();
    }
    return rc;
}

int xs_device_open(const char *kind, const struct xs_device_options *options,
                   struct xs_device **out, struct xs_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < BACKEND_COUNT; i++)
        if (strcmp(backends[i]->kind, kind) == 0)
            return xs__device_open(backends[i], options, out, err);
    return xs__fail(err, XS_EINVAL, "device.open", 0, "there is no device '%.32s'", kind);
}

int xs__device_check(const struct xs_device *dev, const char *where, struct xs_error *err)
{
    int32_t pid = (int32_t)getpid();
    if (pid == dev->opened_by)
        return XS_OK;
    return xs__fail(err, XS_EFORKED, where, 0,
                    "process %d is a fork of process %d, which opened this %s device; "
                    "open another one in the child",
                    pid, dev->opened_by, dev->ops->kind);
}

int xs_device_describe(struct xs_device *dev, struct xs_device_info *out, struct xs_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = xs__device_check(dev, "device.describe", err);
    if (rc == XS_OK)
        dev->ops->describe(dev, out);
    return rc;
}

void xs_device_close(struct xs_device *dev)
{
    /* A forked child has none of the threads that close() would join. */
    if (dev != NULL && xs__device_check(dev, "device.close", NULL) == XS_OK)
        dev->ops->close(dev);
}

int xs__command_check(const struct xs_command *c, struct xs_error *err)
{
    const char *where = "command";
    switch (c->kind) {
    case XS_SPIN:
        if (c->duration_ns < 0)
            return xs__fail(err, XS_EINVAL, where, 0, "spin for %lld ns is negative",
                            (long long)c->duration_ns);
        return XS_OK;
    case XS_MATMUL:
    case XS_VECTOR_ADD:
        if (c->n < 1 || c->batch < 1 || xs__command_items(c) > INT32_MAX)
            return xs__fail(err, XS_EINVAL, where, 0,
                            "%u x %u: sizes are at least 1 and results at most 2^31-1 elements",
                            c->n, c->batch);
        return XS_OK;
    default:
        return xs__fail(err, XS_EINVAL, where, 0, "there is no kind of command %d", c->kind);
    }
}

bool xs__command_equal(const struct xs_command *a, const struct xs_command *b)
{
    return a->kind == b->kind && a->n == b->n && a->batch == b->batch &&
           a->duration_ns == b->duration_ns;
}

uint64_t xs__command_items(const struct xs_command *c)
{
    switch (c->kind) {
    case XS_MATMUL: /* no overflow: more than 2^32 x 2^32 is cut to "too many" */
        return (uint64_t)c->n * c->n > INT32_MAX ? UINT64_MAX : (uint64_t)c->n * c->n * c->batch;
    case XS_VECTOR_ADD:
        return c->n;
    default:
        return 0;
    }
}
