/* preempt.h - the C API of XSched 1.2 as we declare it, for a double of its libraries:
 * libpreempt (queues.c, launch.c, scheduler.c) and a few lines of hal_*.c for each
 * driver, over our own XQueue and policies. It behaves like the original where
 * a user can see it, unless PREEMPT_DOUBLE names faults (faults.h).
 *
 * Handles are addresses XOR (pid << 48): they use all 64 bits. */
#ifndef XS_PREEMPT_H
#define XS_PREEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREEMPT_API __attribute__((visibility("default")))

enum {
    PREEMPT_SUCCESS = 0,
    PREEMPT_INVALID_VALUE = 2,
    PREEMPT_NOT_FOUND = 3,
    PREEMPT_NOT_ALLOWED = 4,
    PREEMPT_NOT_SUPPORTED = 5
};

enum {
    QUEUE_IDLE = 1,
    QUEUE_READY = 2
};

enum {
    SCHEDULER_APP = 1,
    SCHEDULER_LOCAL = 2,
    SCHEDULER_GLOBAL = 3
};

enum {
    POLICY_UNKNOWN = 0,
    POLICY_HPF = 1,
    POLICY_HHPF = 2,
    POLICY_UP = 4,
    POLICY_SPUP = 6,
    POLICY_KEDF = 7,
    POLICY_LAX = 8,
    POLICY_END = 12
};

/* Flags of XQueueCreate() and XQueueSuspend(). */
enum {
    CREATE_BLOCKING_SUBMIT = 1,
    SUSPEND_SYNC_HW_QUEUE = 1
};

typedef uint64_t HwQueueHandle, HwCommandHandle, XQueueHandle;
typedef int (*LaunchCallback)(HwQueueHandle hwq, void *data);

PREEMPT_API int XQueueCreate(XQueueHandle *xq, HwQueueHandle hwq, int64_t level, int64_t flags);
PREEMPT_API int XQueueDestroy(XQueueHandle xq);
PREEMPT_API int XQueueGet(XQueueHandle *xq, HwQueueHandle hwq);
PREEMPT_API int XQueueSetPreemptLevel(XQueueHandle xq, int64_t level);
PREEMPT_API int XQueueSetLaunchConfig(XQueueHandle xq, int64_t threshold, int64_t batch_size);
PREEMPT_API int XQueueSubmit(XQueueHandle xq, HwCommandHandle hw_cmd);
PREEMPT_API int XQueueWait(XQueueHandle xq, HwCommandHandle hw_cmd);
PREEMPT_API int XQueueWaitAll(XQueueHandle xq);
PREEMPT_API int XQueueQuery(XQueueHandle xq, int *state);
PREEMPT_API int XQueueSuspend(XQueueHandle xq, int64_t flags);
PREEMPT_API int XQueueResume(XQueueHandle xq, int64_t flags);
PREEMPT_API int XQueueProfileHwCommandCount(XQueueHandle xq, int64_t *count);

PREEMPT_API int HwQueueDestroy(HwQueueHandle hwq);
PREEMPT_API int HwQueueLaunch(HwQueueHandle hwq, HwCommandHandle hw_cmd);
PREEMPT_API int HwQueueSynchronize(HwQueueHandle hwq);
PREEMPT_API int HwCommandCreateCallback(HwCommandHandle *hw_cmd, LaunchCallback launch, void *data);
PREEMPT_API int HwCommandDestroy(HwCommandHandle hw_cmd);

PREEMPT_API int XHintSetScheduler(int scheduler, int policy);
PREEMPT_API int XHintPriority(XQueueHandle xq, int32_t priority);
PREEMPT_API int XHintUtilization(XQueueHandle xq, int32_t utilization);
PREEMPT_API int XHintTimeslice(int64_t timeslice_us);
PREEMPT_API int XHintLaxity(XQueueHandle xq, int64_t laxity_us, int32_t lax_priority,
                            int32_t critical_priority);
PREEMPT_API int XHintDeadline(XQueueHandle xq, int64_t deadline_us);
PREEMPT_API int XHintKDeadline(size_t k);

/* What a hal provides for a queue of its driver. */
struct hw_driver {
    void (*synchronize)(void *native); /* returns when all launched commands are complete */
    void (*enter)(void *context);      /* called first on a launch thread; NULL: nothing to do */
    /* Whether all launched commands are complete; for "long-command"; NULL: not known. */
    bool (*is_complete)(void *native);
};

/* For the hals, not part of XSched's API. The handle is the address of the native queue, and
 * the same address has the same handle. `driver` outlives it; enter() gets `context`. */
PREEMPT_API int preempt_register(HwQueueHandle *hwq, void *native, const struct hw_driver *driver,
                                 void *context);

/* Write a line as XSched does; "ERRO" ends the process with status 1, like XSched. */
PREEMPT_API void preempt_log(const char *level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
