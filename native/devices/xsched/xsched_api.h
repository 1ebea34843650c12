/* xsched_api.h - the C functions of the user's XSched, found at run time: libpreempt (queues,
 * commands, hints), and the libhal* of one kind of device.
 *
 * XSched ends the process with exit status 1 after an error of the driver and after some
 * misuse, and several of its calls may wait forever, so only a process that may die uses it.
 * Libraries are never unloaded, even after dlclose(). */
#ifndef XS_XSCHED_API_H
#define XS_XSCHED_API_H

#include "base/base.h"

/* The launch thread of an XQueue calls it. A result other than 0 ends the process. */
typedef int32_t (*xs_xsched_callback)(uint64_t hwq, void *data);

/* All results are int32_t: 0, or see xs__xsched_status(). The handle of a HwQueue is the
 * driver's handle of the stream; the other handles are opaque. */
#define XS_XSCHED_SYMBOLS(X)                                                                       \
    X(XHintSetScheduler, (int32_t scheduler, int32_t policy))                                      \
    X(XQueueCreate, (uint64_t *xq, uint64_t hwq, int64_t level, int64_t flags))                    \
    X(XQueueDestroy, (uint64_t xq))                                                                \
    X(XQueueSetLaunchConfig, (uint64_t xq, int64_t threshold, int64_t batch_size))                 \
    X(XQueueSubmit, (uint64_t xq, uint64_t command))                                               \
    X(XQueueSuspend, (uint64_t xq, int64_t flags))                                                 \
    X(XQueueResume, (uint64_t xq, int64_t flags))                                                  \
    X(XQueueProfileHwCommandCount, (uint64_t xq, int64_t *count))                                  \
    X(HwQueueDestroy, (uint64_t hwq))                                                              \
    X(HwCommandCreateCallback, (uint64_t *command, xs_xsched_callback launch, void *data))         \
    X(HwCommandDestroy, (uint64_t command))                                                        \
    X(XHintPriority, (uint64_t xq, int32_t priority))                                              \
    X(XHintUtilization, (uint64_t xq, int32_t percent))                                            \
    X(XHintTimeslice, (int64_t us))                                                                \
    X(XHintLaxity, (uint64_t xq, int64_t us, int32_t lax_priority, int32_t critical_priority))     \
    X(XHintDeadline, (uint64_t xq, int64_t us))                                                    \
    X(XHintKDeadline, (size_t k))

#define XS_XSCHED_DECLARE(member, parameters) int32_t(*member) parameters;

struct xs_xsched_api {
    XS_XSCHED_SYMBOLS(XS_XSCHED_DECLARE)
    /* CudaQueueCreate, HipQueueCreate or OclQueueCreate. */
    int32_t (*HwQueueCreate)(uint64_t *hwq, void *stream);
};

/* Load both files. `kind` is the kind of the device: "cuda", "hip" or "opencl". XS_EDEVICE
 * with the text of the loader, or with the missing function. */
int xs__xsched_load(struct xs_xsched_api *api, const char *kind, const char *preempt,
                    const char *hal, struct xs_error *err);

/* XS_OK, or XS_EDEVICE with the name of the result; `what` is the call. */
int xs__xsched_status(int32_t result, const char *what, struct xs_error *err);

#endif
