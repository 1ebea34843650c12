/* xsched_api.c - see xsched_api.h. */
#include "devices/xsched/xsched_api.h"

#include <string.h>

#include "base/dynlib.h"

#define ROW(member, parameters) {#member, (void **)&api->member},

static const char *hal_function(const char *kind)
{
    if (strcmp(kind, "cuda") == 0)
        return "CudaQueueCreate";
    if (strcmp(kind, "hip") == 0)
        return "HipQueueCreate";
    return strcmp(kind, "opencl") == 0 ? "OclQueueCreate" : NULL;
}

int xs__xsched_load(struct xs_xsched_api *api, const char *kind, const char *preempt,
                    const char *hal, struct xs_error *err)
{
    const struct xs_symbol rows[] = {XS_XSCHED_SYMBOLS(ROW)};
    const struct xs_symbol create = {hal_function(kind), (void **)&api->HwQueueCreate};
    void *library;
    if (create.name == NULL)
        return xs__fail(err, XS_ENOTSUP, "xsched.open", 0,
                        "XSched schedules hip, cuda and opencl devices, not %s", kind);
    int rc = xs__dynlib_open(preempt, NULL, "xsched.open", &library, err);
    if (rc == XS_OK)
        rc = xs__dynlib_symbols(library, rows, sizeof rows / sizeof rows[0], "libpreempt", err);
    if (rc == XS_OK)
        rc = xs__dynlib_open(hal, NULL, "xsched.open", &library, err);
    return rc == XS_OK ? xs__dynlib_symbols(library, &create, 1, "libhal", err) : rc;
}

int xs__xsched_status(int32_t result, const char *what, struct xs_error *err)
{
    static const char *const names[] = {"success",     "hardware error", "invalid value",
                                        "not found",   "not allowed",    "not supported",
                                        "bad response"};
    if (result == 0)
        return XS_OK;
    bool known = result > 0 && (size_t)result < sizeof names / sizeof names[0];
    return xs__fail(err, XS_EDEVICE, what, result, "XSched returns %d, %s", result,
                    known ? names[result] : "unknown");
}
