/* registry.c - the table of backends, from the list in device.h, and what all of them share. */
#include "devices/device.h"

#include <string.h>
#include <unistd.h>

#define ADDRESS_OF(kind) &xs_device_##kind,
static const struct xs_device_ops *const backends[] = {XS_BACKENDS(ADDRESS_OF)};

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

static const struct xs_device_ops *find(const char *kind, struct xs_error *err)
{
    for (size_t i = 0; i < BACKEND_COUNT; i++)
        if (strcmp(backends[i]->kind, kind) == 0)
            return backends[i];
    xs__fail(err, XS_EINVAL, "device.open", 0, "there is no device kind '%.32s'", kind);
    return NULL;
}

int xs_device_open(const char *kind, const struct xs_device_options *options,
                   struct xs_device **out, struct xs_error *err)
{
    *out = NULL;
    const struct xs_device_ops *ops = find(kind, err);
    return ops == NULL ? XS_EINVAL : xs__device_open(ops, options, out, err);
}

int xs_device_locate(const char *kind, const struct xs_device_options *options,
                     struct xs_device_place *out, struct xs_error *err)
{
    memset(out, 0, sizeof *out);
    const struct xs_device_ops *ops = find(kind, err);
    if (ops == NULL)
        return XS_EINVAL;
    return ops->locate == NULL ? XS_OK : ops->locate(options, out, err);
}

int xs__device_check(const struct xs_device *dev, const char *where, struct xs_error *err)
{
    int32_t pid = (int32_t)getpid();
    if (pid == dev->opened_by)
        return XS_OK;
    return xs__fail(err, XS_EFORKED, where, 0,
                    "process %d is a fork of process %d, which opened this %s device; open another "
                    "device in the fork",
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
    if (dev != NULL && !dev->lost && xs__device_check(dev, "device.close", NULL) == XS_OK)
        dev->ops->close(dev);
}
